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

/// The Connection: one stream socket, its queue and its life.
///
/// What is written goes to the kernel at once; what that refuses waits in the queue, and only then is WRITE wanted.
/// Errors and the end never call back from inside a call: the descriptor closes at once, on_close is deferred.
class Stream final : public Connection, public Source, public Endpoint {
 public:
  /// Belongs to the Net of its origin from now on.
  Stream(Protocol& protocol, Held<Origin> origin) noexcept;

  using Endpoint::set_protocol;  // Connection has one too, which comes here
  using Source::fd;

  // ---- the three ways in; each takes the descriptor on success ----
  void accepted(int fd);  // then the caller calls opened()
  void adopted(int fd, const std::string& what);
  void connecting(const std::vector<Address>& candidates, std::chrono::nanoseconds timeout, const std::string& what);
  void connecting(const HostName& host, std::chrono::nanoseconds timeout);
  void opened();

  // ---- Connection ----
  Flow send(std::span<const std::byte> data);
  Flow send(std::vector<std::byte>&& data);
  Flow send(std::span<const std::span<const std::byte>> pieces);
  /// Bytes of an adopted socket that are delivered after on_open.
  void read_already(EarlyInput::node_type&& bytes) noexcept;
  [[nodiscard]] std::size_t queued() const noexcept { return queue_ ? queue_->size() : 0; }
  /// What the peer has not taken yet: queued here, or in the kernel.
  [[nodiscard]] std::uint64_t untaken() const noexcept;
  /// write() takes something.
  [[nodiscard]] bool writable() const noexcept { return !write_ended_ && !frozen() && phase_ < Phase::closing; }
  [[nodiscard]] const Limits& limits() const noexcept { return origin_->limits; }
  void cork() noexcept;
  void uncork() noexcept;
  void when_drained(Task task);
  [[gnu::noinline]] void pause(bool paused);
  void set_idle(std::chrono::nanoseconds timeout);
  void end_writing();
  void end();
  void reset(std::error_code error) noexcept;
  void set_state(std::unique_ptr<State> state) noexcept { state_ = std::move(state); }
  /// Null if there is none, or it is of another type.
  [[nodiscard]] State* find_state(const std::type_info& type) const noexcept;
  [[nodiscard]] bool over() const noexcept { return phase_ == Phase::over; }
  /// Also while on_close runs, when the descriptor is closed already.
  [[nodiscard]] Address peer() const;

  void sever() noexcept override;

  // ---- standing still, for another process: stream_transit.cpp ----
  /// Open or closing, and no callback of it is on the stack.
  [[nodiscard]] bool can_freeze() const noexcept {
    return (phase_ == Phase::open || phase_ == Phase::closing) && !frozen() && !write_failed_ && !early_ && !busy();
  }
  [[nodiscard]] bool frozen() const noexcept { return transit_ && transit_->frozen && phase_ < Phase::closed; }
  /// Is not served any more, until thaw(). Throws std::bad_alloc.
  void freeze();
  void thaw() noexcept;
  /// Its descriptor is on the way to another process.
  void note_copied() noexcept { transit_->copied = true; }
  /// Its state while it is frozen.
  [[nodiscard]] ConnectionSnapshot snapshot() const;
  void copy_queued(std::size_t offset, std::span<std::byte> into) const noexcept;
  [[nodiscard]] const Acceptor* acceptor() const noexcept { return origin_->acceptor.get(); }
  /// As such a snapshot says, frozen. Takes the descriptor on success.
  void restore(int fd, const ConnectionSnapshot& snapshot);
  void restore_queued(std::span<const std::byte> data);

 private:
  friend class Net;
  enum class Phase : std::uint8_t {
    connecting,
    opening,  // on_open is owed, by adopt
    open,
    closing,  // close(): flushing, then waiting for the peer's end
    closed,   // on_close is owed
    over,
  };
  /// What only some connections need: a clock, and the addresses to try.
  struct Extra final : TimerNode {
    explicit Extra(Stream& owner) noexcept : stream(owner) {}
    Extra(const Extra&) = delete;
    Extra& operator=(const Extra&) = delete;
    ~Extra() { lookup.cancel(); }
    void on_due() override { stream.on_due(); }
    Stream& stream;
    std::uint64_t idle_ns = 0;
    std::uint64_t last_activity = 0;
    std::uint64_t sent = 0;         // bytes handed to the kernel since the clock last looked
    std::uint64_t left = 0;         // in the kernel's queue then
    std::uint64_t connect_end = 0;  // when the time-out of the whole attempt to connect is over; 0: never
    unsigned self_connects = 0;
    std::vector<Address> candidates;  // the next to try is the last
    Address peer;                     // of a connection that is closed, for on_close
    std::error_code error;            // of another category than error_of(), for on_close
    Job lookup;                       // for them
  };

  /// What was asked for while it stood still.
  enum class Wish : std::uint8_t { none, end_writing, end, reset };
  /// Of a connection that another process is to get, or has sent.
  struct Transit {
    bool frozen = true;
    bool copied = false;         // another process may have its descriptor, too: also when it is served here again
    bool write_refused = false;  // on_drain is owed at the end
    Wish wish = Wish::none;
    std::error_code reset_with;
    std::uint64_t frozen_at = 0;
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
  void on_due();
  [[nodiscard]] std::uint64_t clock_limit() const noexcept;

  void start_clock(std::uint64_t limit_ns);
  void stop_clock() noexcept;
  void start_idle_clock(std::uint64_t idle_ns);
  void note_activity() noexcept {
    if (extra_) note_time();
  }
  [[gnu::noinline]] void note_time() noexcept;
  /// Nothing sent is no progress, and what the kernel only buffers is none either: only the first bytes after a look of
  /// the clock are given their time.
  void note_sent(std::size_t count) noexcept {
    if (!extra_ || count == 0) return;
    if (extra_->sent == 0) note_time();
    extra_->sent += count;
  }
  void look_at_kernel() noexcept;
  [[nodiscard]] bool peer_took_bytes(std::uint64_t limit) noexcept;
  [[gnu::noinline]] void woken_in_vain() noexcept;
  [[nodiscard]] bool drop_reports() noexcept;
  void remember_peer() noexcept;
  void fail_writing(std::error_code error) noexcept;
  std::span<const std::byte> send_beside_cork(std::span<const std::byte> data) noexcept;
  void limit_attempt();

  void start_connecting(std::chrono::nanoseconds timeout);
  void resolved(Outcome<std::vector<Address>>& found);
  int attempt(const Address& address);
  int try_next(int error) noexcept;
  void finish_connect();
  [[gnu::noinline]] bool on_writable(std::uint32_t readiness);
  void read_into(Net& net, std::byte* buffer);
  [[gnu::noinline]] void read_in_nested_frame(Net& net);
  [[gnu::noinline]] void read_on(const Net& net, std::byte* buffer, ssize_t got);
  [[gnu::noinline]] void received(std::byte* buffer, ssize_t got);
  [[gnu::noinline]] void read_stopped(int error);
  void flush() noexcept;
  /// given: the vector whose bytes these are, down to its last, if the caller gives it away.
  [[gnu::noinline]] Flow send_later(std::span<const std::byte> data, std::vector<std::byte>* given = nullptr);
  [[gnu::noinline]] Flow send_rest(std::span<const std::byte> data, ssize_t sent,
                                   std::vector<std::byte>* given = nullptr);
  Flow queue(std::span<const std::byte> data, std::vector<std::byte>* given = nullptr);
  [[nodiscard]] bool refuses_write() noexcept;
  [[nodiscard]] ssize_t send_pieces(std::span<const std::span<const std::byte>> pieces) const noexcept;
  Flow queue_pieces(std::span<const std::span<const std::byte>> pieces, std::size_t skip);
  void send_fin() noexcept;
  void apply() noexcept;
  void note_plain() noexcept;
  [[nodiscard]] bool wants_to_read() const noexcept;
  void deliver_early();
  [[nodiscard]] std::uint32_t interest() const noexcept;
  void close_if_both_ended() noexcept;
  void shut(std::error_code error) noexcept;
  void release_socket() noexcept;
  void reset_socket() noexcept;
  void leave() noexcept;
  void set_error(std::error_code error) noexcept;
  [[nodiscard]] std::error_code close_error() const noexcept;
  [[nodiscard]] bool postpone(Wish wish) noexcept;
  [[nodiscard]] bool copied() const noexcept { return transit_ && transit_->copied; }
  [[nodiscard]] Net& net() const noexcept { return origin_->net; }

  Phase phase_ = Phase::opening;
  bool plain_ = false;  // open, nothing queued, corked or ended, no clock: the short ways of send() and on_ready()
  std::uint8_t corks_ = 0;
  std::uint8_t vain_wakes_ = 0;  // since woken_in_vain() last asked why
  bool waiting_ = false;         // Flow::wait was returned: on_drain is owed at the low-water mark
  bool drain_due_ = false;       // on_drain is owed now
  bool fin_sent_ = false;
  Held<Origin> origin_;       // null once it has left its context
  Stream* before_ = nullptr;  // in Net's list
  Stream* after_ = nullptr;
  std::unique_ptr<WriteQueue> queue_;  // null when empty, so that an idle connection holds none
  std::unique_ptr<Extra> extra_;
  std::unique_ptr<Transit> transit_;
  std::unique_ptr<State> state_;
  int error_ = 0;                  // an errno; Extra has an error of another category
  bool paused_ : 1 = false;        // by the user
  bool full_ : 1 = false;          // above the high-water mark, until the low-water mark
  bool read_ended_ : 1 = false;    // the peer's FIN was read
  bool write_ended_ : 1 = false;   // ours comes after the queue
  bool early_ : 1 = false;         // Net has bytes that were read before: they come first
  bool write_failed_ : 1 = false;  // with close_error(): what the peer had sent before is read, then it closes
};

/// As Context::adopt, for a socket that is known to be fit. An error begins with `what`.
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

/// Every Connection is one.
inline Stream& stream_of(Connection& connection) noexcept {
  return static_cast<Stream&>(connection);
}
inline const Stream& stream_of(const Connection& connection) noexcept {
  return static_cast<const Stream&>(connection);
}

}  // namespace onloop::detail
