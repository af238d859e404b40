#pragma once
#include <onloop/export.h>
#include <onloop/context.hpp>

#include <concepts>
#include <exception>
#include <memory>
#include <optional>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

namespace onloop {

/// @cond
namespace detail {
class WorkerPool;
}  // namespace detail
/// @endcond

/// The outcome of a piece of blocking work: its result, or the exception that it threw.
template <class T>
class [[nodiscard]] Outcome {
  static_assert(std::is_object_v<T> && !std::is_same_v<T, std::exception_ptr>, "work gives a value, or nothing");

 public:
  /// The outcome of work that has thrown `error`, which must not be null.
  explicit Outcome(std::exception_ptr error) noexcept : held_(std::move(error)) {}
  /// The outcome of work whose result is `value`.
  explicit Outcome(T value) : held_(std::move(value)) {}

  /// @return True if there is a result, false if the work has thrown.
  explicit operator bool() const noexcept { return std::holds_alternative<T>(held_); }
  /// @return The result of the work.
  /// @throws The exception that the work threw.
  [[nodiscard]] T& get() & {
    check();
    return std::get<T>(held_);
  }
  /// @overload
  /// This one moves the result out of an Outcome that is no longer needed: `std::move(outcome).get()`.
  [[nodiscard]] T get() && {
    check();
    return std::get<T>(std::move(held_));
  }
  /// @return The exception that the work threw, or null if it threw none.
  [[nodiscard]] std::exception_ptr exception() const noexcept {
    const auto* error = std::get_if<std::exception_ptr>(&held_);
    return error ? *error : nullptr;
  }

 private:
  void check() const {
    if (const auto* error = std::get_if<std::exception_ptr>(&held_)) std::rethrow_exception(*error);
  }
  std::variant<std::exception_ptr, T> held_;
};

/// The outcome of work without a result: that it has ended, or the exception that it threw.
template <>
class [[nodiscard]] Outcome<void> {
 public:
  /// The outcome of work that has thrown `error`, or that has ended well if `error` is null.
  explicit Outcome(std::exception_ptr error = {}) noexcept : error_(std::move(error)) {}

  /// @return True if the work has not thrown.
  explicit operator bool() const noexcept { return !error_; }
  /// Returns if the work has not thrown.
  /// @throws The exception that the work threw.
  void get() const {
    if (error_) std::rethrow_exception(error_);
  }
  /// @return The exception that the work threw, or null if it threw none.
  [[nodiscard]] std::exception_ptr exception() const noexcept { return error_; }

 private:
  std::exception_ptr error_;
};

/// Turns an exception into an error code.
/// @return The code of a std::system_error, ENOMEM for std::bad_alloc, EIO for any other exception, and no error if
/// `exception` is null.
[[nodiscard]] ONLOOP_API std::error_code error_code_of(const std::exception_ptr& exception) noexcept;

/// @cond
namespace detail {

/// A piece of work, as the pool sees it. It is destroyed on the context's thread.
class ONLOOP_API BlockingWork {
 public:
  explicit BlockingWork(bool looks_up) noexcept : is_lookup(looks_up) {}
  BlockingWork(const BlockingWork&) = delete;
  BlockingWork& operator=(const BlockingWork&) = delete;
  virtual ~BlockingWork() = default;

  virtual void run() noexcept = 0;                              // on a thread of the pool
  virtual void refuse(std::exception_ptr reason) noexcept = 0;  // instead of run()
  virtual void finish() = 0;                                    // on the context's thread: reports the outcome

  const bool is_lookup;  // it looks up a name: not all threads may do so at once
  std::stop_source stop;
  WorkerPool* pool = nullptr;  // null when the work has ended or the context is gone; for the context's thread
};

template <class Work>
using BlockingResult =
    typename std::conditional_t<std::invocable<Work&, std::stop_token>, std::invoke_result<Work&, std::stop_token>,
                                std::invoke_result<Work&>>::type;

template <class Work, class Done>
class BlockingCall final : public BlockingWork {
 public:
  using Result = BlockingResult<Work>;

  BlockingCall(Work work, Done done)
      : BlockingWork(requires { Work::kIsLookUp; }), work_(std::move(work)), done_(std::move(done)) {}

  void run() noexcept override {
    try {
      if constexpr (std::is_void_v<Result>) {
        call();
        outcome_.emplace();
      } else {
        outcome_.emplace(call());
      }
    } catch (...) {
      outcome_.emplace(std::current_exception());
    }
  }
  void refuse(std::exception_ptr reason) noexcept override { outcome_.emplace(std::move(reason)); }
  void finish() override { done_(*std::move(outcome_)); }

 private:
  Result call() {
    if constexpr (std::invocable<Work&, std::stop_token>) {
      return work_(stop.get_token());
    } else {
      return work_();
    }
  }
  Work work_;
  Done done_;
  std::optional<Outcome<Result>> outcome_;
};

}  // namespace detail
/// @endcond

/// A handle to a piece of work that Context::run_blocking was given. It may be copied. Destroying it changes nothing.
/// It has no effect when the work has ended or its context is gone.
///
/// Thread: the context's.
class ONLOOP_API Job {
 public:
  /// A handle without work. No call has an effect.
  Job() noexcept = default;
  /// For the library: a handle to `work`.
  explicit Job(std::weak_ptr<detail::BlockingWork> work) noexcept : work_(std::move(work)) {}

  /// Cancels the work. If the work still waits for a thread, it does not run, and `done` gets ECANCELED later. If the
  /// work is running, its std::stop_token is asked to stop, and `done` gets the outcome of the work.
  void cancel() noexcept;
  /// @return True until `done` is called.
  [[nodiscard]] bool active() const noexcept {
    const auto work = work_.lock();
    return work && work->pool;
  }

 private:
  std::weak_ptr<detail::BlockingWork> work_;
};

template <class Work, class Done>
Job Context::run_blocking(Work work, Done done) {
  constexpr bool kWorks = std::invocable<Work&> || std::invocable<Work&, std::stop_token>;
  static_assert(kWorks,
                "Context::run_blocking takes as its work a callable without parameters, or with one, a "
                "std::stop_token: [] { return result; }");
  if constexpr (kWorks) {
    constexpr bool kTakesOutcome = std::invocable<Done&, Outcome<detail::BlockingResult<Work>>>;
    static_assert(kTakesOutcome,
                  "Context::run_blocking takes at the end a callable with one parameter, the onloop::Outcome of what "
                  "the work gives: [](onloop::Outcome<Result> outcome) { ... }");
    if constexpr (kTakesOutcome) {
      return start_blocking(std::make_shared<detail::BlockingCall<Work, Done>>(std::move(work), std::move(done)));
    }
  }
  return Job();
}

}  // namespace onloop
