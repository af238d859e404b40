#pragma once
#include <onloop/connection.hpp>
#include <onloop/net.hpp>
#include <onloop/protocol.hpp>
#include <onloop/timer.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>

#include "core/node/active.hpp"
#include "core/node/listeners.hpp"

namespace onloop::detail {

class ServerState;

/// Behind a net::Socket: what is between a Connection and those who listen. Active until 'close'.
class SocketState final : public Active {
 public:
  SocketState(Phases& phases, bool allow_half_open) noexcept;
  ~SocketState() override;

  // ---- the two ways in ----
  void accepted(Connection& connection, std::shared_ptr<ServerState> server);
  void connect(std::string_view address, const ConnectOptions& options);

  // ---- net::Socket ----
  void add_data(std::function<void(std::string_view)> listener);
  bool write(std::span<const std::byte> data);
  void end();
  void destroy(std::error_code error);
  [[nodiscard]] bool destroyed() const noexcept { return destroyed_; }
  void pause() noexcept { flow_ = Flowing::no; }
  void resume();
  void set_timeout(std::chrono::nanoseconds timeout);
  [[nodiscard]] Connection* connection() const noexcept { return connection_.get(); }
  /// Adds to one of its events, until 'close' has come: nothing would drop it later.
  template <class L, class F>
  void add(L& listeners, F&& listener) {
    if (!over_) listeners.add(std::forward<F>(listener));
  }

  Listeners<> on_connect, on_end, on_drain, on_timeout;
  Listeners<std::string_view> on_data;
  Listeners<std::error_code> on_error, on_close;

 private:
  class Wire;
  using Clock = std::chrono::steady_clock;
  enum class Flowing : std::uint8_t { unset, yes, no };

  template <class F>
  void call(F&& callback);
  void opened();
  void received(std::span<const std::byte> data);
  void ended();
  void flow();
  void note_activity() {
    if (timeout_.count() > 0) note_time();
  }
  void note_time();
  void start_clock(std::chrono::nanoseconds delay);
  void clock_due();
  void emit_error();
  void emit_close();
  void drop() noexcept;
  void sever() noexcept override;

  std::unique_ptr<Wire> wire_;
  Ref connection_;
  std::shared_ptr<ServerState> server_;  // that it is counted by, until it is destroyed
  std::string kept_;                     // was read and nobody took it
  std::string peer_;                     // for words: where it was to connect to
  std::error_code error_;
  std::chrono::nanoseconds timeout_{0};
  Clock::time_point last_activity_;
  Timer clock_;
  Flowing flow_ = Flowing::unset;
  bool half_open_;
  bool open_ = false;
  bool stalled_ = false;  // reading is paused, until flow()
  bool destroyed_ = false;
  bool over_ = false;  // 'close' has come, or the context is gone
};

}  // namespace onloop::detail
