#include "scene.hpp"

#include <sys/socket.h>

namespace onloop::test {

namespace {

constexpr Callback kAll[] = {Callback::on_accept, Callback::on_open,  Callback::on_data,   Callback::on_drain,
                             Callback::on_end,    Callback::on_close, Callback::connected, Callback::connect_failed,
                             Callback::timer,     Callback::every,    Callback::post,      Callback::remote_post,
                             Callback::watch,     Callback::on_wake,  Callback::on_error,  Callback::drained};
constexpr const char* kNames[] = {"on_accept", "on_open",        "on_data",  "on_drain", "on_end", "on_close",
                                  "connected", "connect_failed", "timer",    "every",    "post",   "remote_post",
                                  "watch",     "on_wake",        "on_error", "drained"};
static_assert(std::size(kAll) == std::size(kNames));

}  // namespace

std::span<const Callback> all_callbacks() {
  return kAll;
}
const char* name_of(Callback callback) {
  return kNames[static_cast<std::size_t>(callback)];
}
const char* name_of(Mode mode) {
  return mode == Mode::run ? "run" : "dispatch";
}

void PrintTo(Callback callback, std::ostream* out) {
  *out << name_of(callback);
}
void PrintTo(Mode mode, std::ostream* out) {
  *out << name_of(mode);
}
std::vector<Mode> modes_of(const LoopCase& loop) {
  if (!loop.make().ops().turn) return {Mode::run};
  return {Mode::run, Mode::dispatch};
}

Scene::Scene(const LoopCase& loop) : actor(std::make_unique<Recorder>()), bystanders(std::make_unique<Recorder>()) {
  ContextOptions options;
  options.on_wake = [this] { strike(); };
  options.on_error = [this](std::error_code, std::string_view) { strike(); };
  context = std::make_unique<Context>(loop.make(), options);
  listener = &context->listen("127.0.0.1:0", *actor);

  Limits small;
  small.high_water = 10'000;
  small.low_water = 5'000;
  Line line = join(*context, *actor, small);
  const int bytes = 8192;
  ::setsockopt(line.connection.fd(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  self = std::move(line.peer);
  self_ref = line.connection.ref();
  for (std::size_t i = 0; i < others.size(); ++i) {
    Line other = join(*context, *bystanders);
    others[i] = std::move(other.peer);
    other_refs[i] = other.connection.ref();
  }
  other_refs.back() = context->connect(unreachable_.listener.address.to_string(), *bystanders).ref();
  std::tie(watched_, prod_) = connected_pair(Kind::unix_pair);
  turns(*context);
}

void Scene::strike() {
  descriptors_left_.reset();
  if (const auto action = std::exchange(action_, nullptr)) {
    struck_ = true;
    action();
  }
}

void Scene::provoke(Callback callback, std::function<void()> action) {
  action_ = std::move(action);
  switch (callback) {
    case Callback::on_accept:
      actor->when_accept = [this](const Address&) { return strike(), true; };
      client = Peer::connect_to(listener->address());
      break;
    case Callback::on_open:
      actor->when_open = [this](Connection&) { strike(); };
      client = Peer::connect_to(listener->address());
      break;
    case Callback::on_data:
      actor->when_data = [this](Connection&, std::string_view) { strike(); };
      self.send("data");
      break;
    case Callback::on_drain:
      actor->when_drain = [this](Connection&) { strike(); };
      while (self_ref->write(pattern(5'000)) == Flow::go) {
      }
      self.read();  // makes room for all that is queued
      break;
    case Callback::on_end:
      actor->when_end = [this](Connection& connection) {
        const Ref ref = connection.ref();
        strike();
        if (ref) ref->close();
      };
      self.finish();
      break;
    case Callback::on_close:
      actor->when_close = [this](Connection&, std::error_code) { strike(); };
      self.reset();
      break;
    case Callback::connected:
      actor->when_open = [this](Connection&) { strike(); };
      context->connect(reachable_.address.to_string(), *actor);
      break;
    case Callback::connect_failed:
      actor->when_close = [this](Connection&, std::error_code) { strike(); };
      context->connect(refused_.address.to_string(), *actor);
      break;
    case Callback::timer:
      timer_ = context->timer(0ns, [this] { strike(); });
      break;
    case Callback::every:
      timer_ = context->every(1ms, [this] { strike(); });
      break;
    case Callback::post:
      context->post([this] { strike(); });
      break;
    case Callback::remote_post:
      context->remote().post([this] { strike(); });
      break;
    case Callback::watch:
      ::send(prod_.get(), "x", 1, 0);
      watch_ = context->watch(watched_.get(), Interest::read, [this](Interest) {
        char byte;
        if (::recv(watched_.get(), &byte, 1, MSG_DONTWAIT) == 1) strike();
      });
      break;
    case Callback::on_wake:
      context->remote().wake();
      break;
    case Callback::on_error:
      client = Peer::connect_to(listener->address());
      descriptors_left_.emplace(0);
      break;
    case Callback::drained:
      context->drain(0ns, [this] { strike(); });
      break;
  }
  for (const Peer& other : others) other.send("x");
}

bool Scene::drive(Mode mode, const std::function<bool()>& done) {
  const auto deadline = Clock::now() + 10s;
  bool reached = false;
  const auto over = [&] {
    reached = reached || done();
    return reached || Clock::now() > deadline;
  };
  if (mode == Mode::run) {
    const Timer asking = context->every(1ms, [&] {
      if (over()) context->stop();
    });
    context->run();
  } else {
    while (context && !over()) context->dispatch();
  }
  return reached || !context;
}

}  // namespace onloop::test
