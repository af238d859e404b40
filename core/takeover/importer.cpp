#include "core/takeover/importer.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "core/base/clock.hpp"
#include "core/base/error.hpp"
#include "core/net/acceptor.hpp"
#include "core/net/net.hpp"
#include "core/net/socket.hpp"
#include "core/net/stream.hpp"

namespace onloop::detail {
namespace {

constexpr std::chrono::seconds kLongestSilence{10};  // the least time for which go is awaited after the acknowledgement

}  // namespace

void Importer::on_frame(const Channel::Frame& frame) {
  if (frame.type == FrameType::go && acknowledged_) {
    serve();
    return;
  }
  if (complete_ || greeted_ == (frame.type == FrameType::hello)) {
    throw_error(EPROTO, "the other process sends records in a wrong order");
  }
  if (data_left_ > 0 && frame.type != FrameType::data) {
    throw_error(EPROTO, "the other process sends less data of a connection than it said");
  }
  switch (frame.type) {
    case FrameType::hello:
      hello_ = hello_from(frame.bytes);
      greeted_ = true;
      break;
    case FrameType::listener:
      take_listener(listener_from(frame.bytes));
      break;
    case FrameType::connection:
      take_connection(connection_from(frame.bytes));
      break;
    case FrameType::data:
      take_data(frame.bytes);
      break;
    case FrameType::end:
      acknowledge(end_from(frame.bytes));
      break;
    default:
      throw_error(EPROTO, "the other process sends records in a wrong order");
  }
}

const TakeoverOptions::Member& Importer::known(const std::string& name) const {
  const TakeoverOptions::Member* found = member(name);
  if (!found)
    throw_error(EPROTONOSUPPORT, "take over what is of the protocol \"" + name + "\", which is not known here");
  return *found;
}

Descriptor Importer::take_listening_socket() {
  const std::string what = "take over a listener";
  Descriptor socket = channel().take_fd();
  if (get_option(socket.get(), SOL_SOCKET, SO_TYPE) != SOCK_STREAM ||
      get_option(socket.get(), SOL_SOCKET, SO_ACCEPTCONN) != 1) {
    throw_error(EPROTO, what + ": the descriptor is not that of a listening stream socket");
  }
  // Another program may have sent this socket, and accepting must not block.
  if (fcntl(socket.get(), F_SETFL, fcntl(socket.get(), F_GETFL) | O_NONBLOCK) < 0) throw_error(errno, what);
  return socket;
}

void Importer::take_listener(const ListenerRecord& record) {
  if (!streams_.empty()) throw_error(EPROTO, "the other process sends records in a wrong order");
  ListenOptions options;
  options.limits = record.limits;
  options.max_connections = record.max_connections;
  const Held<Acceptor> acceptor(new Acceptor(net_, known(record.protocol).protocol, options));
  try {
    listeners_.push_back({acceptor, record});
  } catch (...) {
    acceptor->sever();
    throw;
  }
  net_.keep_reserve();
  acceptor->freeze();
  for (std::uint32_t i = 0; i < record.sockets; ++i) {
    acceptor->restore(take_listening_socket(), record.paused, "take over a listener");
  }
}

void Importer::take_connection(const ConnectionRecord& record) {
  constexpr const char* kWhat = "take over a connection";
  Descriptor socket = channel().take_fd();
  if (get_option(socket.get(), SOL_SOCKET, SO_TYPE) != SOCK_STREAM ||
      get_option(socket.get(), SOL_SOCKET, SO_ACCEPTCONN) != 0) {
    throw_error(EPROTO, std::string(kWhat) + ": the descriptor is not that of one");
  }
  Acceptor* acceptor = nullptr;
  if (record.listener != ConnectionRecord::kNoListener) {
    if (record.listener >= listeners_.size())
      throw_error(EPROTO, std::string(kWhat) + " of a listener that was not sent");
    acceptor = listeners_[record.listener].acceptor.get();
    if (acceptor->severed()) acceptor = nullptr;
  }
  const TakeoverOptions::Member& its = known(record.protocol);
  auto origin = acceptor && acceptor->origin()->limits == record.limits
                    ? acceptor->origin()
                    : make_held<Origin>(net_, record.limits, acceptor);
  if (streams_.size() == streams_.capacity()) streams_.reserve(2 * streams_.size() + 16);
  auto* stream = new Stream(its.protocol, std::move(origin));
  streams_.emplace_back(stream);
  stream->restore(socket.get(), record, kWhat);
  socket.release();
  data_left_ = record.queued;
  if (!its.import_state) return;
  const Source::Busy busy(*stream);  // as in every callback: the state of the connection lives until the call returns
  its.import_state(*stream, record.state);
}

void Importer::take_data(std::span<const std::byte> data) {
  if (data.empty() || data.size() > data_left_)
    throw_error(EPROTO, "the other process sends more data of a connection than it said");
  data_left_ -= data.size();
  if (streams_.back()->frozen()) streams_.back()->restore_queued(data);
}

void Importer::acknowledge(const EndRecord& end) {
  if (end.listeners != listeners_.size() || end.connections != streams_.size() || channel().fds_left()) {
    throw_error(EPROTO, "the other process sends another number of records than it says");
  }
  result_.taken.reserve(listeners_.size());
  channel().put(FrameType::acknowledge, to_bytes(end));
  complete_ = true;
  send_acknowledgement();
}

/// Sends the acknowledgement, or the rest of it. Once all of it is sent, this side is the owner.
void Importer::send_acknowledgement() {
  if (!complete_ || acknowledged_) return;
  bool goes = false;
  try {
    goes = channel().send();
  } catch (const std::system_error&) {
    receive();  // the other side has given up or gone, and may have sent the reason
    throw;
  }
  if (channel().sent()) {
    acknowledged_ = true;
    no_limit();
    again_ = runtime().facade().timer(std::max<std::chrono::nanoseconds>(timeout(), kLongestSilence),
                                      [this] { step([this] { serve_unbidden(); }); });
    want(Interest::read);
  } else if (goes) {
    want(Interest::both);
  } else {
    want(Interest::read);
    again_ = runtime().facade().timer(kMoment, [this] { step([this] { send_acknowledgement(); }); });
  }
}

/// The other side is alive but silent: it is stopped, or it hangs. This side sends go itself, and serves once all of go
/// is sent. When the other side goes on, it finds acknowledge and go in its socket and hands over, even if this process
/// has ended by then. As long as go can't be sent, this side waits for go, give_up or the end of the other side.
void Importer::serve_unbidden() {
  if (!unbidden_) channel().put(FrameType::go);
  unbidden_ = true;
  // This throws if the other side has gone, or receives no more. Then its go, its give_up or its end is still to come.
  static_cast<void>(channel().send());
  if (channel().sent()) {
    serve();
  } else {
    again_ = runtime().facade().timer(kMoment, [this] { step([this] { serve_unbidden(); }); });
  }
}

/// The other side has gone. Before the acknowledgement it was the owner, and if it is alive, it goes on serving. After
/// the acknowledgement nobody else will serve the connections, unless the other side has sent give_up. receive() has
/// handled a give_up before.
void Importer::on_end() {
  if (!acknowledged_) throw_error(ECONNRESET, "the other process has gone, or refused, before everything was here");
  serve();
}

/// After the acknowledgement an error does not tell who is the owner. Only go, give_up or the end of the other side
/// does.
bool Importer::on_read_error(std::error_code error) {
  if (!acknowledged_ && !is_passing(error.value())) return false;
  constexpr int kEnough = 200;
  if (acknowledged_ && channel().peer_closed() && ++failed_reads_ > kEnough) {
    // The frame can't be read, but its length tells what it is: go is only a head, and give_up also has a reason.
    told_unread_ = channel().untaken() > Channel::kHead;
    if (told_unread_) return false;
    serve();
    return true;
  }
  rest();
  return true;
}

bool Importer::may_fail(std::error_code error, const std::string&) {
  if (acknowledged_ && !told() && !told_unread_ && error != std::errc::protocol_error) return false;
  if (channel().is_amid()) channel().mute();  // the rest must not complete a frame that is not true any more
  return true;
}

void Importer::serve() {
  TakeoverResult result = std::move(result_);
  for (const Held<Stream>& stream : streams_) {
    if (!stream->frozen()) continue;
    stream->thaw();
    ++result.connections;
  }
  for (TakenListener& listener : listeners_) {
    if (listener.acceptor->severed()) continue;
    listener.acceptor->thaw();
    ++result.listeners;
    result.taken.push_back({std::move(listener.record.protocol), listener.acceptor.get()});
    listener.acceptor->adopt_file(std::move(listener.record));
  }
  if (const std::uint64_t now = now_ns(); now > hello_.frozen_at) {
    result.stall = std::chrono::nanoseconds(now - hello_.frozen_at);
  }
  finish(result);
}

void Importer::undo() noexcept {
  for (const Held<Stream>& stream : streams_) {
    if (!stream->over()) stream->sever();
  }
  for (const TakenListener& listener : listeners_) listener.acceptor->sever();
}

void Importer::release() noexcept {
  again_.cancel();
  streams_.clear();
  listeners_.clear();
}

}  // namespace onloop::detail
