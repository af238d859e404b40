#pragma once
#include <onloop/context.hpp>

#include <atomic>
#include <deque>
#include <exception>
#include <memory>
#include <string_view>
#include <thread>
#include <vector>

#include "core/runtime/deadline.hpp"
#include "core/runtime/host.hpp"
#include "core/runtime/mailbox.hpp"
#include "core/runtime/source.hpp"
#include "core/runtime/timer_heap.hpp"

namespace onloop::detail {

/// What an upper layer keeps in a context. Severed first when the context goes.
class Tenant {
 public:
  Tenant() noexcept = default;
  Tenant(const Tenant&) = delete;
  Tenant& operator=(const Tenant&) = delete;
  virtual ~Tenant() = default;
  /// Takes everything of it out of the runtime, silently.
  virtual void sever() noexcept = 0;
};

/// The engine behind a Context: sources, timers and tasks on one loop, served in turns.
///
/// How a turn goes. Up-calls of a loop that the runtime itself drives (its `turn` slot) only collect what is ready;
/// when the slot has returned, the batch is served: due timers, sources, deferred work, tasks. So no frame of the loop
/// is on the stack while user code runs, and the order is the same on every such loop. An up-call from a loop that
/// somebody else drives is served at once, as a turn of its own. Either may nest, if user code iterates the loop.
///
/// It is counted: one reference is the Context's, the others are frames that are using it while the Context is
/// destroyed. Then alive() turns false and every frame on the stack winds up.
class Runtime {
 public:
  Runtime(Context& facade, const Loop& loop, ContextOptions options);
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  /// Holds the runtime's memory while a frame uses it.
  class Pin {
   public:
    explicit Pin(Runtime& runtime) noexcept : runtime_(runtime) { ++runtime_.references_; }
    Pin(const Pin&) = delete;
    Pin& operator=(const Pin&) = delete;
    ~Pin() { runtime_.release(); }

   private:
    Runtime& runtime_;
  };

  // ---- the context's life ----
  void shutdown() noexcept;  // ~Context; releases its reference
  [[nodiscard]] bool alive() const noexcept { return host_ != nullptr; }
  [[nodiscard]] Context& facade() noexcept { return facade_; }
  [[nodiscard]] const ContextOptions& options() const noexcept { return options_; }
  [[nodiscard]] const Loop& loop() const noexcept { return host_->loop(); }
  [[nodiscard]] bool forked() const noexcept;
  void after_fork(const Loop& loop);

  // ---- threads ----
  void check_thread() const {
    if (const auto owner = owner_.load(std::memory_order_relaxed);
        owner != std::thread::id{} && owner != std::this_thread::get_id()) {
      refuse_thread();
    }
  }
  /// For destructors, which can't throw: ends the process with words.
  void check_thread_or_die() const noexcept;
  void release_thread() noexcept { owner_.store({}, std::memory_order_relaxed); }
  [[nodiscard]] const std::shared_ptr<Mailbox>& mailbox() const noexcept { return mailbox_; }

  // ---- running ----
  void run();
  void stop() noexcept;
  void set_keepalive(bool on) noexcept;
  [[nodiscard]] int fd();
  void dispatch();

  // ---- sources ----
  /// Watches `fd` for `source`. Throws std::system_error that begins with `what`: a duplicate (EEXIST), the loop's.
  void watch(Source& source, int fd, std::uint32_t interest, std::string_view what);
  /// Sets what `source` wants. READ that is wanted no more leaves the loop lazily, at its next event: most pauses are
  /// short, and removing and adding again costs more than two changes.
  [[nodiscard]] std::error_code want(Source& source, std::uint32_t interest) noexcept;
  /// Before its descriptor is closed. Harmless if there is no watch.
  void unwatch(Source& source) noexcept;
  /// Calls source.on_deferred() later in this turn, or in the next: never from within the call that defers.
  void defer(Source& source) noexcept;

  // ---- timers and tasks ----
  /// Throws std::system_error if the loop can't take the deadline; then the timer is not set.
  void schedule(TimerNode& timer, std::uint64_t at);
  void cancel(TimerNode& timer) noexcept { timers_.cancel(timer); }
  void post(Task task);

  /// ContextOptions::on_error, or a line on standard error.
  void report(std::error_code error, std::string_view what) noexcept;

  /// User code has thrown while it was called for `source`, which is aborted if nobody catches. The first blame counts.
  void blame(Source& source) noexcept;

  std::unique_ptr<Tenant> tenant;

 private:
  class Waker final : public Source {
   public:
    explicit Waker(Runtime& runtime) noexcept : Source(runtime) {}

   private:
    void on_ready(std::uint32_t) override;
    void sever() noexcept override;
  };
  struct Ready {
    Source* source;
    std::uint32_t readiness;
  };
  friend class Source::Busy;

  ~Runtime() = default;
  void release() noexcept {
    if (--references_ == 0) delete this;
  }
  [[nodiscard]] onloop_guest guest() noexcept;
  void bind_thread();
  [[noreturn]] void refuse_thread() const;
  void refuse_forked() const;

  // up-calls
  static void on_ready(void* source, std::uint32_t readiness);
  static void on_deadline(void* runtime);
  void collect(Source& source, std::uint32_t readiness) noexcept;
  void serve_upcall(std::size_t first) noexcept;
  void caught(const std::exception_ptr& exception) noexcept;
  void clear_blame() noexcept;

  // one turn
  void turn(std::int64_t max_wait_ns);
  void serve(std::size_t first);
  void serve_batch(std::size_t first);
  void end_batch(std::size_t first) noexcept;
  void serve_timers();
  void serve_ready(std::size_t first);
  void serve_deferred();
  void serve_tasks();
  void deliver(Source& source, std::uint32_t readiness);
  void after_busy(Source& source) noexcept;

  [[nodiscard]] std::uint64_t next_deadline() const noexcept;
  int arm() noexcept;
  void arm_or_report() noexcept;
  void arm_from_anywhere() noexcept;

  Context& facade_;
  ContextOptions options_;
  unsigned references_ = 1;
  std::atomic<std::thread::id> owner_{};
  std::unique_ptr<Host> host_;
  pid_t process_;
  std::vector<Source*> sources_;  // by descriptor
  std::vector<Ready> ready_;      // a stack of batches: each nested turn has its own piece at the end
  TimerHeap timers_;
  std::deque<Task> tasks_;
  Source* deferred_head_ = nullptr;
  Source* deferred_tail_ = nullptr;
  std::size_t deferred_count_ = 0;
  std::shared_ptr<Mailbox> mailbox_;
  Waker waker_;
  Deadline deadline_;
  Source* blamed_ = nullptr;     // whose callback threw; pinned
  std::exception_ptr escaped_;   // from a callback under the loop's own run call
  bool arms_each_turn_ = false;  // run() sets the deadline before each wait, so that nobody else need
  bool collecting_ = false;
  bool deadline_due_ = false;
  bool wake_due_ = false;
  bool running_ = false;
  bool stop_ = false;
  bool keepalive_ = true;
};

}  // namespace onloop::detail
