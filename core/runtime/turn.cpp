// How a Runtime serves a turn: from the loop's up-calls to user code.

#include <string>
#include <utility>

#include "core/runtime/clock.hpp"
#include "core/runtime/error.hpp"
#include "core/runtime/runtime.hpp"

namespace onloop::detail {

// ---- up-calls: entered from C, left without an exception ----

void Runtime::on_ready(void* context, std::uint32_t readiness) {
  Source& source = *static_cast<Source*>(context);
  Runtime& runtime = *source.runtime_;
  const std::size_t first = runtime.ready_.size();
  runtime.collect(source, readiness);
  if (!runtime.collecting_) runtime.serve_upcall(first);
}

void Runtime::on_deadline(void* context) {
  Runtime& runtime = *static_cast<Runtime*>(context);
  runtime.deadline_.fired();
  runtime.deadline_due_ = true;
  if (!runtime.collecting_) runtime.serve_upcall(runtime.ready_.size());
}

void Runtime::collect(Source& source, std::uint32_t readiness) noexcept try {
  if (&source == &deadline_) {
    deadline_.fired();
    deadline_due_ = true;
    return;
  }
  if (source.ready_slot_) ready_[source.ready_slot_ - 1].source = nullptr;  // an outer batch has not come to it yet
  source.ready_slot_ = 0;
  ready_.push_back({&source, readiness});
  source.ready_slot_ = static_cast<std::uint32_t>(ready_.size());
} catch (const std::bad_alloc&) {
  // Level-triggered: it will be announced again.
}

void Runtime::serve_upcall(std::size_t first) noexcept {
  const Pin pin(*this);
  const auto owner = owner_.load(std::memory_order_relaxed);
  if (owner != std::thread::id{} && owner != std::this_thread::get_id()) {
    die("a loop calls its context from another thread than before; release_thread() first");
  }
  owner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  try {
    serve(first);
  } catch (...) {
    caught(std::current_exception());
  }
  if (alive()) arm_or_report();
}

void Runtime::caught(const std::exception_ptr& exception) noexcept {
  Source* culprit = blamed_;
  std::string words = "a callback threw";
  try {
    if (running_ && alive()) {
      escaped_ = exception;
      host_->stop();
    } else if (options_.on_exception) {
      options_.on_exception(exception);
    } else {
      if (culprit && culprit->runtime_) {
        culprit->on_exception(error_of(ECONNABORTED));
        words += ", its connection is aborted";
      }
      std::rethrow_exception(exception);
    }
  } catch (const std::exception& thrown) {
    report(error_of(ECONNABORTED), words + " (" + thrown.what() + ")");
  } catch (...) {
    report(error_of(ECONNABORTED), words);
  }
  clear_blame();
}

// ---- a turn ----

void Runtime::turn(std::int64_t max_wait_ns) {
  arm_or_report();
  const std::size_t first = ready_.size();
  collecting_ = true;
  const int error = host_->turn(max_wait_ns);
  collecting_ = false;
  if (error < 0) throw_error(error, "wait on the loop");
  if (ready_.size() == first && !deadline_due_) return;
  try {
    serve(first);
  } catch (...) {
    clear_blame();  // the caller of run() or dispatch() gets the exception
    throw;
  }
}

void Runtime::serve(std::size_t first) {
  if (options_.around) {
    options_.around([this, first] { serve_batch(first); });
  } else {
    serve_batch(first);
  }
}

void Runtime::serve_batch(std::size_t first) {
  struct Batch {
    Runtime& runtime;
    std::size_t first;
    ~Batch() { runtime.end_batch(first); }
  } const batch{*this, first};
  if (deadline_due_) serve_timers();
  serve_ready(first);
  if (deferred_head_ && alive()) serve_deferred();
  if (alive()) serve_tasks();
}

void Runtime::end_batch(std::size_t first) noexcept {
  for (std::size_t i = first; i < ready_.size(); ++i) {  // what an exception left behind is announced again
    if (Source* source = ready_[i].source) source->ready_slot_ = 0;
  }
  if (ready_.size() > first) ready_.resize(first);
}

void Runtime::serve_timers() {
  deadline_due_ = false;
  const std::uint64_t now = now_ns();
  const std::uint64_t mark = timers_.mark();  // timers set from here on belong to a later turn
  while (alive()) {
    TimerNode* timer = timers_.take_due(now, mark);
    if (!timer) break;
    timer->on_due();
  }
}

void Runtime::serve_ready(std::size_t first) {
  for (std::size_t i = first; i < ready_.size() && alive(); ++i) {
    const Ready entry = ready_[i];
    if (!entry.source) continue;
    ready_[i].source = nullptr;
    entry.source->ready_slot_ = 0;
    deliver(*entry.source, entry.readiness);
  }
}

void Runtime::deliver(Source& source, std::uint32_t readiness) {
  const std::uint32_t kept = source.busy_ ? ONLOOP_NONE : source.wanted_;
  if (readiness & ~kept) {  // a lazily dropped READ; or user code of this source iterates the loop: it must not spin
    if (source.set_ != kept) host_->watch_set(source.watch_, kept);
    source.set_ = static_cast<std::uint8_t>(kept);
    readiness &= kept;
  }
  if (!readiness) return;
  const Source::Busy busy(source);
  try {
    source.on_ready(readiness);
  } catch (...) {
    blame(source);
    throw;
  }
}

void Runtime::serve_deferred() {
  for (std::size_t left = deferred_count_; left > 0 && deferred_head_ && alive(); --left) {
    Source& source = *deferred_head_;
    deferred_head_ = source.next_deferred_;
    --deferred_count_;
    source.deferred_ = false;
    struct Unpin {
      Source& source;
      ~Unpin() { source.unpin(); }
    } const unpin{source};
    if (!source.runtime_) continue;
    if (source.busy_) {
      source.held_ = true;
      continue;
    }
    const Source::Busy busy(source);
    try {
      source.on_deferred();
    } catch (...) {
      blame(source);
      throw;
    }
  }
}

void Runtime::serve_tasks() {
  if (std::exchange(wake_due_, false) && options_.on_wake) options_.on_wake();
  for (std::size_t left = tasks_.size(); left > 0 && alive() && !tasks_.empty(); --left) {
    Task task = std::move(tasks_.front());
    tasks_.pop_front();
    task();
  }
}

void Runtime::blame(Source& source) noexcept {
  if (blamed_) return;
  blamed_ = &source;
  source.pin();
}

void Runtime::clear_blame() noexcept {
  if (Source* source = std::exchange(blamed_, nullptr)) source->unpin();
}

Source::Busy::~Busy() {
  source_.busy_ = false;
  if (Runtime* runtime = source_.runtime_) {
    runtime->after_busy(source_);
  } else {
    source_.on_released();
  }
  source_.unpin();
}

void Runtime::after_busy(Source& source) noexcept {
  if (source.held_) {
    source.held_ = false;
    defer(source);
  }
  if ((source.set_ & source.wanted_) == source.wanted_) return;
  if (const std::error_code error = want(source, source.wanted_)) source.on_watch_error(error);
}

}  // namespace onloop::detail
