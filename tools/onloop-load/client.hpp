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

/// One connection to the server. Each has a protocol object of its own, so that what belongs to it is at hand.
class Client : public onloop::Protocol {
 public:
  void on_open(onloop::Connection& connection) final;
  void on_end(onloop::Connection& connection) final;
  void on_close(onloop::Connection& connection, std::error_code error) final;

 protected:
  Client(Load& load, std::string name) noexcept : load_(load), name_(std::move(name)) {}

  /// Counts the connection as lost, once, and ends it.
  void give_up(std::string_view what);

  Load& load_;
  onloop::Connection* connection_ = nullptr;  // while it is open and all is well with it
  std::size_t in_flight_ = 0;                 // messages begun and not yet back

 private:
  const std::string name_;
  bool opened_ = false;
};

/// Keeps a window of messages in flight, and checks every byte that comes back.
class ActiveClient final : public Client {
 public:
  ActiveClient(Load& load, std::size_t number);

  /// Sends the first messages; it must have been opened.
  void start();

  void on_data(onloop::Connection& connection, std::span<const std::byte> data) override;
  void on_drain(onloop::Connection& connection) override;

 private:
  void send(std::uint64_t now);
  bool check(std::span<const std::byte> data);

  const std::size_t size_;
  const std::size_t window_;
  const std::size_t per_write_;  // as many whole messages as one piece of the pattern has room for, but at least one
  SendTimes send_times_;
  std::size_t unsent_ = 0;      // bytes of the messages in flight that were not yet handed to the connection
  std::size_t arrived_ = 0;     // bytes of the next message to be back that are back already
  std::uint64_t sent_ = 0;      // bytes handed to the connection, all in all
  std::uint64_t received_ = 0;  // bytes that came back, all in all
  std::size_t send_position_;   // in the pattern
  std::size_t receive_position_;
  bool blocked_ = false;  // the connection's queue is full; on_drain will come
};

/// Only stays open.
class IdleClient final : public Client {
 public:
  IdleClient(Load& load, std::size_t number) : Client(load, "idle connection " + std::to_string(number)) {}

  void on_data(onloop::Connection& connection, std::span<const std::byte> data) override;
};

}  // namespace load
