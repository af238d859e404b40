#pragma once
// How onloop/coroutine.hpp works; nothing in here is for applications.
//
// A suspended chain of coroutines is owned by what it waits for, by a Resumption: a timeout, the listeners of a
// socket, a piece of work on the pool, the queue of microtasks. The context drops all of these when it goes, and the
// chains with them; so there is no list of coroutines.
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

/// Of a chain of coroutines that await each other, what they share: part of the outermost, which spawn() made.
struct Root {
  explicit Root(Context& its_context) : context(its_context), hold(its_context) {}
  Context& context;
  onloop::detail::KeepAlive hold;  // keeps run() from returning, and knows whether there is a context
  std::coroutine_handle<> frame;
  std::exception_ptr* error = nullptr;  // where its exception goes, while it runs
};

/// What owns a suspended chain: run, it goes on with it; destroyed unused, it destroys it.
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
    std::exception_ptr error;  // of the outermost coroutine, which is over then, and has destroyed itself
    std::exchange(root_, nullptr)->error = &error;
    leaf_.resume();
    if (error) std::rethrow_exception(error);
  }
  /// Later, as a microtask. Nothing if it is empty.
  void schedule() {
    if (!root_) return;
    Context& context = root_->context;
    node::queue_microtask(context, std::move(*this));
  }

 private:
  Root* root_ = nullptr;
  std::coroutine_handle<> leaf_;
};

/// Suspends `leaf` until somebody calls what `start(resume)` was given: a copyable callable, not to be called within
/// `start`. If that throws, the coroutine gets the exception and was never suspended.
template <class P, class Start>
void wait(std::coroutine_handle<P> leaf, Start&& start) {
  Root& root = *leaf.promise().root;
  if (!root.hold.alive()) {
    Resumption(root, leaf);  // destroyed with it
    return;
  }
  const auto waiting = std::make_shared<Resumption>();
  start([waiting] { waiting->schedule(); });
  *waiting = Resumption(root, leaf);
}

struct PromiseBase {
  PromiseBase() noexcept = default;
  PromiseBase(const PromiseBase&) = delete;
  PromiseBase& operator=(const PromiseBase&) = delete;
  ~PromiseBase() {
    if (gone) *gone = true;
  }

  Root* root = nullptr;
  std::coroutine_handle<> awaiting;  // once it is suspended; it is not if this one ends before that
  std::exception_ptr error;
  bool* gone = nullptr;  // set when the coroutine is destroyed

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

/// Of an Async. It is not resumed in place of the awaiting one: compilers that don't optimise make each such transfer a
/// call, so a loop over coroutines that end at once would use up the stack.
template <class T>
struct AwaitAsync {
  std::coroutine_handle<Promise<T>> frame;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  /// False if it has ended already.
  template <class P>
  bool await_suspend(std::coroutine_handle<P> awaiting) const {
    const std::coroutine_handle<Promise<T>> callee = frame;  // this object goes with the chain
    bool gone = false;
    callee.promise().root = awaiting.promise().root;
    callee.promise().gone = &gone;
    callee.resume();
    if (gone) return true;  // with the whole chain, since the context is
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

/// The outermost coroutine. It destroys itself at its end.
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
    // An exception that leaves here would leave resume(), and Clang 14 then destroys what the coroutine awaited twice.
    void unhandled_exception() noexcept { *own.error = std::current_exception(); }
    Root own;
    Root* root;
  };
  Resumption start;
};

/// Keeps the callable, in which a lambda's captures are, for as long as its coroutine.
template <class F, class... Arguments>
Outermost outermost(Context&, F function, Arguments... arguments) {
  co_await std::invoke(*function, std::move(arguments)...);
}

/// What has come for a connection.
struct StreamState {
  std::vector<std::byte> received;
  std::vector<std::byte> given;  // to the last read()
  std::size_t keep = 0;          // so much may be received while nobody reads: while somebody waits in write()
  bool peer_ended = false;
  bool ended = false;  // by us, or by a write that failed
  bool over = false;
  std::error_code error;
};

/// Who waits for it. The socket's listeners alone own these: when they are dropped, for the context is gone, so are the
/// coroutines that wait.
struct Waiters {
  Resumption reader;
  Resumption writer;

  /// False, and the chain is destroyed, if there is nobody to wait for any more.
  template <class P>
  static bool suspend(std::coroutine_handle<P> leaf, const std::weak_ptr<Waiters>& weak, Resumption Waiters::*place,
                      const char* what) {
    const auto waiters = weak.lock();
    if (waiters && (*waiters).*place) {
      throw std::system_error(EBUSY, std::system_category(), std::string(what) + " while another coroutine does");
    }
    Resumption resumption(*leaf.promise().root, leaf);
    if (!waiters) return false;
    (*waiters).*place = std::move(resumption);
    return true;
  }
};

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

struct Write {
  const node::Socket& socket;
  StreamState& state;
  const std::weak_ptr<Waiters>& waiters;
  bool taken;
  [[nodiscard]] bool await_ready() const noexcept { return taken || state.over || state.ended; }
  template <class P>
  void await_suspend(std::coroutine_handle<P> leaf) const {
    // The peer may have to write before it reads. A peer that does the same has queued at most as much, or keeps more.
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

/// Gives a C, made of the node::Socket.
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
        resume();  // without effect once it is open
      });
    });
  }
  [[nodiscard]] C await_resume() {
    if (!attempt->open) throw std::system_error(attempt->error, "connect to " + address);
    return C(std::move(socket));
  }
};

struct Sleep {
  std::chrono::nanoseconds duration;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  template <class P>
  void await_suspend(std::coroutine_handle<P> leaf) const {
    wait(leaf, [&](auto resume) { node::set_timeout(leaf.promise().root->context, resume, duration); });
  }
  void await_resume() const noexcept {}
};

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
