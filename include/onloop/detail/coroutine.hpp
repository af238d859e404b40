#pragma once
// The implementation of onloop/coroutine.hpp. Applications must not use anything in this file.
//
// Coroutines that await each other form a chain. The outermost coroutine, which spawn() or serve() starts, is one end
// of the chain. The coroutine that waits, the leaf, is the other end.
//
// A suspended chain is owned by what it waits for: a timeout, the listeners of a socket, a piece of blocking work or
// the queue of microtasks. Each of them owns the chain by a Resumption. When the context is destroyed, it destroys all
// of them and therefore all suspended chains. So there is no list of coroutines.
//
// Thread: everything here is for the context's thread.
#include <onloop/blocking.hpp>
#include <onloop/node/net.hpp>

#include <cerrno>
#include <chrono>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

/// @cond
namespace onloop::co::detail {

/// What the coroutines of one chain share. The promise of the outermost coroutine contains it.
struct Root {
  explicit Root(Context& its_context) : context(its_context), hold(its_context) {}
  Context& context;
  onloop::detail::KeepAlive hold;       // keeps run() from returning, and knows whether the context still exists
  std::coroutine_handle<> frame;        // the outermost coroutine; destroying it destroys the chain
  std::exception_ptr* error = nullptr;  // while the chain runs: where an exception of the outermost coroutine is put
};

/// Owns a suspended chain. A call resumes the chain at its leaf. If a Resumption is destroyed before it was called, it
/// destroys the chain.
class Resumption {
 public:
  Resumption() noexcept = default;
  Resumption(Root& root, std::coroutine_handle<> leaf) noexcept : root_(&root), leaf_(leaf) {}
  Resumption(Resumption&& other) noexcept : root_(std::exchange(other.root_, nullptr)), leaf_(other.leaf_) {}
  Resumption& operator=(Resumption&& other) noexcept {
    std::swap(root_, other.root_);
    std::swap(leaf_, other.leaf_);
    return *this;
  }
  ~Resumption() {
    if (root_) root_->frame.destroy();
  }
  explicit operator bool() const noexcept { return root_ != nullptr; }

  void operator()() {
    std::exception_ptr error;  // not a member of Root: a chain that ends here destroys itself, and Root with it
    std::exchange(root_, nullptr)->error = &error;
    leaf_.resume();
    if (error) std::rethrow_exception(error);
  }
  /// Resumes the chain later, in a microtask. It does nothing if it owns no chain.
  void schedule() {
    if (!root_) return;
    Context& context = root_->context;
    node::queue_microtask(context, std::move(*this));
  }

 private:
  Root* root_ = nullptr;
  std::coroutine_handle<> leaf_;
};

/// Suspends `leaf` and calls `start(resume)`, which begins the operation to wait for. The coroutine continues in a
/// microtask after `resume()` was called. If the context no longer exists, it destroys the chain and does not call
/// `start`.
///
/// @param start Takes `resume`, a callable that can be copied. It must not call `resume` before it returns. If it
/// throws, the coroutine gets the exception, as if it had never been suspended.
template <class P, class Start>
void wait(std::coroutine_handle<P> leaf, Start&& start) {
  Root& root = *leaf.promise().root;
  if (!root.hold.alive()) {
    Resumption(root, leaf);  // this temporary object destroys the chain
    return;
  }
  const auto waiting = std::make_shared<Resumption>();
  start([waiting] { waiting->schedule(); });
  *waiting = Resumption(root, leaf);
}

/// The part of the promise of an Async that does not depend on its result.
struct PromiseBase {
  PromiseBase() noexcept = default;
  PromiseBase(const PromiseBase&) = delete;
  PromiseBase& operator=(const PromiseBase&) = delete;
  ~PromiseBase() {
    if (gone) *gone = true;
  }

  Root* root = nullptr;              // the chain; null until this coroutine is awaited
  std::coroutine_handle<> awaiting;  // the coroutine that awaits this one; null if this one ends before it suspends
  std::exception_ptr error;          // what this coroutine threw
  bool* gone = nullptr;              // a flag that the destructor sets

  /// Continues the awaiting coroutine when this one ends.
  struct Final {
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class P>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<P> frame) const noexcept {
      const std::coroutine_handle<> next = frame.promise().awaiting;
      return next ? next : std::noop_coroutine();
    }
    void await_resume() const noexcept {}
  };
  [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
  [[nodiscard]] Final final_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { error = std::current_exception(); }
};

/// The promise of an Async<T>. It holds the result.
template <class T>
struct Promise : PromiseBase {
  std::optional<T> value;
  std::coroutine_handle<Promise> get_return_object() noexcept {
    return std::coroutine_handle<Promise>::from_promise(*this);
  }
  template <std::convertible_to<T> U>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
  T take() { return *std::move(value); }
};

template <>
struct Promise<void> : PromiseBase {
  std::coroutine_handle<Promise> get_return_object() noexcept {
    return std::coroutine_handle<Promise>::from_promise(*this);
  }
  void return_void() const noexcept {}
  void take() const noexcept {}
};

/// The awaiter of an Async. It calls resume() on the awaited coroutine, and does not use symmetric transfer. A compiler
/// that does not optimise makes each such transfer a function call. Then a loop over coroutines that end at once would
/// use up the stack.
template <class T>
struct AwaitAsync {
  std::coroutine_handle<Promise<T>> frame;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  /// Runs the awaited coroutine until it suspends. Returns false if it has ended; the awaiting coroutine goes on then.
  template <class P>
  bool await_suspend(std::coroutine_handle<P> awaiting) const {
    const std::coroutine_handle<Promise<T>> callee = frame;  // a copy, because resume() may destroy the chain and *this
    bool gone = false;
    callee.promise().root = awaiting.promise().root;
    callee.promise().gone = &gone;
    callee.resume();
    if (gone) return true;  // the whole chain was destroyed, because the context was
    callee.promise().gone = nullptr;
    if (callee.done()) return false;
    callee.promise().awaiting = awaiting;
    return true;
  }
  T await_resume() const {
    if (frame.promise().error) std::rethrow_exception(frame.promise().error);
    return frame.promise().take();
  }
};

/// The outermost coroutine of a chain. It destroys itself at its end.
struct Outermost {
  struct promise_type {
    template <class... Arguments>
    explicit promise_type(Context& context, Arguments&...) : own(context), root(&own) {
      own.frame = std::coroutine_handle<promise_type>::from_promise(*this);
    }
    Outermost get_return_object() noexcept { return {Resumption(own, own.frame)}; }
    [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
    [[nodiscard]] std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    // The exception is kept and does not leave this function. Otherwise it would leave resume(), and Clang 14 then
    // destroys the object that the coroutine awaited twice.
    void unhandled_exception() noexcept { *own.error = std::current_exception(); }
    Root own;
    Root* root;
  };
  Resumption start;
};

/// Makes the outermost coroutine, which awaits `(*function)(arguments...)`. It keeps the callable, and with it the
/// captures of a lambda, for as long as the coroutine of the callable exists.
template <class F, class... Arguments>
Outermost outermost(Context&, F function, Arguments... arguments) {
  co_await std::invoke(*function, std::move(arguments)...);
}

/// What a co::Stream has received, and the state of its connection. The Stream and the listeners of its socket share
/// the ownership.
struct StreamState {
  std::vector<std::byte> received;  // bytes for the next read()
  std::vector<std::byte> given;     // the bytes that the last read() has returned
  std::size_t keep = 0;     // while a coroutine waits in write(): how much may be received although nobody reads
  bool peer_ended = false;  // the peer has ended its side
  bool ended = false;       // this side has ended: by end() or reset(), or because a write has failed
  bool over = false;        // the socket is closed
  std::error_code error;    // why it was closed
};

/// The coroutines that wait for a co::Stream. Only the listeners of the socket own it. When the context is destroyed,
/// it destroys the listeners, and therefore the coroutines that wait.
struct Waiters {
  Resumption reader;
  Resumption writer;

  /// Makes the coroutine wait in `place`. If the Waiters no longer exist, it destroys the chain and returns false.
  /// Throws std::system_error (EBUSY) if a coroutine waits there already.
  template <class P>
  static bool suspend(std::coroutine_handle<P> leaf, const std::weak_ptr<Waiters>& weak, Resumption Waiters::*place,
                      const char* what) {
    const auto waiters = weak.lock();
    if (waiters && (*waiters).*place) {
      throw std::system_error(EBUSY, std::system_category(),
                              std::string(what) + ": another coroutine waits for it already");
    }
    Resumption resumption(*leaf.promise().root, leaf);
    if (!waiters) return false;
    (*waiters).*place = std::move(resumption);
    return true;
  }
};

/// The awaiter of Stream::read().
struct Read {
  const node::Socket& socket;
  StreamState& state;
  const std::weak_ptr<Waiters>& waiters;
  [[nodiscard]] bool await_ready() const noexcept { return !state.received.empty() || state.peer_ended || state.over; }
  template <class P>
  void await_suspend(std::coroutine_handle<P> leaf) const {
    if (Waiters::suspend(leaf, waiters, &Waiters::reader, "read")) socket.resume();
  }
  [[nodiscard]] std::optional<std::span<const std::byte>> await_resume() const noexcept {
    if (state.received.empty()) return {};
    std::swap(state.given, state.received);
    state.received.clear();
    return state.given;
  }
};

/// The awaiter of Stream::write().
struct Write {
  const node::Socket& socket;
  StreamState& state;
  const std::weak_ptr<Waiters>& waiters;
  bool taken;  // what Socket::write() returned: false if the writer should wait, or if no more bytes are taken
  [[nodiscard]] bool await_ready() const noexcept { return taken || state.over || state.ended; }
  template <class P>
  void await_suspend(std::coroutine_handle<P> leaf) const {
    // The peer may have to write before it reads, so some bytes must be kept although nobody reads here. If the peer
    // waits in write() in the same way, it has queued at most as much as is kept here, or it keeps more than is queued
    // here.
    const std::size_t keep = 2 * socket.writable_length() + std::size_t{64} * 1024;
    if (!Waiters::suspend(leaf, waiters, &Waiters::writer, "write")) return;
    state.keep = keep;
    if (state.received.size() < keep) socket.resume();
  }
  bool await_resume() const noexcept {
    state.keep = 0;
    return taken || !(state.over || state.ended);
  }
};

/// The awaiter of connect(). Its result is a C that is made from the node::Socket.
template <class C>
struct Connect {
  struct Attempt {
    bool open = false;
    std::error_code error;
  };
  std::string address;
  ConnectOptions options;
  node::Socket socket = {};
  std::shared_ptr<Attempt> attempt = std::make_shared<Attempt>();
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  template <class P>
  void await_suspend(std::coroutine_handle<P> leaf) {
    wait(leaf, [&](auto resume) {
      socket = node::connect(leaf.promise().root->context, address, {}, {.allow_half_open = true, .connect = options});
      socket.on_connect([attempt = attempt, resume] {
        attempt->open = true;
        resume();
      });
      socket.on_close([attempt = attempt, resume](std::error_code error) {
        attempt->error = error;
        resume();  // no effect if the socket is open, because the coroutine has been resumed
      });
    });
  }
  [[nodiscard]] C await_resume() {
    if (!attempt->open) throw std::system_error(attempt->error, "connect to " + address);
    return C(std::move(socket));
  }
};

/// The awaiter of sleep().
struct Sleep {
  std::chrono::nanoseconds duration;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  template <class P>
  void await_suspend(std::coroutine_handle<P> leaf) const {
    wait(leaf, [&](auto resume) { node::set_timeout(leaf.promise().root->context, resume, duration); });
  }
  void await_resume() const noexcept {}
};

/// The awaiter of run_blocking().
template <class Work>
struct RunBlocking {
  using Result = onloop::detail::BlockingResult<Work>;
  Work work;
  std::optional<Outcome<Result>> outcome = {};
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  template <class P>
  void await_suspend(std::coroutine_handle<P> leaf) {
    wait(leaf, [&](auto resume) {
      leaf.promise().root->context.run_blocking(std::move(work), [this, resume](Outcome<Result> what) {
        outcome.emplace(std::move(what));
        resume();
      });
    });
  }
  Result await_resume() { return (*std::move(outcome)).get(); }
};

}  // namespace onloop::co::detail
/// @endcond
