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

constexpr int kBatchesPerTurn = 16;  // a batch is what one message carries

}  // namespace

void Exporter::on_writable() {
  if (phase_ == Phase::freezing) freeze();
  send();
}

/// Freezes the listeners and connections that take part. Nobody serves them from now on.
void Exporter::freeze() {
  if (getrandom(&sent_.nonce, sizeof sent_.nonce, 0) != sizeof sent_.nonce) throw_error(errno, "get a random number");
  channel().put(FrameType::hello, to_bytes(HelloRecord{now_ns()}));
  phase_ = Phase::sending;
  net_.sever_draining();  // listeners that drain do not go over: they would soon be closed in either process
  for (Acceptor* acceptor : net_.acceptors()) {
    if (!member(acceptor->protocol()) || acceptor->sockets().empty()) continue;
    if (acceptor->sockets().size() > Channel::kMostFds)
      throw_error(E2BIG, "hand over a listener that has more sockets than one message can carry");
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

/// Throws ECANCELED if the application has closed a listener or a connection whose descriptor is queued. The number of
/// this descriptor may belong to another file by now.
void Exporter::check_queued() const {
  const bool lost =
      std::any_of(queued_acceptors_.begin(), queued_acceptors_.end(), [](Acceptor* each) { return each->severed(); }) ||
      std::any_of(queued_streams_.begin(), queued_streams_.end(), [](Stream* each) { return !each->frozen(); });
  if (lost) throw_error(ECANCELED, "the application closed a listener or a connection while it was being handed over");
}

/// @return The largest number of descriptors that the next put_next() may queue.
std::size_t Exporter::fds_of_next() const noexcept {
  return next_listener_ < acceptors_.size() ? acceptors_[next_listener_]->sockets().size() : 1;
}

/// Queues the next record or the next piece of data.
/// @return False if a callback of the application has ended the takeover.
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
  const TakeoverOptions::Member* its = member(stream.protocol());  // it may have changed since the freeze
  bool goes = its != nullptr;
  if (its && its->export_state) {
    const Source::Busy busy(stream);  // as in every callback: the state of the connection lives until the call returns
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
  if (!data_of_->frozen()) throw_error(ECANCELED, "the application closed a connection while it was being handed over");
  std::vector<std::byte> piece(std::min(data_of_->queued() - data_sent_, Channel::kLongest));
  data_of_->copy_queued(data_sent_, piece);
  channel().put(FrameType::data, piece);
  data_sent_ += piece.size();
  if (data_sent_ == data_of_->queued()) data_of_ = nullptr;
}

// ---- deciding who is the owner: see docs/takeover.md ----

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
  throw_error(ECONNRESET, "the other process closed the socket before it acknowledged");
}

bool Exporter::on_read_error(std::error_code error) {
  if (!is_passing(error.value())) return false;
  rest();
  return true;
}

bool Exporter::lost_a_listener() const noexcept {
  return std::any_of(acceptors_.begin(), acceptors_.end(), [](const auto& each) { return each->severed(); });
}

/// Finds out what the other side has sent by now.
Exporter::Answer Exporter::answer() noexcept {
  bool all_read = true;
  try {
    if (channel().untaken() > 0) static_cast<void>(channel().read());
  } catch (const std::exception&) {
    all_read = false;  // frames that were read before can still be taken
  }
  try {
    Channel::Frame frame{};
    while (!served_ && channel().next(frame)) {
      if (acknowledged_) {
        if (frame.type != FrameType::go) return Answer::none;  // the other side has given up
        served_ = true;
      } else {
        if (frame.type != FrameType::acknowledge || !(end_from(frame.bytes) == sent_)) return Answer::none;
        acknowledged_ = true;
      }
    }
  } catch (const std::exception&) {
    return Answer::none;  // the bytes are not a frame
  }
  if (served_) return Answer::served;
  if (!all_read) return Answer::unknown;
  return acknowledged_ ? Answer::acknowledgement : Answer::none;
}

/// Guesses the answer from the number of bytes that have arrived, because they can't be read. acknowledge and go have
/// fixed lengths. The length of give_up depends on its reason.
Exporter::Answer Exporter::guess() noexcept {
  const std::size_t length = channel().untaken() + (acknowledged_ ? Channel::kHead + kEndSize : 0);
  if (length == Channel::kHead + kEndSize) return Answer::acknowledgement;
  return length == 2 * Channel::kHead + kEndSize ? Answer::served : Answer::none;
}

/// Sends go, which tells the other side that it is the owner. An error of sending does not count, because silence means
/// the same.
/// @return False if the other side has closed its end without having served: it has died or given up.
bool Exporter::say_go() noexcept try {
  if (channel().is_amid()) channel().mute();  // a part of a give_up was sent, which is not true any more
  channel().drop_queued();
  channel().put(FrameType::go);
  static_cast<void>(channel().send());
  return true;
} catch (const std::exception&) {
  if (!channel().peer_closed()) return true;
  const Answer said = answer();
  return (said == Answer::unknown ? guess() : said) == Answer::served;
}

/// Hands over. The other process has been the owner since its acknowledgement arrived. Only the end of the other
/// process undoes this.
void Exporter::hand_over() {
  if (!say_go()) {
    conclude(failure_ ? failure_ : error_of(EPIPE),
             failure_ ? why_ : "the other process acknowledged, but closed the socket before it served");
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
  if (phase_ == Phase::freezing) return true;  // the other side has received nothing
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

/// Tries to go on serving after a failure. This side may do so only when it is certain that the other side will not
/// serve. It is certain in two cases: the other side can't acknowledge any more and has not acknowledged, or all of
/// give_up is in its socket. If the other side is the owner, this hands over. If nothing is certain yet, it tries again
/// after a while. If it has tried often enough and the other side has acknowledged, it hands over.
void Exporter::retreat() {
  again_.cancel();
  const bool closed = channel().peer_closed();
  if (!closed) deaf_ = deaf_ || channel().hear_no_more();
  const bool all_said = closed || deaf_;
  if (!end_sent_) {
    if (!all_said) channel().mute();  // the end record must never arrive there
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

/// Calls retreat() again after kMoment.
/// @return False if this was tried often enough.
bool Exporter::retreat_later() noexcept try {
  constexpr int kEnough = 200;
  if (deaf_ && ++retreats_ > kEnough) return false;
  again_ = runtime().facade().timer(kMoment, [this] { step([this] { retreat(); }); });
  want(Interest::none);  // the loop could report nothing new
  return true;
} catch (const std::exception&) {
  return again_.active();
}

/// The context is being destroyed. If the other side has acknowledged, it is the owner and serves. Otherwise this tells
/// it to give up.
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
  // The other side has gone.
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
