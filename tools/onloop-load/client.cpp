#include "onloop-load/client.hpp"

#include <algorithm>
#include <cstring>

#include "onloop-load/load.hpp"
#include "onloop-load/pattern.hpp"

namespace load {

void Client::on_open(onloop::Connection& connection) {
  connection_ = &connection;
  opened_ = true;
  load_.opened();
}

void Client::on_end(onloop::Connection&) {
  give_up("the server closed the connection");
}

void Client::on_close(onloop::Connection&, std::error_code error) {
  if (!opened_) {
    load_.not_opened(*this, error);
  } else if (connection_ != nullptr) {
    connection_ = nullptr;
    load_.lost(name_ + ": " + error.message(), in_flight_);
  }
}

void Client::give_up(std::string_view what) {
  if (connection_ == nullptr) return;
  connection_->abort();
  connection_ = nullptr;
  load_.lost(name_ + ": " + std::string{what}, in_flight_);
}

ActiveClient::ActiveClient(Load& load, std::size_t number)
    : Client(load, "connection " + std::to_string(number)),
      size_(load.options().size),
      window_(load.options().window),
      per_write_(std::max<std::size_t>(Pattern::kPiece / size_, 1)),
      send_position_(Pattern::start(number)),
      receive_position_(send_position_) {}

void ActiveClient::start() {
  send(Load::now());
}

// Writes as many messages as the window and the run still allow. A piece is either several whole messages or a part of
// a single message. So each message begins at the moment of a write.
void ActiveClient::send(std::uint64_t now) {
  while (connection_ != nullptr && !blocked_) {
    if (unsent_ == 0) {
      if (in_flight_ == window_) return;
      const std::size_t messages = load_.begin(std::min(window_ - in_flight_, per_write_));
      if (messages == 0) return;
      send_times_.add(now, messages);
      in_flight_ += messages;
      unsent_ = messages * size_;
    }
    const auto piece = load_.pattern().piece(send_position_, std::min(unsent_, Pattern::kPiece));
    unsent_ -= piece.size();
    sent_ += piece.size();
    send_position_ = Pattern::after(send_position_, piece.size());
    switch (connection_->write(piece)) {
      case onloop::Flow::go:
        break;
      case onloop::Flow::wait:
        blocked_ = true;
        break;
      case onloop::Flow::closed:  // the connection has failed; on_close will get the error
        return;
    }
  }
}

void ActiveClient::on_drain(onloop::Connection&) {
  blocked_ = false;
  send(Load::now());
}

void ActiveClient::on_data(onloop::Connection&, std::span<const std::byte> data) {
  // The clock is read before the check, because the server must not be charged for the time of the check. The next
  // messages get this time as their time of sending, although they are sent a little later. So a reported latency is
  // never too low.
  const std::uint64_t now = Load::now();
  if (connection_ == nullptr || !check(data)) return;
  load_.received(data.size());

  arrived_ += data.size();
  if (arrived_ < size_) return;
  std::size_t messages = 1;
  if (arrived_ < 2 * size_) {  // by far the most frequent case; it needs no division
    arrived_ -= size_;
  } else {
    messages = arrived_ / size_;
    arrived_ %= size_;
  }
  send_times_.take(messages, [&](std::uint64_t sent, std::size_t some) { load_.latency(now - sent, some); });
  in_flight_ -= messages;
  load_.completed(messages);
  send(now);
}

bool ActiveClient::check(std::span<const std::byte> data) {
  if (data.size() > sent_ - received_) {
    give_up("more bytes came back than were sent");
    return false;
  }
  while (!data.empty()) {
    const auto expected = load_.pattern().piece(receive_position_, std::min(data.size(), Pattern::kPiece));
    const auto got = data.first(expected.size());
    if (std::memcmp(got.data(), expected.data(), got.size()) != 0) {
      const auto [wrong, right] = std::mismatch(got.begin(), got.end(), expected.begin());
      const auto position = received_ + static_cast<std::uint64_t>(wrong - got.begin());
      give_up("wrong byte: number " + std::to_string(position % size_) + " of message " +
              std::to_string(position / size_) + " is " + std::to_string(std::to_integer<int>(*wrong)) + ", not " +
              std::to_string(std::to_integer<int>(*right)));
      return false;
    }
    receive_position_ = Pattern::after(receive_position_, got.size());
    received_ += got.size();
    data = data.subspan(got.size());
  }
  return true;
}

void IdleClient::on_data(onloop::Connection&, std::span<const std::byte>) {
  give_up("bytes came back that were never sent");
}

}  // namespace load
