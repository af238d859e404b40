#pragma once
#include <onloop/connection.hpp>
#include <onloop/node/net.hpp>
#include <onloop/protocol.hpp>
#include <onloop/timer.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "core/net/destination.hpp"
#include "core/node/handle_state.hpp"
#include "core/node/listeners.hpp"

namespace onloop::detail {

class ServerState;

/// Behind a node::Socket: what is between a Connection and those who listen. Active until 'close'.
class SocketState final : public HandleState {
 public:
  SocketState(Phases& phases, bool allow_half_open) noexcept;
  ~SocketState() override;

  // ---- the two ways in ----
  void accepted(Connection& connection, std::shared_ptr<ServerState> server);
  void connect(const Destination& to, const ConnectOptions& options);

  // ---- node::Socket ----
  void add_data(std::function<void(std::string_view)> listener);
  bool write(std::span<const std::byte> data);
  void end();
  void destroy(std::error_code error);
  void destroy_soon();
  void reset_and_destroy();
  void set_keep_alive(bool enable, std::chrono::seconds delay);
  void set_no_delay(bool enable);
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
  class SocketAdapter;
  using Clock = std::chrono::steady_clock;
  enum class Flowing : std::uint8_t { unset, yes, no };

  template <class F>
  void call(F&& callback);
  void opened();
  void received(std::span<const std::byte> data);
  void ended();
  void flow();
  void set_options() const noexcept;
  void note_activity() {
    if (timeout_.count() > 0) note_time();
  }
  void look_at_peer() noexcept;
  [[nodiscard]] bool peer_took_bytes() noexcept;
  void note_time();
  void start_clock(std::chrono::nanoseconds delay);
  void clock_due();
  void emit_error();
  void emit_close();
  void drop() noexcept;
  void sever() noexcept override;

  std::unique_ptr<SocketAdapter> adapter_;
  Ref connection_;
  std::shared_ptr<ServerState> server_;  // that it is counted by, until it is destroyed
  std::string kept_;                     // was read and nobody took it
  std::string peer_;                     // for words: where it was to connect to
  std::error_code error_;
  std::chrono::nanoseconds timeout_{0};
  Clock::time_point last_activity_;
  Timer clock_;
  std::uint64_t written_ = 0;                       // since the clock last looked
  std::uint64_t untaken_ = 0;                       // by the peer, then
  std::optional<std::chrono::seconds> keep_alive_;  // its delay; negative: none
  std::optional<bool> no_delay_;
  /// What is to come once it has connected.
  enum class Then : std::uint8_t { go_on, destroy_soon, reset } then_ = Then::go_on;
  Flowing flow_ = Flowing::unset;
  bool half_open_;
  bool open_ = false;
  bool stalled_ = false;  // reading is paused, until flow()
  bool destroyed_ = false;
  bool over_ = false;  // 'close' has come, or the context is gone
};

}  // namespace onloop::detail
