#include "core/node/socket.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <onloop/context.hpp>

#include <algorithm>
#include <utility>

#include "core/base/at_scope_exit.hpp"
#include "core/net/socket.hpp"
#include "core/net/stream.hpp"
#include "core/node/phases.hpp"
#include "core/node/server.hpp"

namespace onloop::detail {

/// The protocol of the connection. The SocketState owns it. When it is destroyed, the connection is severed: the
/// connection closes at once, without a callback.
class SocketState::SocketAdapter final : public Protocol {
 public:
  explicit SocketAdapter(SocketState& socket) noexcept : socket_(socket) {}

 private:
  // The call may destroy this object. Therefore nothing of it is used after the call.
  void on_open(Connection&) override {
    socket_.call([](SocketState& socket) { socket.opened(); });
  }
  void on_data(Connection&, std::span<const std::byte> data) override {
    socket_.call([&](SocketState& socket) { socket.received(data); });
  }
  void on_drain(Connection&) override {
    socket_.call([](SocketState& socket) { socket.on_drain.emit(); });
  }
  void on_end(Connection&) override {
    socket_.call([](SocketState& socket) { socket.ended(); });
  }
  void on_close(Connection&, std::error_code error) override {
    socket_.call([&](SocketState& socket) { socket.destroy(error); });
  }

  SocketState& socket_;
};

SocketState::SocketState(Phases& phases, bool allow_half_open) noexcept
    : HandleState(phases), half_open_(allow_half_open) {}

SocketState::~SocketState() = default;

/// Runs `callback`, which an event of the connection causes, as a callback of the layer. `callback` is not called if a
/// tick that runs before it has destroyed the socket.
template <class F>
void SocketState::call(F&& callback) {
  const std::shared_ptr<HandleState> self = shared_from_this();
  phases()->call([&] {
    if (!destroyed_) callback(*this);
  });
}

// ---- the two ways to begin ----

void SocketState::accepted(Connection& connection, std::shared_ptr<ServerState> server) {
  adapter_ = std::make_unique<SocketAdapter>(*this);
  connection.set_protocol(*adapter_);
  connection_ = connection.ref();
  server_ = std::move(server);
  open_ = true;
  activate();
}

void SocketState::connect(const Destination& to, const ConnectOptions& options) {
  if (!phases()) return;
  peer_ = to_string(to);
  adapter_ = std::make_unique<SocketAdapter>(*this);
  connection_ = detail::connect(phases()->runtime(), to, *adapter_, options).ref();
  activate();
}

void SocketState::opened() {
  open_ = true;
  set_options();
  note_activity();
  if (then_ == Then::reset) connection_->abort();  // whatever the listeners of 'connect' would write
  on_connect.emit();
  Connection* connection = connection_.get();
  if (then_ == Then::destroy_soon && connection) connection->close();
}

// ---- reading ----

void SocketState::add_data(std::function<void(std::string_view)> listener) {
  add(on_data, std::move(listener));
  if (flow_ == Flowing::unset) resume();
}

/// As in Node, one read is kept for listeners that are added later. Therefore the socket can read before it has a
/// listener, and notices the end of a peer that sends nothing.
void SocketState::received(std::span<const std::byte> data) {
  note_activity();
  const std::string_view text(reinterpret_cast<const char*>(data.data()), data.size());
  if (flow_ == Flowing::yes && !stalled_) {
    on_data.emit(text);
    return;
  }
  kept_ += text;
  stalled_ = true;
  if (Connection* connection = connection_.get()) connection->pause_reading();
}

void SocketState::resume() {
  if (flow_ == Flowing::yes) return;
  flow_ = Flowing::yes;
  if (!stalled_ || !phases()) return;
  phases()->next_tick([self = shared_from_this(), this] { flow(); });
}

void SocketState::flow() {
  if (flow_ != Flowing::yes || !stalled_ || destroyed_) return;
  stalled_ = false;
  if (Connection* connection = connection_.get()) connection->resume_reading();
  const std::string text = std::exchange(kept_, {});
  if (!text.empty()) on_data.emit(text);
}

void SocketState::ended() {
  on_end.emit();
  if (!half_open_) end();
}

// ---- writing and ending ----

bool SocketState::write(std::span<const std::byte> data) {
  Connection* connection = connection_.get();
  if (!connection) return false;
  const Flow flow = connection->write(data);
  if (timeout_.count() > 0 && flow != Flow::closed && !data.empty()) {
    if (written_ == 0) note_time();  // bytes that are only buffered are not progress: see Stream::note_sent
    written_ += data.size();
  }
  return flow == Flow::go;
}

void SocketState::end() {
  if (Connection* connection = connection_.get()) connection->shutdown_write();
}

/// As in Node, bytes that were written while the socket connects are sent first.
void SocketState::destroy_soon() {
  Connection* connection = connection_.get();
  if (!connection) return;
  if (open_) {
    connection->close();
  } else {
    connection->shutdown_write();
    if (then_ == Then::go_on) then_ = Then::destroy_soon;
  }
}

void SocketState::reset_and_destroy() {
  Connection* connection = connection_.get();
  if (!connection) return;
  if (open_) {
    connection->abort();
    destroy({});
  } else {
    then_ = Then::reset;
  }
}

void SocketState::set_keep_alive(bool enable, std::chrono::seconds delay) {
  keep_alive_ = enable ? std::max(delay, std::chrono::seconds{0}) : std::chrono::seconds{-1};
  set_options();
}

void SocketState::set_no_delay(bool enable) {
  no_delay_ = enable;
  set_options();
}

/// Sets the options of the descriptor. While the socket connects, there may be no descriptor yet, or several
/// descriptors one after another. Then opened() sets the options.
void SocketState::set_options() const noexcept {
  const Connection* connection = connection_.get();
  if (!connection || !open_) return;
  if (keep_alive_) {
    set_option(connection->fd(), SOL_SOCKET, SO_KEEPALIVE, keep_alive_->count() >= 0 ? 1 : 0);
    constexpr std::chrono::seconds kMost{32'767};  // the largest value that the kernel takes
    const int delay = static_cast<int>(std::min(*keep_alive_, kMost).count());
    if (delay > 0) set_option(connection->fd(), IPPROTO_TCP, TCP_KEEPIDLE, delay);
  }
  if (no_delay_) set_option(connection->fd(), IPPROTO_TCP, TCP_NODELAY, *no_delay_ ? 1 : 0);
}

void SocketState::destroy(std::error_code error) {
  if (destroyed_ || !phases()) return;
  const std::shared_ptr<HandleState> self = shared_from_this();
  Connection* connection = connection_.get();
  if (connection && connection->queued_bytes() > 0) connection->abort();
  destroyed_ = true;
  error_ = error;
  drop();
  if (error) phases()->next_tick([self, this] { emit_error(); });
  phases()->queue_close([self, this] { emit_close(); });
  deactivate();
  if (const auto server = std::move(server_)) server->connection_left();
}

/// Drops the connection, and everything that only an open socket needs.
void SocketState::drop() noexcept {
  connection_ = {};
  adapter_.reset();
  clock_ = {};
  kept_.clear();
}

void SocketState::emit_error() {
  if (!on_error.empty() || !on_close.empty() || !phases()) {
    on_error.emit(error_);
    return;
  }
  std::string what = "a client's connection";
  if (!peer_.empty()) what = (open_ ? "connection to " : "connect to ") + peer_;
  phases()->runtime().report(error_, what);
}

void SocketState::emit_close() {
  const AtScopeExit at_end([this] { sever(); });
  on_close.emit(error_);
}

void SocketState::sever() noexcept {
  destroyed_ = over_ = true;
  drop();
  server_.reset();
  for (auto* listeners : {&on_connect, &on_end, &on_drain, &on_timeout}) listeners->clear();
  on_data.clear();
  on_error.clear();
  on_close.clear();
}

// ---- the idle clock ----

void SocketState::set_timeout(std::chrono::nanoseconds timeout) {
  timeout_ = timeout;
  clock_ = {};
  if (timeout_.count() <= 0 || destroyed_ || !phases()) return;
  last_activity_ = Clock::now();
  look_at_peer();
  start_clock(timeout_);
}

void SocketState::start_clock(std::chrono::nanoseconds delay) {
  clock_ = phases()->runtime().facade().timer(delay, [this] { clock_due(); });
}

/// Notes the time of traffic. While the clock runs, nothing more is needed. After 'timeout' the clock stands still, and
/// the next traffic starts it again.
void SocketState::note_time() {
  last_activity_ = Clock::now();
  if (!clock_.active()) start_clock(timeout_);
}

void SocketState::look_at_peer() noexcept {
  const Connection* connection = connection_.get();
  untaken_ = connection ? stream_of(*connection).untaken() : 0;
  written_ = 0;
}

/// Looks whether the peer has taken bytes since the last look_at_peer(). If so, this counts as activity. It works like
/// Stream::peer_took_bytes().
/// @return True if the peer has taken bytes within the period of 'timeout', so that the clock goes on.
bool SocketState::peer_took_bytes() noexcept {
  const std::uint64_t most = untaken_ + written_;
  look_at_peer();
  const Connection* connection = connection_.get();
  if (!connection || untaken_ >= most) return false;
  const std::uint64_t ago = untaken_ == 0 ? since_acknowledgement(connection->fd()) : 0;
  if (ago >= static_cast<std::uint64_t>(timeout_.count())) return false;
  last_activity_ = std::max(last_activity_, Clock::now() - std::chrono::nanoseconds(ago));
  return last_activity_ + timeout_ > Clock::now();
}

void SocketState::clock_due() {
  const auto left = last_activity_ + timeout_ - Clock::now();
  if (left.count() > 0) {
    start_clock(left);
  } else if (peer_took_bytes()) {
    start_clock(last_activity_ + timeout_ - Clock::now());
  } else {
    call([](SocketState& socket) { socket.on_timeout.emit(); });
  }
}

}  // namespace onloop::detail
