#include "core/node/phases.hpp"

#include <onloop/context.hpp>

#include <utility>

#include "core/base/at_scope_exit.hpp"
#include "core/node/timers.hpp"

namespace onloop::detail {

Phases& Phases::of(Context& context) {
  Runtime& runtime = runtime_of(context);
  runtime.check_thread();
  return runtime.subsystem<Phases>();
}

/// check() in the first turn finds out whether anything keeps the loop running.
Phases::Phases(Runtime& runtime) : runtime_(runtime) {
  runtime_.set_keepalive(true);
  schedule();
}

void Phases::sever() noexcept {
  severed_ = true;
  while (HandleState* first = handles_) {
    // Null for a state that is being destroyed and whose destructor destroys the context.
    const std::shared_ptr<HandleState> held = first->weak_from_this().lock();
    handles_ = first->after_;
    if (handles_) handles_->before_ = nullptr;
    first->after_ = nullptr;
    first->phases_ = nullptr;
    if (!held) continue;
    first->sever();
    const std::shared_ptr<HandleState> own = std::move(first->self_);
  }
  // The queues are emptied before the tasks are destroyed, because what the tasks own may call this object then.
  const auto ticks = std::exchange(ticks_, {});
  const auto microtasks = std::exchange(microtasks_, {});
  const auto immediates = std::exchange(immediates_, {});
  const auto closings = std::exchange(closings_, {});
  thrown_.clear();
}

// ---- the queues ----

void Phases::next_tick(Task task) {
  if (severed_ || !task) return;
  ticks_.push_back(std::move(task));
  if (!in_callback()) schedule();
}

void Phases::queue_microtask(Task task) {
  if (severed_ || !task) return;
  microtasks_.push_back(std::move(task));
  if (!in_callback()) schedule();
}

void Phases::drain_all(std::deque<Task>& queue) {
  while (!queue.empty() && !runtime_.turn_is_over()) {
    Task task = std::move(queue.front());
    queue.pop_front();
    task();
  }
}

/// Runs all ticks and then all microtasks, until both queues are empty. If a task moves the context to another loop,
/// the rest runs on that loop, like the rest of the turn.
void Phases::drain() {
  while (queued() && !runtime_.turn_is_over()) {
    drain_all(ticks_);
    drain_all(microtasks_);
  }
}

/// Empties the queues before something else runs. An exception from a task must not prevent what follows, so it leaves
/// at the end of the turn.
void Phases::settle() {
  while (queued() && !runtime_.turn_is_over()) collect([this] { drain(); });
}

template <class F>
void Phases::collect(F&& callback) {
  try {
    callback();
  } catch (...) {
    if (severed_) throw;
    thrown_.push_back(std::current_exception());
    schedule();
  }
}

// ---- the phases after I/O ----

void Phases::add_immediate(std::shared_ptr<ImmediateState> immediate) {
  if (severed_) return;
  immediate->order = immediate_order_++;
  immediates_.push_back(std::move(immediate));
  schedule();
}

void Phases::queue_close(Task task) {
  if (severed_) return;
  closings_.push_back(std::move(task));
  schedule();
}

void Phases::schedule() {
  if (severed_) return;
  if (pending()) keep(true);
  if (posted_) return;
  runtime_.post([this] { check(); });
  posted_ = true;
}

void Phases::check() {
  posted_ = false;
  const Held<Runtime> held(runtime_);
  const AtScopeExit at_end([this] { checked(); });
  {
    const Frame frame(*this);
    settle();
  }
  const bool was_kept = std::exchange(was_kept_, false);
  if (was_kept || kept()) run_immediates();
  run_closings();
  if (thrown_.empty()) return;
  const std::exception_ptr thrown = std::move(thrown_.front());
  thrown_.pop_front();
  std::rethrow_exception(thrown);
}

/// Runs the immediates that are set already. Immediates that are set from here on belong to the next turn.
void Phases::run_immediates() {
  const std::uint64_t mark = immediate_order_;
  // NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDelete): check() holds the runtime
  while (!immediates_.empty() && !runtime_.turn_is_over() && immediates_.front()->order < mark) {
    const std::shared_ptr<ImmediateState> immediate = std::move(immediates_.front());
    immediates_.pop_front();
    if (immediate->active()) collect([&] { call([&] { immediate->run(); }); });
    if (runtime_.budget_is_spent()) return;
  }
}

void Phases::run_closings() {
  // NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDelete): check() holds the runtime
  for (std::size_t left = closings_.size(); left > 0 && !closings_.empty() && !runtime_.turn_is_over(); --left) {
    Task task = std::move(closings_.front());
    closings_.pop_front();
    collect([&] { call(task); });
    if (runtime_.budget_is_spent()) return;
  }
}

/// The end of check(). Only here, at the end of a turn, may the loop stop running. A loop that can't be iterated leaves
/// its run call at once when keep() says so.
void Phases::checked() {
  if (severed_) return;
  if (!kept()) {
    keep(false);
  } else if (pending() || !immediates_.empty()) {
    schedule();
  }
}

void Phases::keep(bool on) {
  if (keeps_ == on) return;
  keeps_ = on;
  runtime_.set_keepalive(on);
  if (on && !immediates_.empty()) schedule();
}

}  // namespace onloop::detail
