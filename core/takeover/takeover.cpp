#include "core/takeover/takeover.hpp"

#include <onloop/context.hpp>

#include <algorithm>
#include <cerrno>
#include <new>
#include <set>
#include <utility>

#include "core/base/error.hpp"
#include "core/net/net.hpp"
#include "core/takeover/exporter.hpp"
#include "core/takeover/importer.hpp"

namespace onloop {

void export_context(Context& context, int socket, TakeoverOptions options,
                    std::function<void(const TakeoverResult&)> done) {
  detail::Takeover::start_export(context, socket, std::move(options), std::move(done));
}

void import_context(Context& context, int socket, TakeoverOptions options,
                    std::function<void(const TakeoverResult&)> done) {
  detail::Takeover::start_import(context, socket, std::move(options), std::move(done));
}

}  // namespace onloop

namespace onloop::detail {

/// A context makes it after its Net. Therefore it is severed before the Net.
class Takeover::Current final : public Subsystem {
 public:
  explicit Current(Runtime&) noexcept {}
  void sever() noexcept override {
    if (const auto ended = std::exchange(takeover, nullptr)) ended->sever();
  }
  void after_fork() noexcept override {
    if (const auto ended = std::exchange(takeover, nullptr)) ended->abandon();
  }
  std::shared_ptr<Takeover> takeover;
};

namespace {

/// Checks what a caller has given to start a takeover.
/// @return The Net of the context.
/// @throws std::system_error with EPERM on another thread than the context's. With EINVAL for a bad name, and with
/// EALREADY during another takeover; then the text begins with `what`.
Net& checked(Runtime& runtime, const TakeoverOptions& options, const char* what) {
  runtime.check_thread();
  std::set<std::string> names;
  for (const TakeoverOptions::Member& member : options.protocols) {
    if (member.name.empty() || member.name.size() > kLongestName || !names.insert(member.name).second) {
      throw_error(EINVAL,
                  std::string(what) + ": each protocol must have a name of 1 to 255 bytes that no other protocol has");
    }
  }
  Net& net = Net::of(runtime);
  if (runtime.subsystem<Takeover::Current>().takeover)
    throw_error(EALREADY,
                std::string(what) + ": this context takes part in another takeover; wait until that has ended");
  return net;
}

}  // namespace

Takeover::Takeover(Net& net, TakeoverOptions options, Done done)
    : net_(net), options_(std::move(options)), done_(std::move(done)) {}

template <class Side>
void Takeover::begin(Context& context, int socket, TakeoverOptions options, Done done, Interest first,
                     const char* what) {
  check_same_user(socket, what);
  Net& net = checked(runtime_of(context), options, what);
  const auto made = std::make_shared<Side>(net, std::move(options), std::move(done));
  made->start(Descriptor(socket), first);
}

void Takeover::start_export(Context& context, int socket, TakeoverOptions options, Done done) {
  begin<Exporter>(context, socket, std::move(options), std::move(done), Interest::both, "hand over a context");
}

void Takeover::start_import(Context& context, int socket, TakeoverOptions options, Done done) {
  begin<Importer>(context, socket, std::move(options), std::move(done), Interest::read, "take over a context");
}

void Takeover::start(Descriptor socket, Interest interest) {
  Context& context = runtime().facade();
  const int fd = socket.get();
  interest_ = interest;
  try {
    channel_ = std::make_unique<Channel>(std::move(socket));
    watch_ = context.watch(fd, interest, [this](Interest ready) { on_ready(ready); });
    limit_ = context.timer(options_.timeout,
                           [this] { step([] { throw_error(ETIMEDOUT, "the other process took too long"); }); });
    runtime().subsystem<Current>().takeover = shared_from_this();
  } catch (...) {
    watch_.cancel();
    limit_.cancel();
    (void)socket.release();  // the caller keeps it
    if (channel_) channel_->give_back();
    throw;
  }
}

Runtime& Takeover::runtime() const noexcept {
  return net_.runtime();
}

const TakeoverOptions::Member* Takeover::member(std::string_view name) const noexcept {
  for (const TakeoverOptions::Member& each : options_.protocols) {
    if (each.name == name) return &each;
  }
  return nullptr;
}

const TakeoverOptions::Member* Takeover::member(const Protocol* protocol) const noexcept {
  for (const TakeoverOptions::Member& each : options_.protocols) {
    if (&each.protocol == protocol) return &each;
  }
  return nullptr;
}

void Takeover::step(const std::function<void()>& body) {
  const std::shared_ptr<Takeover> self = shared_from_this();
  try {
    body();
  } catch (const std::system_error& error) {
    if (over_) throw;  // `done` has thrown, or a callback has thrown after it has destroyed the context
    fail(error.code(), error.what());
  } catch (const std::exception& error) {
    if (over_) throw;
    fail(error_of(ECANCELED), error.what());
  } catch (...) {
    if (over_) throw;
    fail(error_of(ECANCELED), "a callback threw an exception that is not a std::exception");
  }
}

void Takeover::on_ready(Interest ready) {
  step([&] {
    if (ready == Interest::write) {
      on_writable();
      return;
    }
    receive();
  });
}

void Takeover::receive() {
  bool more = true;
  try {
    more = channel_->read();
  } catch (const std::system_error& error) {
    if (!on_read_error(error.code())) throw;
  } catch (const std::bad_alloc&) {
    if (!on_read_error(error_of(ENOMEM))) throw;
  }
  Channel::Frame frame{};
  while (!over_ && channel_->next(frame)) {
    if (frame.type == FrameType::give_up) {
      told_ = true;
      const std::string why(reinterpret_cast<const char*>(frame.bytes.data()), frame.bytes.size());
      throw_error(ECANCELED, "the other process gave up: " + why);
    }
    on_frame(frame);
  }
  if (!more && !over_) on_end();
}

void Takeover::rest() noexcept {
  const auto again = [this] {
    step([this] {
      try {
        watch_.set(interest_);
      } catch (const std::exception&) {
        rest();
        return;
      }
      receive();
    });
  };
  try {
    rest_ = runtime().facade().timer(kMoment, again);
    watch_.set(Interest::none);
  } catch (const std::exception&) {
    // Then the loop reports the socket again at once.
  }
}

void Takeover::fail(std::error_code error, const std::string& reason) {
  if (over_ || !may_fail(error, reason)) return;
  conclude(error, reason);
}

namespace {

/// The reason as give_up carries it. A side that can't read an answer tells it from the length (Exporter::guess,
/// Importer::on_read_error). So this text must not have the length that makes give_up as long as go, as acknowledge, or
/// as both together.
std::string to_send(const std::string& reason) {
  constexpr std::size_t kLongest = 500;
  std::string text = reason.substr(0, kLongest);
  while (text.empty() || text.size() == kEndSize || text.size() == Channel::kHead + kEndSize) text += '.';
  return text;
}

}  // namespace

bool Takeover::give_up(const std::string& reason) noexcept try {
  if (!given_up_) {
    channel_->drop_queued();  // queued frames may not be true any more, and queued descriptors may be closed
    const std::string text = to_send(reason);
    channel_->put(FrameType::give_up, std::as_bytes(std::span{text}));
    given_up_ = true;
  }
  return channel_->send() && channel_->sent();
} catch (const std::exception&) {
  return false;  // the other side has gone
}

void Takeover::conclude(std::error_code error, const std::string& reason) {
  static_cast<void>(give_up(reason));
  undo();
  TakeoverResult result;
  result.error = error;
  result.reason = reason;
  finish(result);
}

void Takeover::finish(const TakeoverResult& result) {
  const std::shared_ptr<Takeover> self = shared_from_this();
  const Done done = std::move(done_);
  runtime().subsystem<Current>().takeover.reset();
  over_ = true;
  watch_.cancel();
  limit_.cancel();
  rest_.cancel();
  channel_.reset();
  release();
  if (done) done(result);
}

void Takeover::sever() noexcept {
  on_severed();
  over_ = true;
  watch_.cancel();
  limit_.cancel();
  rest_.cancel();
  channel_.reset();
  release();
}

void Takeover::abandon() noexcept {
  over_ = true;
  watch_.cancel();
  limit_.cancel();
  rest_.cancel();
  channel_.reset();
  undo();
  release();
}

}  // namespace onloop::detail
