#pragma once
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <onloop/onloop.hpp>

namespace onloop::test {

/// A protocol that notes its callbacks and then calls the hook of the test. A hook may destroy the recorder: the hook
/// is copied before the call, and the object is not used after the call.
class Recorder : public Protocol {
 public:
  bool on_accept(const Address& peer) override {
    ++calls;
    ++accepts;
    const auto hook = when_accept;
    return hook ? hook(peer) : true;
  }
  void on_open(Connection& connection) override {
    ++calls;
    ++opens;
    last = connection.ref();
    if (const auto hook = when_open) hook(connection);
  }
  void on_data(Connection& connection, std::span<const std::byte> data) override {
    ++calls;
    ++datas;
    const std::string_view text{reinterpret_cast<const char*>(data.data()), data.size()};
    received += text;
    if (const auto hook = when_data) hook(connection, text);
  }
  void on_drain(Connection& connection) override {
    ++calls;
    ++drains;
    if (const auto hook = when_drain) hook(connection);
  }
  void on_end(Connection& connection) override {
    ++calls;
    ++ends;
    if (const auto hook = when_end) {
      hook(connection);
    } else {
      Protocol::on_end(connection);
    }
  }
  void on_close(Connection& connection, std::error_code error) override {
    ++calls;
    ++closes;
    errors.push_back(error);
    if (const auto hook = when_close) hook(connection, error);
  }

  std::function<bool(const Address&)> when_accept;
  std::function<void(Connection&)> when_open;
  std::function<void(Connection&, std::string_view)> when_data;
  std::function<void(Connection&)> when_drain;
  std::function<void(Connection&)> when_end;  ///< instead of the default, which closes
  std::function<void(Connection&, std::error_code)> when_close;

  int calls = 0, accepts = 0, opens = 0, datas = 0, drains = 0, ends = 0, closes = 0;
  std::string received;
  std::vector<std::error_code> errors;  ///< of each on_close
  Ref last;                             ///< the connection that opened last
};

}  // namespace onloop::test
