#include "core/net/net.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "core/base/clock.hpp"
#include "core/base/error.hpp"
#include "core/net/acceptor.hpp"
#include "core/net/stream.hpp"
#include "core/takeover/takeover.hpp"

namespace onloop::detail {

Net& Net::of(Runtime& runtime) {
  return runtime.subsystem<Net>();
}

void Net::sever() noexcept {
  const auto dropped = std::exchange(drain_tasks_, {});  // last: what they own may be a protocol, and severs its own
  if (const auto ended = std::exchange(takeover, nullptr)) ended->sever();
  while (!acceptors_.empty()) acceptors_.back()->sever();
  draining_ = false;  // nobody is told any more
  const auto ended_drains = std::exchange(listener_drains_, {});
  while (streams_) streams_->sever();
  drain_limit_ = {};
  drained_ = {};
  reserve_.reset();
}

void Net::after_fork() noexcept {
  if (const auto ended = std::exchange(takeover, nullptr)) ended->abandon();
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
  if (draining_ && !streams_) {
    drain_limit_.cancel();
    runtime_.post(std::move(drained_));
  }
}

void Net::post_drain_tasks(const Stream& stream) {
  // One by one: a context that ends takes no task, and what one owns that is dropped may remove others.
  while (auto node = drain_tasks_.extract(&stream)) runtime_.post(std::move(node.mapped()));
}

void Net::keep_reserve() noexcept {
  if (!reserve_) reserve_.reset(open("/dev/null", O_RDONLY | O_CLOEXEC));
}

bool Net::turn_away(int listening) noexcept {
  if (!reserve_) return false;
  reserve_.reset();
  UniqueFd client(accept4(listening, nullptr, nullptr, SOCK_CLOEXEC));
  const bool done = client || errno == EAGAIN || errno == ECONNABORTED || errno == EINTR;
  if (client) ++statistics.turned_away;
  client.reset();
  keep_reserve();
  return done;
}

void Net::report_starved(std::error_code error, const std::string& what) noexcept {
  constexpr std::uint64_t kQuiet = 10'000'000'000;  // ns
  const std::uint64_t now = now_ns();
  if (now < quiet_until_) return;
  quiet_until_ = now + kQuiet;
  runtime_.report(error, what);
}

void Net::drain(std::chrono::nanoseconds limit, Task done) {
  if (draining_) throw_error(EALREADY, "drain a context that is draining");
  const Held<Runtime> held(runtime_);
  // on_accept of those who wait in a backlog may close any of them, make others, or destroy the context.
  for (std::size_t i = 0; i < acceptors_.size(); ++i) acceptors_[i]->accept_waiting();
  if (!runtime_.alive() || runtime_.ending()) return;
  while (!acceptors_.empty()) acceptors_.back()->sever();
  if (streams_) {
    drain_limit_ = runtime_.facade().timer(
        limit, [this] { each_stream([](Stream& stream) { stream.reset(error_of(ETIMEDOUT)); }); });
    drained_ = std::move(done);
  } else {
    runtime_.post(std::move(done));
  }
  draining_ = true;
}

void Net::drain(std::span<Listener* const> listeners, std::chrono::nanoseconds limit, Task done) {
  std::vector<Held<Acceptor>> chosen;
  for (Listener* listener : listeners) {
    if (!listener || &acceptor_of(*listener).net() != this) {
      throw_error(EINVAL, "drain a listener that is null or of another context");
    }
    chosen.emplace_back(acceptor_of(*listener));
  }
  auto made = std::make_unique<ListenerDrain>();
  ListenerDrain& drain = *made;
  drain.limit = runtime_.facade().timer(limit, [this, &drain] {
    each_stream([&drain](Stream& stream) {
      if (stream.acceptor() && stream.acceptor()->drain() == &drain) stream.reset(error_of(ETIMEDOUT));
    });
  });
  const Held<Runtime> held(runtime_);
  for (const auto& acceptor : chosen) {  // on_accept may close any of them, or destroy the context
    if (!acceptor->severed()) acceptor->accept_waiting();
    if (!runtime_.alive() || runtime_.ending()) return;
  }
  drain.done = std::move(done);
  listener_drains_.push_back(std::move(made));
  ++drain.acceptors;  // until all are told
  for (const auto& acceptor : chosen) {
    acceptor->sever();
    if (acceptor->connections() > 0 && acceptor->start_drain(drain)) ++drain.acceptors;
  }
  drained(drain);
}

void Net::drained(ListenerDrain& drain) noexcept {
  if (--drain.acceptors > 0) return;
  const auto is_it = [&drain](const std::unique_ptr<ListenerDrain>& each) { return each.get() == &drain; };
  const auto place = std::find_if(listener_drains_.begin(), listener_drains_.end(), is_it);
  if (place == listener_drains_.end()) return;  // the context goes
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
