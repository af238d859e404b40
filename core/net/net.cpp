#include "core/net/net.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <string>
#include <utility>

#include "core/base/at_scope_exit.hpp"
#include "core/base/clock.hpp"
#include "core/base/error.hpp"
#include "core/net/acceptor.hpp"
#include "core/net/stream.hpp"

namespace onloop::detail {

Net& Net::of(Runtime& runtime) {
  return runtime.subsystem<Net>();
}

void Net::sever() noexcept {
  drain_awaited_ = false;  // the end of the drain is not announced any more
  // The tasks are destroyed last. A task may own a protocol, and a protocol that is destroyed severs its endpoints.
  const auto dropped = std::exchange(drain_tasks_, {});
  while (!acceptors_.empty()) acceptors_.back()->sever();
  const auto ended_drains = std::exchange(listener_drains_, {});
  while (streams_) streams_->sever();
  drain_limit_ = {};
  drained_ = {};
  reserve_.reset();
}

void Net::add(Stream& stream) noexcept {
  ++statistics.connections;
  stream.after_ = std::exchange(streams_, &stream);
  if (stream.after_) stream.after_->before_ = &stream;
}

void Net::remove(Stream& stream) noexcept {
  --statistics.connections;
  ++statistics.closed;
  (stream.before_ ? stream.before_->after_ : streams_) = stream.after_;
  if (stream.after_) stream.after_->before_ = stream.before_;
  stream.before_ = stream.after_ = nullptr;
  drained(stream);
  if (!early.empty()) early.erase(&stream);
  end_drain();
}

void Net::remove(Acceptor& acceptor) noexcept {
  std::erase(acceptors_, &acceptor);
  end_drain();
}

void Net::post_drain_tasks(const Stream& stream) {
  // The tasks are taken out one by one. A context that is ending drops the task that is posted, and what this task owns
  // may remove other tasks when it is destroyed.
  while (auto node = drain_tasks_.extract(&stream)) runtime_.post(std::move(node.mapped()));
}

void Net::keep_reserve() noexcept {
  if (!reserve_) reserve_.reset(open("/dev/null", O_RDONLY | O_CLOEXEC));
}

int Net::turn_away(int listening) noexcept {
  if (!reserve_) return EMFILE;
  reserve_.reset();
  Descriptor client(accept4(listening, nullptr, nullptr, SOCK_CLOEXEC));
  const int error = client ? 0 : errno;
  if (client) ++statistics.turned_away;
  client.reset();
  keep_reserve();
  return error;
}

void Net::report_starved(std::error_code error, const std::string& what) noexcept {
  constexpr std::uint64_t kQuiet = 10'000'000'000;  // nanoseconds
  const std::uint64_t now = now_ns();
  if (now < quiet_until_) return;
  quiet_until_ = now + kQuiet;
  runtime_.report(error, what);
}

void Net::drain(std::chrono::nanoseconds limit, Task done) {
  if (draining_) throw_error(EALREADY, "drain a context that is draining already, or has drained");
  const Held<Runtime> held(runtime_);
  draining_ = true;
  try {
    TurnBudget budget;
    budget.begin();
    // on_accept is called for the clients that wait in a backlog. It may close any listener, make new listeners, or
    // destroy the context.
    while (Acceptor* acceptor = find_acceptor(false)) {
      acceptor->drain(budget);
      if (!runtime_.alive() || runtime_.ending()) return;
    }
    if (streams_ || find_acceptor(true)) {
      drain_limit_ = runtime_.facade().timer(limit, [this] { abort_drain(); });
    }
  } catch (...) {
    draining_ = false;
    throw;
  }
  drained_ = std::move(done);
  drain_awaited_ = true;
  end_drain();
}

Acceptor* Net::find_acceptor(bool draining) const noexcept {
  const auto found = std::find_if(acceptors_.begin(), acceptors_.end(),
                                  [draining](const Acceptor* each) { return each->draining() == draining; });
  return found == acceptors_.end() ? nullptr : *found;
}

void Net::sever_draining() noexcept {
  while (Acceptor* acceptor = find_acceptor(true)) acceptor->sever();
}

void Net::abort_drain() {
  sever_draining();
  each_stream([](Stream& stream) { stream.reset(error_of(ETIMEDOUT)); });
}

void Net::end_drain() noexcept {
  if (!drain_awaited_ || streams_ || find_acceptor(true)) return;
  drain_awaited_ = false;
  drain_limit_.cancel();
  runtime_.post(std::move(drained_));
}

void Net::drain(std::span<Listener* const> listeners, std::chrono::nanoseconds limit, Task done) {
  std::vector<Held<Acceptor>> chosen;
  for (Listener* listener : listeners) {
    if (!listener || &acceptor_of(*listener).net() != this) {
      throw_error(EINVAL, "drain a listener that is null, or belongs to another context");
    }
    if (acceptor_of(*listener).drain()) throw_error(EALREADY, "drain a listener that is draining");
    chosen.emplace_back(acceptor_of(*listener));
  }
  auto made = std::make_unique<ListenerDrain>();
  ListenerDrain& drain = *made;
  drain.limit = runtime_.facade().timer(limit, [this, &drain] { abort_drain(drain); });
  drain.acceptors = 1;  // stands for this call, until each listener takes part
  drain.done = std::move(done);
  listener_drains_.push_back(std::move(made));
  const Held<Runtime> held(runtime_);
  const AtScopeExit told([&] {
    if (runtime_.alive() && !runtime_.ending()) drained(drain);
  });
  for (const auto& acceptor : chosen) {
    if (acceptor->start_drain(drain)) ++drain.acceptors;
  }
  TurnBudget budget;
  budget.begin();
  std::exception_ptr thrown;
  for (const auto& acceptor : chosen) {
    try {  // on_accept may close a listener, destroy the context, or throw; then the other listeners drain all the same
      if (!acceptor->severed() && !acceptor->draining()) acceptor->drain(budget);
    } catch (...) {
      if (!thrown) thrown = std::current_exception();
    }
    if (!runtime_.alive() || runtime_.ending()) break;
  }
  if (thrown) std::rethrow_exception(thrown);
}

void Net::abort_drain(const ListenerDrain& drain) {
  const auto is_of_it = [its = &drain](const Acceptor* acceptor) { return acceptor && acceptor->drain() == its; };
  for (;;) {
    const auto found = std::find_if(acceptors_.begin(), acceptors_.end(), is_of_it);
    if (found == acceptors_.end()) break;
    (*found)->sever();
  }
  each_stream([is_of_it](Stream& stream) {
    if (is_of_it(stream.acceptor())) stream.reset(error_of(ETIMEDOUT));
  });
}

void Net::drained(ListenerDrain& drain) noexcept {
  if (--drain.acceptors > 0) return;
  const auto is_it = [&drain](const std::unique_ptr<ListenerDrain>& each) { return each.get() == &drain; };
  const auto place = std::find_if(listener_drains_.begin(), listener_drains_.end(), is_it);
  if (place == listener_drains_.end()) return;  // the context is being destroyed
  const std::unique_ptr<ListenerDrain> over = std::move(*place);
  listener_drains_.erase(place);
  if (over->done) runtime_.post(std::move(over->done));
}

EarlyInput::node_type Net::new_early(std::span<const std::byte> bytes) {
  const auto [place, is_new] = early.try_emplace(nullptr);
  EarlyInput::node_type made = early.extract(place);
  made.mapped().bytes.assign(bytes.begin(), bytes.end());
  made.mapped().left = made.mapped().bytes;
  return made;
}

}  // namespace onloop::detail
