#pragma once
#include <onloop/connection.hpp>
#include <onloop/protocol.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include "onloop-load/send_times.hpp"

namespace load {

class Load;

/// One connection to the server. Each connection has a protocol object of its own, which holds the state of the
/// connection.
class Client : public onloop::Protocol {
 public:
  void on_open(onloop::Connection& connection) final;
  void on_end(onloop::Connection& connection) final;
  void on_close(onloop::Connection& connection, std::error_code error) final;

 protected:
  Client(Load& load, std::string name) noexcept : load_(load), name_(std::move(name)) {}

  /// Ends the connection and counts it as lost. Does nothing if it is lost already.
  void give_up(std::string_view what);

  Load& load_;
  onloop::Connection* connection_ = nullptr;  // null before it opens, and after it has failed or ended
  std::size_t in_flight_ = 0;                 // messages that have been begun and are not yet back

 private:
  const std::string name_;
  bool opened_ = false;
};

/// A client that keeps a window of messages in flight and checks every byte that comes back.
class ActiveClient final : public Client {
 public:
  ActiveClient(Load& load, std::size_t number);

  /// Sends the first messages. The connection must be open.
  void start();

  void on_data(onloop::Connection& connection, std::span<const std::byte> data) override;
  void on_drain(onloop::Connection& connection) override;

 private:
  void send(std::uint64_t now);
  bool check(std::span<const std::byte> data);

  const std::size_t size_;
  const std::size_t window_;
  const std::size_t per_write_;  // whole messages that fit into one piece of the pattern, at least one
  SendTimes send_times_;
  std::size_t unsent_ = 0;      // bytes of the messages in flight that were not yet written to the connection
  std::size_t arrived_ = 0;     // bytes that are already back of the message that is just coming back
  std::uint64_t sent_ = 0;      // bytes written to the connection, in total
  std::uint64_t received_ = 0;  // bytes that came back, in total
  std::size_t send_position_;   // in the pattern
  std::size_t receive_position_;
  bool blocked_ = false;  // the connection's queue is full; on_drain will come
};

/// A client whose connection only stays open.
class IdleClient final : public Client {
 public:
  IdleClient(Load& load, std::size_t number) : Client(load, "idle connection " + std::to_string(number)) {}

  void on_data(onloop::Connection& connection, std::span<const std::byte> data) override;
};

}  // namespace load
