// The functions and classes of onloop/node/phases.hpp: timeouts, immediates, ticks, microtasks and KeepAlive.

#include "core/node/timers.hpp"

#include <onloop/context.hpp>
#include <onloop/node/phases.hpp>

#include <algorithm>
#include <utility>

#include "core/base/at_scope_exit.hpp"
#include "core/node/phases.hpp"

namespace onloop {
namespace detail {

// ---- timeouts ----

void TimeoutState::start() {
  arm();
  activate();
}

void TimeoutState::arm() {
  if (!phases()) return;
  Context& context = phases()->runtime().facade();
  timer_ = repeats_ ? context.every(std::max(delay_, std::chrono::nanoseconds(1)), [this] { due(); })
                    : context.timer(delay_, [this] { due(); });
}

void TimeoutState::refresh() {
  if (active()) arm();
}

void TimeoutState::clear() noexcept {
  if (!active()) return;
  const Task dropped = std::move(task_);
  timer_ = {};
  deactivate();
}

void TimeoutState::due() {
  const std::shared_ptr<HandleState> self = shared_from_this();
  phases()->call([this] {
    if (!task_) return;  // a tick has cleared the timeout, or the task is running and iterates the loop
    Task running = std::move(task_);
    const AtScopeExit at_end([&] {
      if (timer_.active()) {
        task_ = std::move(running);
      } else {
        deactivate();
      }
    });
    running();
  });
}

void TimeoutState::sever() noexcept {
  const Task dropped = std::move(task_);
  timer_ = {};
}

// ---- immediates ----

void ImmediateState::run() {
  Task task = std::move(task_);
  deactivate();
  task();
}

void ImmediateState::clear() noexcept {
  const Task dropped = std::move(task_);
  deactivate();
}

void ImmediateState::sever() noexcept {
  const Task dropped = std::move(task_);
}

// ---- KeepAlive ----

KeepAlive::KeepAlive(Context& context) : state_(std::make_shared<KeepAliveState>(Phases::of(context))) {
  state_->start();
}

KeepAlive::~KeepAlive() {
  if (auto* state = checked(state_)) state->end();
}

bool KeepAlive::alive() const noexcept {
  return state_ && state_->phases();
}

void KeepAlive::run(Task task) {
  const std::shared_ptr<KeepAliveState> state = state_;
  if (!state || !state->phases()) return;
  state->end();
  state->phases()->call(task);
}

}  // namespace detail

namespace node {

using detail::checked;
using detail::Phases;

Timeout set_timeout(Context& context, Task task, std::chrono::nanoseconds delay) {
  if (!task) return {};
  auto state = std::make_shared<detail::TimeoutState>(Phases::of(context), std::move(task), delay, false);
  state->start();
  return Timeout(std::move(state));
}

Timeout set_interval(Context& context, std::function<void()> callback, std::chrono::nanoseconds period) {
  if (!callback) return {};
  auto state = std::make_shared<detail::TimeoutState>(Phases::of(context), std::move(callback), period, true);
  state->start();
  return Timeout(std::move(state));
}

void Timeout::clear() const {
  if (auto* state = checked(state_)) state->clear();
}
void Timeout::refresh() const {
  if (auto* state = checked(state_)) state->refresh();
}
void Timeout::ref() const {
  if (auto* state = checked(state_)) state->set_ref(true);
}
void Timeout::unref() const {
  if (auto* state = checked(state_)) state->set_ref(false);
}
bool Timeout::has_ref() const noexcept {
  return state_ && state_->has_ref();
}

Immediate set_immediate(Context& context, Task task) {
  if (!task) return {};
  Phases& phases = Phases::of(context);
  auto state = std::make_shared<detail::ImmediateState>(phases, std::move(task));
  state->start();
  phases.add_immediate(state);
  return Immediate(std::move(state));
}

void Immediate::clear() const {
  if (auto* state = checked(state_)) state->clear();
}
void Immediate::ref() const {
  if (auto* state = checked(state_)) state->set_ref(true);
}
void Immediate::unref() const {
  if (auto* state = checked(state_)) state->set_ref(false);
}
bool Immediate::has_ref() const noexcept {
  return state_ && state_->has_ref();
}

void next_tick(Context& context, Task task) {
  Phases::of(context).next_tick(std::move(task));
}

void queue_microtask(Context& context, Task task) {
  Phases::of(context).queue_microtask(std::move(task));
}

}  // namespace node
}  // namespace onloop
