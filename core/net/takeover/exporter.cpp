#include "core/net/takeover/exporter.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <string_view>

#include "core/net/acceptor.hpp"
#include "core/net/net.hpp"
#include "core/net/stream.hpp"
#include "core/runtime/clock.hpp"
#include "core/runtime/error.hpp"

namespace onloop::detail {
namespace {

constexpr int kBatchesPerTurn = 16;
constexpr std::chrono::milliseconds kSendAgainAfter{5};  // when too many descriptors are under way

}  // namespace

void Exporter::on_writable() {
  if (phase_ == Phase::freezing) freeze();
  send();
}

/// From here on nobody serves them.
void Exporter::freeze() {
  channel().put(FrameType::hello, to_bytes(HelloRecord{now_ns()}));
  phase_ = Phase::sending;
  for (Acceptor* acceptor : net_.acceptors()) {
    if (!name_of(acceptor->protocol())) continue;
    if (acceptor->sockets().size() > Channel::kMostFds) throw_error(E2BIG, "hand over a listener of so many sockets");
    acceptors_.push_back(acceptor);
    acceptor->hold();
    acceptor->freeze();
  }
  net_.each_stream([this](Stream& stream) {
    if (!name_of(stream.protocol()) || !stream.can_freeze()) return;
    streams_.push_back(&stream);
    stream.pin();
    stream.freeze();
  });
}

void Exporter::send() {
  for (int left = kBatchesPerTurn; left > 0; --left) {
    check_queued();
    if (!channel().send()) {
      want(Interest::read);
      again_ = runtime().facade().timer(kSendAgainAfter, [this] { step([this] { send(); }); });
      return;
    }
    if (!channel().sent()) break;
    queued_acceptors_.clear();
    queued_streams_.clear();
    while (phase_ == Phase::sending && channel().room_for(fds_of_next())) {
      if (!put_next()) return;
    }
    if (channel().sent()) {
      want(Interest::read);
      return;
    }
  }
  want(Interest::both);
}

/// The application may have closed what is queued, and its number may be another descriptor's by now.
void Exporter::check_queued() const {
  const bool lost =
      std::any_of(queued_acceptors_.begin(), queued_acceptors_.end(), [](Acceptor* each) { return each->severed(); }) ||
      std::any_of(queued_streams_.begin(), queued_streams_.end(), [](Stream* each) { return !each->frozen(); });
  if (lost) throw_error(ECANCELED, "the application closed what was being handed over");
}

/// How many descriptors go with what put_next() puts, at most.
std::size_t Exporter::fds_of_next() const noexcept {
  return next_listener_ < acceptors_.size() ? acceptors_[next_listener_]->sockets().size() : 1;
}

/// False: user code has ended it all.
bool Exporter::put_next() {
  if (next_listener_ < acceptors_.size()) {
    put_listener(*acceptors_[next_listener_++]);
  } else if (data_of_) {
    put_data();
  } else if (next_ < streams_.size()) {
    Stream& stream = *streams_[next_++];
    if (stream.frozen()) put_connection(stream);
  } else {
    channel().put(FrameType::end, to_bytes(sent_));
    phase_ = Phase::waiting;
  }
  return !over();
}

void Exporter::put_listener(Acceptor& acceptor) {
  queued_acceptors_.push_back(&acceptor);
  check_queued();
  ListenerRecord record = acceptor.record();
  record.protocol = *name_of(acceptor.protocol());
  channel().put(FrameType::listener, to_bytes(record));
  for (const ListeningSocket* socket : acceptor.sockets()) channel().put_fd(socket->fd());
  ++sent_.listeners;
}

void Exporter::put_connection(Stream& stream) {
  std::vector<std::byte> state;
  Protocol& protocol = *stream.protocol();
  const std::string* name = name_of(&protocol);  // it may be another one than when it was frozen
  bool goes = false;
  if (name) {
    const Source::Busy busy(stream);  // as in every callback, its state outlives it
    goes = protocol.on_export(stream, state) && state.size() <= kLongestState;
  }
  if (over() || !stream.frozen()) return;
  if (!goes) {
    stream.thaw();
    return;
  }
  ConnectionRecord record = stream.record();
  record.protocol = *name;
  record.state = std::move(state);
  const auto from = std::find(acceptors_.begin(), acceptors_.end(), stream.acceptor());
  if (from != acceptors_.end()) record.listener = static_cast<std::uint32_t>(from - acceptors_.begin());
  channel().put(FrameType::connection, to_bytes(record));
  channel().put_fd(stream.fd());
  queued_streams_.push_back(&stream);
  sent_streams_.push_back(&stream);
  stream.note_copied();
  ++sent_.connections;
  data_sent_ = 0;
  data_of_ = record.queued > 0 ? &stream : nullptr;
}

void Exporter::put_data() {
  if (!data_of_->frozen()) throw_error(ECANCELED, "the application closed what was being handed over");
  std::vector<std::byte> piece(std::min(data_of_->queued() - data_sent_, Channel::kLongest));
  data_of_->copy_queued(data_sent_, piece);
  channel().put(FrameType::data, piece);
  data_sent_ += piece.size();
  if (data_sent_ == data_of_->queued()) data_of_ = nullptr;
}

void Exporter::on_frame(const Channel::Frame& frame) {
  if (frame.type != FrameType::acknowledge || phase_ != Phase::waiting || !channel().sent()) {
    throw_error(EPROTO, "the other process acknowledges what it can't have got yet");
  }
  hand_over();
}

void Exporter::on_end() {
  throw_error(ECONNRESET, "the other process has gone before it acknowledged");
}

/// The other process has been the owner since its acknowledgement came. Only its own end undoes that.
void Exporter::hand_over() {
  if (std::any_of(acceptors_.begin(), acceptors_.end(), [](const Acceptor* each) { return each->severed(); })) {
    throw_error(ECANCELED, "a listener was closed while it was being handed over");
  }
  try {
    channel().put(FrameType::go);
    static_cast<void>(channel().send());
  } catch (const std::system_error& error) {
    // A process that has closed its end is no owner: it has died, or given up. Any other one serves all the same, since
    // after its acknowledgement silence means go.
    if (error.code() == std::errc::broken_pipe || error.code() == std::errc::connection_reset) throw;
  }
  TakeoverResult result;
  result.connections = sent_.connections;
  result.listeners = sent_.listeners;
  for (Stream* stream : sent_streams_) {
    if (stream->frozen()) stream->sever();
  }
  for (Stream* stream : streams_) {
    if (stream->frozen()) stream->thaw();
  }
  for (Acceptor* acceptor : acceptors_) acceptor->hand_over();
  result.left_behind = net_.statistics.connections;
  finish(result);
}

/// Whether the acknowledgement has come, now or before. If not, it can't come any more: once the receiving side is shut
/// down, the other process gets EPIPE for it, and gives up. So both processes know the same owner.
bool Exporter::acknowledged() {
  if (phase_ != Phase::waiting || !channel().sent()) return false;
  ::shutdown(channel().fd(), SHUT_RD);
  constexpr int kAttempts = 100;
  for (int left = kAttempts; left > 0; --left) {
    try {
      static_cast<void>(channel().read());
      break;
    } catch (const std::system_error& error) {
      if (!is_passing(error.code())) break;  // what has come before it can still be taken
      constexpr timespec kMoment{.tv_sec = 0, .tv_nsec = 1'000'000};
      (void)nanosleep(&kMoment, nullptr);
    }
  }
  try {
    Channel::Frame frame{};
    return channel().next(frame) && frame.type == FrameType::acknowledge;
  } catch (const std::system_error&) {
    return false;  // no frame at all
  }
}

bool Exporter::is_too_late() {
  const bool severed =
      std::any_of(acceptors_.begin(), acceptors_.end(), [](const Acceptor* each) { return each->severed(); });
  if (severed || !acknowledged()) return false;
  hand_over();
  return true;
}

/// The context goes. If the other side has acknowledged, it is the owner, and serves; else it is told not to.
void Exporter::on_severed() noexcept try {
  if (acknowledged()) {
    channel().put(FrameType::go);
    for (Acceptor* acceptor : acceptors_) acceptor->hand_over();
  } else {
    channel().drop_queued();
    channel().put(FrameType::give_up, std::as_bytes(std::span{std::string_view{"its context was destroyed"}}));
  }
  static_cast<void>(channel().send());
} catch (const std::exception&) {
  // It has gone itself.
}

void Exporter::undo() noexcept {
  for (Stream* stream : streams_) {
    if (stream->frozen()) stream->thaw();
  }
  for (Acceptor* acceptor : acceptors_) acceptor->thaw();
}

void Exporter::release() noexcept {
  again_.cancel();
  for (Stream* stream : streams_) stream->unpin();
  streams_.clear();
  sent_streams_.clear();
  for (Acceptor* acceptor : acceptors_) acceptor->release();
  acceptors_.clear();
}

}  // namespace onloop::detail
