#include "core/takeover/exporter.hpp"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <new>

#include "core/base/clock.hpp"
#include "core/base/error.hpp"
#include "core/net/acceptor.hpp"
#include "core/net/listening_socket.hpp"
#include "core/net/net.hpp"
#include "core/net/stream.hpp"

namespace onloop::detail {
namespace {

constexpr int kBatchesPerTurn = 16;

}  // namespace

void Exporter::on_writable() {
  if (phase_ == Phase::freezing) freeze();
  send();
}

/// From here on nobody serves them.
void Exporter::freeze() {
  if (getrandom(&sent_.nonce, sizeof sent_.nonce, 0) != sizeof sent_.nonce) throw_error(errno, "get a random number");
  channel().put(FrameType::hello, to_bytes(HelloRecord{now_ns()}));
  phase_ = Phase::sending;
  net_.sever_draining();  // they are about to be closed, here as there
  for (Acceptor* acceptor : net_.acceptors()) {
    if (!member(acceptor->protocol()) || acceptor->sockets().empty()) continue;
    if (acceptor->sockets().size() > Channel::kMostFds) throw_error(E2BIG, "hand over a listener of so many sockets");
    acceptors_.emplace_back(acceptor);
    acceptor->freeze();
  }
  net_.each_stream([this](Stream& stream) {
    if (!member(stream.protocol()) || !stream.can_freeze()) return;
    streams_.emplace_back(stream);
    stream.freeze();
  });
}

void Exporter::send() {
  for (int left = kBatchesPerTurn; left > 0; --left) {
    check_queued();
    if (!channel().send()) {
      want(Interest::read);
      again_ = runtime().facade().timer(kMoment, [this] { step([this] { send(); }); });
      return;
    }
    if (!channel().sent()) break;
    end_sent_ = phase_ == Phase::waiting;
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
  if (acceptor.sockets().empty()) return;  // the application has closed them
  queued_acceptors_.push_back(&acceptor);
  check_queued();
  const ListenerRecord record{acceptor.snapshot(), member(acceptor.protocol())->name};
  channel().put(FrameType::listener, to_bytes(record));
  for (const ListeningSocket* socket : acceptor.sockets()) channel().put_fd(socket->fd());
  ++sent_.listeners;
}

void Exporter::put_connection(Stream& stream) {
  std::vector<std::byte> state;
  const TakeoverOptions::Member* its = member(stream.protocol());  // perhaps another one than when it was frozen
  bool goes = its != nullptr;
  if (its && its->export_state) {
    const Source::Busy busy(stream);  // as in every callback, its state outlives it
    goes = its->export_state(stream, state) && state.size() <= kLongestState;
  }
  if (over() || !stream.frozen()) return;
  if (!goes) {
    stream.thaw();
    return;
  }
  ConnectionRecord record;
  static_cast<ConnectionSnapshot&>(record) = stream.snapshot();
  record.protocol = its->name;
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

// ---- who is the owner: docs/takeover.md ----

void Exporter::on_frame(const Channel::Frame& frame) {
  if (frame.type == FrameType::go && acknowledged_) {
    served_ = true;
    hand_over();
    return;
  }
  if (frame.type != FrameType::acknowledge || !end_sent_ || acknowledged_) {
    throw_error(EPROTO, "the other process acknowledges what it can't have got yet");
  }
  if (!(end_from(frame.bytes) == sent_)) {
    throw_error(EPROTO, "the other process acknowledges something else than what it was sent");
  }
  acknowledged_ = true;
  if (lost_a_listener()) throw_error(ECANCELED, "a listener was closed while it was being handed over");
  hand_over();
}

void Exporter::on_end() {
  throw_error(ECONNRESET, "the other process has gone before it acknowledged");
}

bool Exporter::on_read_error(std::error_code error) {
  if (!is_passing(error.value())) return false;
  rest();
  return true;
}

bool Exporter::lost_a_listener() const noexcept {
  return std::any_of(acceptors_.begin(), acceptors_.end(), [](const auto& each) { return each->severed(); });
}

/// What the other side has said, if it has said it by now.
Exporter::Answer Exporter::answer() noexcept {
  bool all_read = true;
  try {
    if (channel().untaken() > 0) static_cast<void>(channel().read());
  } catch (const std::exception&) {
    all_read = false;  // what has come before can be taken
  }
  try {
    Channel::Frame frame{};
    while (!served_ && channel().next(frame)) {
      if (acknowledged_) {
        if (frame.type != FrameType::go) return Answer::none;  // it has given up
        served_ = true;
      } else {
        if (frame.type != FrameType::acknowledge || !(end_from(frame.bytes) == sent_)) return Answer::none;
        acknowledged_ = true;
      }
    }
  } catch (const std::exception&) {
    return Answer::none;  // no frame at all
  }
  if (served_) return Answer::served;
  if (!all_read) return Answer::unknown;
  return acknowledged_ ? Answer::acknowledgement : Answer::none;
}

/// By its length, since it can't be read. "Give up" has a reason.
Exporter::Answer Exporter::guess() noexcept {
  const std::size_t length = channel().untaken() + (acknowledged_ ? Channel::kHead + kEndSize : 0);
  if (length == Channel::kHead + kEndSize) return Answer::acknowledgement;
  return length == 2 * Channel::kHead + kEndSize ? Answer::served : Answer::none;
}

/// Says who is the owner. False: the other side has closed its end without having served, and so has died or given up.
/// No other error counts: silence means the same.
bool Exporter::say_go() noexcept try {
  if (channel().is_amid()) channel().mute();  // of a give_up that is not true any more
  channel().drop_queued();
  channel().put(FrameType::go);
  static_cast<void>(channel().send());
  return true;
} catch (const std::exception&) {
  if (!channel().peer_closed()) return true;
  const Answer said = answer();
  return (said == Answer::unknown ? guess() : said) == Answer::served;
}

/// The other process is the owner, and has been since its acknowledgement came. Only its end undoes that.
void Exporter::hand_over() {
  if (!say_go()) {
    conclude(failure_ ? failure_ : error_of(EPIPE),
             failure_ ? why_ : "the other process has gone with its acknowledgement");
    return;
  }
  TakeoverResult result;
  result.connections = sent_.connections;
  result.listeners = sent_.listeners;
  for (Stream* stream : sent_streams_) {
    if (stream->frozen()) stream->sever();
  }
  for (const Held<Stream>& stream : streams_) {
    if (stream->frozen()) stream->thaw();
  }
  for (const Held<Acceptor>& acceptor : acceptors_) acceptor->hand_over();
  result.left_behind = net_.statistics.connections;
  finish(result);
}

bool Exporter::may_fail(std::error_code error, const std::string& reason) {
  if (phase_ == Phase::freezing) return true;  // the other side knows of nothing
  if (!failure_) {
    failure_ = error;
    try {
      why_ = reason;
    } catch (const std::bad_alloc&) {
      why_.clear();
    }
  }
  retreat();
  return false;
}

/// Goes on serving, as soon as it is certain that the other side won't: it can't say any more that it does, and has not
/// said so, or has been told to give up.
void Exporter::retreat() {
  again_.cancel();
  const bool closed = channel().peer_closed();
  if (!closed) deaf_ = deaf_ || channel().hear_no_more();
  const bool all_said = closed || deaf_;
  if (!end_sent_) {
    if (!all_said) channel().mute();  // the end must never get there
    conclude(failure_, why_);
    return;
  }
  Answer said = answer();
  if (said == Answer::unknown && all_said) {
    if (retreat_later()) return;
    said = guess();
  }
  if (said == Answer::served || (said == Answer::acknowledgement && !closed && !lost_a_listener())) {
    hand_over();
    return;
  }
  const bool is_silent = all_said && (said == Answer::none || closed);
  if (is_silent || give_up(why_)) {
    conclude(failure_, why_);
  } else if (!retreat_later() && said == Answer::acknowledgement) {
    hand_over();
  }
}

/// False: it was tried for long enough.
bool Exporter::retreat_later() noexcept try {
  constexpr int kEnough = 200;
  if (deaf_ && ++retreats_ > kEnough) return false;
  again_ = runtime().facade().timer(kMoment, [this] { step([this] { retreat(); }); });
  want(Interest::none);  // all that could be announced is known
  return true;
} catch (const std::exception&) {
  return again_.active();
}

/// The context goes. If the other side has acknowledged, it is the owner, and serves; else it is told not to.
void Exporter::on_severed() noexcept try {
  Answer said = Answer::none;
  if (phase_ != Phase::freezing) deaf_ = deaf_ || channel().hear_no_more();
  if (end_sent_) said = answer();
  constexpr int kEnough = 100;
  for (int left = kEnough; said == Answer::unknown && left > 0; --left) {
    constexpr timespec kPause{.tv_sec = 0, .tv_nsec = 1'000'000};
    (void)nanosleep(&kPause, nullptr);
    said = answer();
  }
  if (said == Answer::unknown) said = guess();
  if (said == Answer::served || (said == Answer::acknowledgement && say_go())) {
    for (const Held<Acceptor>& acceptor : acceptors_) acceptor->hand_over();
    return;
  }
  if (!end_sent_ && !deaf_ && phase_ != Phase::freezing) channel().mute();
  static_cast<void>(give_up("its context was destroyed"));
} catch (const std::exception&) {
  // It has gone itself.
}

void Exporter::undo() noexcept {
  for (const Held<Stream>& stream : streams_) {
    if (stream->frozen()) stream->thaw();
  }
  for (const Held<Acceptor>& acceptor : acceptors_) acceptor->thaw();
}

void Exporter::release() noexcept {
  again_.cancel();
  streams_.clear();
  sent_streams_.clear();
  acceptors_.clear();
}

}  // namespace onloop::detail
