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

/// The state of a node::Socket. It turns the callbacks of a Connection into the events of Node, and calls the
/// listeners.
///
/// It is active until destroy(). Then the queued event 'close' owns it. HandleState says who else owns it, and on which
/// thread it is used.
class SocketState final : public HandleState {
 public:
  SocketState(Phases& phases, bool allow_half_open) noexcept;
  ~SocketState() override;

  // ---- the two ways to begin ----
  /// Begins with a connection that `server` has accepted. The server counts the socket.
  void accepted(Connection& connection, std::shared_ptr<ServerState> server);
  /// Begins to connect. Throws what Context::connect() throws.
  void connect(const Destination& to, const ConnectOptions& options);

  // ---- the calls of node::Socket ----
  /// Adds a listener of 'data'. The first one makes data flow, unless pause() was called before.
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
  /// @return Null if the connection has ended, or if the socket is destroyed.
  [[nodiscard]] Connection* connection() const noexcept { return connection_.get(); }
  /// Adds a listener to one of the events. After 'close' it adds nothing, because nothing would remove the listener.
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
  /// Whether 'data' is emitted. unset: the application has neither listened to 'data' nor called pause() or resume().
  enum class Flowing : std::uint8_t { unset, yes, no };

  template <class F>
  void call(F&& callback);
  void opened();  // the connection is open
  void received(std::span<const std::byte> data);
  void ended();  // the peer has ended its side
  /// Reads on, and emits the bytes that were kept.
  void flow();
  void set_options() const noexcept;
  /// Bytes have arrived, or the socket has connected: the clock counts from now.
  void note_activity() {
    if (timeout_.count() > 0) note_time();
  }
  /// Notes how many bytes the peer has not taken yet.
  void look_at_peer() noexcept;
  [[nodiscard]] bool peer_took_bytes() noexcept;
  void note_time();
  void start_clock(std::chrono::nanoseconds delay);
  void clock_due();
  /// Emits 'error'. If nobody listens to 'error' or 'close', reports the error to ContextOptions::on_error.
  void emit_error();
  void emit_close();
  void drop() noexcept;
  void sever() noexcept override;

  std::unique_ptr<SocketAdapter> adapter_;
  Ref connection_;
  std::shared_ptr<ServerState> server_;  // the server that counts the socket, until the socket is destroyed
  std::string kept_;                     // bytes that were read and not emitted yet
  std::string peer_;                     // the address that connect() got, for messages
  std::error_code error_;
  std::chrono::nanoseconds timeout_{0};
  Clock::time_point last_activity_;
  Timer clock_;
  std::uint64_t written_ = 0;                       // bytes that were written since the last look_at_peer()
  std::uint64_t untaken_ = 0;                       // bytes that the peer had not taken at that time
  std::optional<std::chrono::seconds> keep_alive_;  // the delay of keep-alive; negative: no keep-alive
  std::optional<bool> no_delay_;
  /// What must be done when the socket has connected.
  enum class Then : std::uint8_t { go_on, destroy_soon, reset } then_ = Then::go_on;
  Flowing flow_ = Flowing::unset;
  bool half_open_;
  bool open_ = false;
  bool stalled_ = false;  // reading is paused until flow()
  bool destroyed_ = false;
  bool over_ = false;  // 'close' was emitted, or the context is gone
};

}  // namespace onloop::detail
