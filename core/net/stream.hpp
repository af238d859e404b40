#pragma once
#include <sys/types.h>
#include <onloop/blocking.hpp>
#include <onloop/connection.hpp>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/net/destination.hpp"
#include "core/net/endpoint.hpp"
#include "core/net/net.hpp"
#include "core/net/origin.hpp"
#include "core/net/snapshot.hpp"
#include "core/net/write_queue.hpp"
#include "core/runtime/source.hpp"
#include "core/runtime/timer_heap.hpp"

namespace onloop::detail {

class Acceptor;

/// Implements Connection: one stream socket with its write queue, from its beginning to its end.
///
/// Writing: written bytes go to the kernel at once. The bytes that the kernel does not take wait in the queue. Only
/// then does the loop watch the socket for WRITE.
///
/// Ending: an error or an end closes the descriptor at once. on_close comes later, from Runtime::defer(), and never
/// from within a call of the application.
///
/// Ownership: the Net of its origin owns the stream until leave(). Each Ref and each frame that uses it is a further
/// owner. Thread: every call is for the context's thread; only a Ref may be dropped on any thread.
class Stream final : public Connection, public Source, public Endpoint {
 public:
  /// Adds the new stream to the Net of `origin`, which owns it from now on.
  Stream(Protocol& protocol, Held<Origin> origin) noexcept;

  using Endpoint::set_protocol;  // Connection::set_protocol calls this one
  using Source::fd;

  // ---- the ways to begin; restore() is one more ----
  /// Begins with a socket that a listener has accepted. Takes `fd` on success. The caller must then call opened().
  void accepted(int fd);
  /// Begins with a socket that is connected already. Takes `fd` on success. on_open is deferred.
  /// @throws std::system_error whose text begins with `what`.
  void adopted(int fd, const std::string& what);
  /// Begins to connect to the first of `candidates`. The others are tried in turn if this fails.
  /// @throws std::system_error whose text begins with `what`, if even the last candidate failed for want of descriptors
  /// or memory.
  void connecting(const std::vector<Address>& candidates, std::chrono::nanoseconds timeout, const std::string& what);
  /// The same for a name, which is looked up first.
  void connecting(const HostName& host, std::chrono::nanoseconds timeout);
  /// Calls on_open.
  void opened();

  // ---- the calls of Connection ----
  Flow send(std::span<const std::byte> data);
  Flow send(std::vector<std::byte>&& data);
  Flow send(std::span<const std::span<const std::byte>> pieces);
  /// Gives an adopted connection the bytes that the application had read before. They are delivered after on_open.
  void read_already(EarlyInput::node_type&& bytes) noexcept;
  [[nodiscard]] std::size_t queued() const noexcept { return queue_ ? queue_->size() : 0; }
  /// @return The number of bytes that the peer has not taken yet. They are in the queue here, or in the kernel.
  [[nodiscard]] std::uint64_t untaken() const noexcept;
  /// @return False if write() refuses all bytes.
  [[nodiscard]] bool writable() const noexcept { return !write_ended_ && !frozen() && phase_ < Phase::closing; }
  [[nodiscard]] const Limits& limits() const noexcept { return origin_->limits; }
  /// Holds back written bytes in the queue until uncork(). Calls nest.
  void cork() noexcept;
  void uncork() noexcept;
  void when_drained(Task task);
  [[gnu::noinline]] void pause(bool paused);
  void set_idle(std::chrono::nanoseconds timeout);
  void end_writing();                          // shutdown_write()
  void end();                                  // close()
  void reset(std::error_code error) noexcept;  // abort()
  void set_state(std::unique_ptr<State> state) noexcept { state_ = std::move(state); }
  /// @return Null if there is no state, or if the state is of another type.
  [[nodiscard]] State* find_state(const std::type_info& type) const noexcept;
  /// @return True from the call of on_close on, or once the stream was severed.
  [[nodiscard]] bool over() const noexcept { return phase_ == Phase::over; }
  /// @return The address of the peer. It is also known while on_close runs, although the descriptor is closed then.
  [[nodiscard]] Address peer() const;

  /// Closes the socket and leaves the context, without a call to the protocol.
  void sever() noexcept override;

  // ---- takeover by another process: stream_transit.cpp ----
  /// @return True if the stream is open or closing and no callback of it is on the stack. False if it is frozen
  /// already, if a write has failed, or if early bytes are still to be delivered.
  [[nodiscard]] bool can_freeze() const noexcept {
    return (phase_ == Phase::open || phase_ == Phase::closing) && !frozen() && !write_failed_ && !early_ && !busy();
  }
  [[nodiscard]] bool frozen() const noexcept { return transit_ && transit_->frozen && phase_ < Phase::closed; }
  /// Stops serving the connection until thaw(). Its clock stands still.
  /// @throws std::bad_alloc
  void freeze();
  /// Serves the connection again. Does what was asked for while it was frozen.
  void thaw() noexcept;
  /// Notes that another process gets, or has, a copy of the descriptor. The stream must be frozen.
  void note_copied() noexcept { transit_->copied = true; }
  /// @return The state of the frozen connection.
  [[nodiscard]] ConnectionSnapshot snapshot() const;
  /// Copies queued bytes, from `offset` on, until `into` is full. See WriteQueue::copy().
  void copy_queued(std::size_t offset, std::span<std::byte> into) const noexcept;
  /// @return The listener that has accepted the connection, or null.
  [[nodiscard]] const Acceptor* acceptor() const noexcept { return origin_->acceptor.get(); }
  /// Puts a new stream into the state that `snapshot` describes. The stream is frozen. Takes `fd` on success.
  void restore(int fd, const ConnectionSnapshot& snapshot, const std::string& what);
  /// Adds bytes to the queue of a restored stream.
  void restore_queued(std::span<const std::byte> data);

 private:
  friend class Net;
  enum class Phase : std::uint8_t {
    connecting,
    opening,  // adopted; on_open is still to be called
    open,
    closing,  // close() was called: the queue is flushed, then the peer's end is awaited
    closed,   // the descriptor is closed; on_close is still to be called
    over,     // on_close runs or has run, or the stream was severed
  };
  /// What only some connections need: a clock, the addresses to try, and what on_close must still know.
  struct Extra final : TimerNode {
    explicit Extra(Stream& owner) noexcept : stream(owner) {}
    Extra(const Extra&) = delete;
    Extra& operator=(const Extra&) = delete;
    ~Extra() { lookup.cancel(); }
    void on_due() override { stream.on_due(); }
    Stream& stream;
    std::uint64_t idle_ns = 0;
    std::uint64_t last_activity = 0;
    std::uint64_t sent = 0;           // bytes handed to the kernel since the last look_at_kernel()
    std::uint64_t left = 0;           // bytes in the kernel's send queue at that time
    std::uint64_t connect_end = 0;    // when the time-out of the whole attempt to connect is over; 0: never
    unsigned self_connects = 0;       // how often the socket was connected to itself
    std::vector<Address> candidates;  // the addresses to try; the last element is tried next
    Address peer;                     // the peer of a closed connection, for on_close
    std::error_code error;            // an error for on_close, if its category is not that of error_of()
    Job lookup;                       // looks up the candidates
  };

  /// What the application has asked for while the connection was frozen. A later enumerator outweighs an earlier one.
  enum class Wish : std::uint8_t { none, end_writing, end, reset };
  /// What a connection needs while it goes to another process, or comes from another process.
  struct Transit {
    bool frozen = true;
    bool copied = false;         // another process may have a copy of the descriptor, even after a failed takeover
    bool write_refused = false;  // a write was refused: on_drain must come after the thaw
    Wish wish = Wish::none;
    std::error_code reset_with;   // the error of Wish::reset
    std::uint64_t frozen_at = 0;  // ns of CLOCK_MONOTONIC
  };

  ~Stream() override;
  void on_ready(std::uint32_t readiness) override;
  void on_deferred() override;
  bool on_exception(std::error_code error) noexcept override {
    reset(error);
    return true;
  }
  void on_watch_error(std::error_code error) noexcept override { shut(error); }
  bool lose_number() noexcept override;
  void on_dropped() noexcept override { state_.reset(); }
  void on_due();  // the timer of Extra has fired
  [[nodiscard]] std::uint64_t clock_limit() const noexcept;

  /// Sets the clock to `limit_ns` from now. Makes an Extra if there is none.
  void start_clock(std::uint64_t limit_ns);
  /// Cancels the clock, and deletes the Extra.
  void stop_clock() noexcept;
  /// Zero starts no clock.
  void start_idle_clock(std::uint64_t idle_ns);
  /// Bytes have arrived: the clock counts from now.
  void note_activity() noexcept {
    if (extra_) note_time();
  }
  [[gnu::noinline]] void note_time() noexcept;
  /// The kernel has taken `count` bytes. The clock counts from now only for the first bytes after look_at_kernel().
  /// Later bytes may lie in the kernel's buffer only, and buffered bytes are not progress. Zero bytes are not progress
  /// either.
  void note_sent(std::size_t count) noexcept {
    if (!extra_ || count == 0) return;
    if (extra_->sent == 0) note_time();
    extra_->sent += count;
  }
  /// Notes how many bytes are in the kernel's send queue now.
  void look_at_kernel() noexcept;
  [[nodiscard]] bool peer_took_bytes(std::uint64_t limit) noexcept;
  [[gnu::noinline]] void woken_in_vain() noexcept;
  [[nodiscard]] bool drop_reports() noexcept;
  /// Keeps the address of the peer for on_close. Needs the open descriptor.
  void remember_peer() noexcept;
  void fail_writing(std::error_code error) noexcept;
  std::span<const std::byte> send_beside_cork(std::span<const std::byte> data) noexcept;
  void limit_attempt();

  void start_connecting(std::chrono::nanoseconds timeout);
  /// The look-up of the name has ended.
  void resolved(Outcome<std::vector<Address>>& found);
  int attempt(const Address& address);
  int try_next(int error) noexcept;
  /// The socket is writable: the attempt has succeeded or failed.
  void finish_connect();
  [[gnu::noinline]] bool on_writable(std::uint32_t readiness);
  void read_into(Net& net, std::byte* buffer);
  [[gnu::noinline]] void read_in_nested_frame(Net& net);
  [[gnu::noinline]] void read_on(const Net& net, std::byte* buffer, ssize_t got);
  [[gnu::noinline]] void received(std::byte* buffer, ssize_t got);
  [[gnu::noinline]] void read_stopped(int error);
  /// Sends the queue, as far as the kernel takes it. Then does what waits for the low-water mark or for an empty queue.
  void flush() noexcept;
  /// The general path of send(): sends at once if it can, otherwise queues.
  /// @param given Null, or a vector that the caller gives away. Then `data` must reach to the last byte of the vector.
  [[gnu::noinline]] Flow send_later(std::span<const std::byte> data, std::vector<std::byte>* given = nullptr);
  /// Goes on after a send(2) of `data` that has returned `sent`: handles an error, and queues the rest.
  [[gnu::noinline]] Flow send_rest(std::span<const std::byte> data, ssize_t sent,
                                   std::vector<std::byte>* given = nullptr);
  Flow queue(std::span<const std::byte> data, std::vector<std::byte>* given = nullptr);
  /// @return True if write() must return Flow::closed. For a frozen connection this also notes that on_drain must come.
  [[nodiscard]] bool refuses_write() noexcept;
  [[nodiscard]] ssize_t send_pieces(std::span<const std::span<const std::byte>> pieces) const noexcept;
  Flow queue_pieces(std::span<const std::span<const std::byte>> pieces, std::size_t skip);
  void send_fin() noexcept;
  /// Tells the loop what interest() says now, and computes plain_ anew. If the loop refuses, the connection closes.
  void apply() noexcept;
  /// Computes plain_ anew.
  void note_plain() noexcept;
  [[nodiscard]] bool wants_to_read() const noexcept;
  void deliver_early();
  /// @return The readiness that the connection waits for in its present state.
  [[nodiscard]] std::uint32_t interest() const noexcept;
  void close_if_both_ended() noexcept;
  /// Closes the descriptor, drops the queue, and defers on_close with `error`. No effect if it is closed.
  void shut(std::error_code error) noexcept;
  /// Ends the watch, and closes the descriptor.
  void release_socket() noexcept;
  void reset_socket() noexcept;
  void leave() noexcept;
  void set_error(std::error_code error) noexcept;
  /// @return The error for on_close.
  [[nodiscard]] std::error_code close_error() const noexcept;
  [[nodiscard]] bool postpone(Wish wish) noexcept;
  [[nodiscard]] bool copied() const noexcept { return transit_ && transit_->copied; }
  [[nodiscard]] Net& net() const noexcept { return origin_->net; }

  Phase phase_ = Phase::opening;
  /// The connection is open and not frozen. Nothing is queued, no early bytes are left, the application has not ended
  /// writing, no cork is set, and there is no Extra, so no clock runs. Then send() and on_ready() take a short path.
  bool plain_ = false;
  std::uint8_t corks_ = 0;
  std::uint8_t vain_wakes_ = 0;  // wake-ups without a result since woken_in_vain() last asked for the reason
  bool waiting_ = false;         // write() has returned Flow::wait: on_drain must come at the low-water mark
  bool drain_due_ = false;       // on_drain must come now
  bool fin_sent_ = false;
  Held<Origin> origin_;       // null once the stream has left its context
  Stream* before_ = nullptr;  // neighbours in the list of Net
  Stream* after_ = nullptr;
  std::unique_ptr<WriteQueue> queue_;  // null when it is empty, so that an idle connection has no queue
  std::unique_ptr<Extra> extra_;
  std::unique_ptr<Transit> transit_;
  std::unique_ptr<State> state_;
  int error_ = 0;                  // an errno value for on_close; Extra keeps an error of another category
  bool paused_ : 1 = false;        // the application has paused reading
  bool full_ : 1 = false;          // the queue was above the high-water mark, and not at the low-water mark since
  bool read_ended_ : 1 = false;    // the peer's FIN was read
  bool write_ended_ : 1 = false;   // our FIN follows the queue
  bool early_ : 1 = false;         // Net::early has bytes of this connection: they are delivered first
  bool write_failed_ : 1 = false;  // a write has failed with close_error(): see fail_writing()
};

/// Does what Context::adopt() does, without its checks: `fd` must be a connected stream socket that no source watches.
/// @throws std::system_error whose text begins with `what`.
[[nodiscard]] Stream& adopt(Net& net, int fd, Protocol& protocol, const Limits& limits, const std::string& what);
/// As Context::connect.
[[nodiscard]] Connection& connect(Runtime& runtime, const Destination& to, Protocol& protocol, ConnectOptions options);

template <class F>
void Net::each_stream(F&& call) {
  for (Stream* stream = streams_; stream;) {
    Stream* next = stream->after_;
    call(*stream);
    stream = next;
  }
}

/// @return The Stream that `connection` is: every Connection is a Stream.
inline Stream& stream_of(Connection& connection) noexcept {
  return static_cast<Stream&>(connection);
}
inline const Stream& stream_of(const Connection& connection) noexcept {
  return static_cast<const Stream&>(connection);
}

}  // namespace onloop::detail
