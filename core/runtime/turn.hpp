#pragma once
#include <onloop/task.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>

#include "core/runtime/due.hpp"
#include "core/runtime/signal_watches.hpp"
#include "core/runtime/source_lists.hpp"
#include "core/runtime/timer_heap.hpp"
#include "core/runtime/turn_budget.hpp"

namespace onloop::detail {

class Mailbox;

/// The turns of a context: the work that waits for a turn, and the order in which a turn serves it.
///
/// A turn serves each kind of work once, in this order:
///  1. the timers that are due,
///  2. the sources that are ready,
///  3. the calls that sources have deferred,
///  4. ContextOptions::on_wake, then signals, then posted tasks.
/// serve_in_order() contains this order. A timer, a deferred call or a task that is added while its kind is being
/// served waits for the next turn.
///
/// Where an application waits for the end of a turn, the turn has a budget of time (TurnBudget). When the budget is
/// spent, the turn ends after the callback that is running. The rest of the work makes the next turn due at once, and
/// that turn begins with the kind of work that follows the one in which the last turn ended. So each kind gets its
/// share, and keeps its own order.
///
/// A turn also ends when a callback destroys the context or moves it to another loop.
///
/// User code may iterate the loop in a callback. The turn that this starts takes from the same lists, and the outer
/// turn goes on with what the inner turn has left there. If an exception leaves a turn, the next turn serves the rest.
///
/// The Runtime owns it. Thread: the context's.
class Turn {
 public:
  explicit Turn(Runtime& runtime) noexcept : runtime_(runtime) {}
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  // ---- the work for the next turn ----
  [[nodiscard]] Due& due() noexcept { return due_; }
  [[nodiscard]] const Due& due() const noexcept { return due_; }
  [[nodiscard]] TimerHeap& timers() noexcept { return timers_; }
  [[nodiscard]] SignalWatches& signals() noexcept { return signals_; }
  void collect(Source& source, std::uint32_t readiness) noexcept { ready_.add(source, readiness); }
  /// Adds a deferred call. Returns false if the source has deferred a call already.
  bool defer(Source& source) noexcept;
  void post(Task task);
  /// Takes what other threads and signal handlers have put into the mailbox.
  void take_mail(Mailbox& mailbox);

  /// True if the loop has reported something: a source is ready, the deadline has passed, or the context has moved
  /// here.
  [[nodiscard]] bool has_events() const noexcept { return !ready_.empty() || due_.any(Due::kTimers | Due::kMoved); }
  /// True if some work other than timers waits for the next turn.
  [[nodiscard]] bool has_work() const noexcept {
    return !ready_.empty() || due_.any(Due::kDeferred | Due::kPosted | Due::kMoved);
  }
  /// Forgets which sources are ready. The loop reports a source again if it is still ready.
  void forget_ready() noexcept;
  /// Destroys the tasks that were not called, because the context is destroyed.
  void drop_tasks() noexcept;
  /// Forgets everything else, because the context is destroyed.
  void drop_rest() noexcept;

  // ---- a turn ----
  /// Serves a turn without a budget. The current budget must be null.
  void serve() { serve_in_order(nullptr); }
  /// Serves a turn with a budget of its own.
  void serve_within_budget();
  /// Looks at the clock, and returns true if the budget of the innermost turn on the stack is spent. Returns false if
  /// that turn has no budget.
  [[nodiscard]] bool budget_is_spent() noexcept { return current_budget_ && current_budget_->look(); }
  /// Sets the budget for the callbacks that are called from here on; null means no budget. Returns the budget of the
  /// outer turn, which the caller must set again afterwards.
  TurnBudget* set_current_budget(TurnBudget* budget) noexcept { return std::exchange(current_budget_, budget); }

 private:
  enum class Kind : std::uint8_t { timers, sources, deferred_calls, posted };
  struct Posted {
    Task task;
    bool counted;  // the mailbox counts it as a post that waits
  };
  /// A turn takes the timers that are due at `now` and were set before `mark`.
  struct TimerLimits {
    std::uint64_t now;
    std::uint64_t mark;
  };

  // Functions for rare cases are not inlined, so that the code that handles a message is short.
  void serve_in_order(TurnBudget* budget);
  [[gnu::noinline]] void arrive() noexcept;
  [[gnu::noinline]] void serve_timers();
  void serve_sources(TurnBudget* budget);
  void deliver(Source& source);
  [[gnu::noinline]] std::uint32_t deliverable(Source& source, std::uint32_t readiness) noexcept;
  [[gnu::noinline]] void blame(Source& source) noexcept;
  [[gnu::noinline]] void serve_deferred();
  [[gnu::noinline]] void serve_posted();

  Runtime& runtime_;
  Due due_;
  Kind first_kind_ = Kind::timers;  // the kind that the next turn with a budget begins with
  TurnBudget* current_budget_ = nullptr;
  TimerHeap timers_;
  std::optional<TimerLimits> unfinished_timers_;  // the limits of a turn that has ended while timers were left
  ReadyList ready_;
  DeferredList deferred_;
  bool wake_is_due_ = false;
  SignalWatches signals_;
  std::deque<Posted> tasks_;
};

/// Serves a turn in its order. Most turns have no budget, and only ready sources.
[[gnu::always_inline]] inline void Turn::serve_in_order(TurnBudget* budget) {
  if (due_.any(Due::kMoved)) arrive();
  const Kind first = budget ? std::exchange(first_kind_, Kind::timers) : Kind::timers;
  const auto ends_before = [this, budget, first](Kind next) {
    if (budget && budget->spent()) {
      first_kind_ = next;
      return true;
    }
    return next == first;
  };
  for (Kind kind = first;; kind = Kind::timers) {
    switch (kind) {
      case Kind::timers:
        if (due_.any(Due::kTimers)) serve_timers();
        if (ends_before(Kind::sources)) return;
        [[fallthrough]];
      case Kind::sources:
        serve_sources(budget);
        if (!budget && due_.none()) return;
        if (ends_before(Kind::deferred_calls)) return;
        [[fallthrough]];
      case Kind::deferred_calls:
        if (due_.any(Due::kDeferred)) serve_deferred();
        if (ends_before(Kind::posted)) return;
        [[fallthrough]];
      case Kind::posted:
        if (due_.any(Due::kPosted)) serve_posted();
        if (ends_before(Kind::timers)) return;
    }
  }
}

/// Serves the ready sources. Most turns are short, so it looks at the clock after the first source, and then after
/// every few.
[[gnu::always_inline]] inline void Turn::serve_sources(TurnBudget* budget) {
  constexpr unsigned kEach = 4;
  if (budget && ready_.has_several()) budget->begin();
  for (unsigned served = 0; Source* source = ready_.take(); ++served) {
    deliver(*source);
    if (budget && !ready_.empty() && served % kEach == 0 && budget->look()) return;
  }
}

/// Calls on_ready() of the source, if the source still wants some of what is ready.
[[gnu::always_inline]] inline void Turn::deliver(Source& source) {
  std::uint32_t readiness = source.ready_;
  if (source.busy_ || (readiness & ~source.wanted_)) {
    readiness = deliverable(source, readiness);
    if (readiness == 0) return;
  }
  const Source::Busy busy(source);
  try {
    source.on_ready(readiness);
  } catch (...) {
    blame(source);
    throw;
  }
}

}  // namespace onloop::detail
