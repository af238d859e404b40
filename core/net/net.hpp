#pragma once
#include <onloop/descriptor.hpp>
#include <onloop/task.hpp>
#include <onloop/timer.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/runtime/runtime.hpp"

namespace onloop {
class Listener;
}

namespace onloop::detail {

class Acceptor;
class Stream;

/// Bytes that the application had read from a socket before it called Context::adopt(). `left` is the part of `bytes`
/// that is still to be delivered.
struct EarlyBytes {
  std::vector<std::byte> bytes;
  std::span<const std::byte> left;
};
/// The early bytes of some connections, by connection.
using EarlyInput = std::unordered_map<const Stream*, EarlyBytes>;

/// One call of Context::drain() for some listeners: it waits for these listeners and for the connections that they have
/// accepted. Net owns it. Each Acceptor that takes part points to it.
struct ListenerDrain {
  std::size_t acceptors = 0;  // listeners that are still open or still have connections
  Task done;
  Timer limit;
};

/// The listeners and connections of one context, and what they share: the read buffer, the reserve descriptor, the
/// statistics and the drains.
///
/// The Runtime of the context owns the Net. Every call is for the context's thread.
class Net final : public Subsystem {
 public:
  /// @return The Net of the context. The first call makes it.
  static Net& of(Runtime& runtime);
  explicit Net(Runtime& runtime) noexcept : buffer_size(runtime.options().read_buffer), runtime_(runtime) {}
  void sever() noexcept override;
  void after_fork() noexcept override {}  // the child has the same sockets
  [[nodiscard]] Runtime& runtime() noexcept { return runtime_; }

  // ---- the lists of listeners and connections; each Acceptor and Stream adds and removes itself ----
  void add(Acceptor& acceptor) { acceptors_.push_back(&acceptor); }
  void remove(Acceptor& acceptor) noexcept;
  void add(Stream& stream) noexcept;
  void remove(Stream& stream) noexcept;
  [[nodiscard]] const std::vector<Acceptor*>& acceptors() const noexcept { return acceptors_; }
  /// Posts `task` as soon as the queue of `stream` has drained to the low-water mark, or as soon as `stream` is
  /// removed.
  void when_drained(const Stream& stream, Task task) { drain_tasks_.emplace(&stream, std::move(task)); }
  /// The queue of `stream` has drained to the low-water mark: posts the tasks that wait for this.
  void drained(const Stream& stream) {
    if (!drain_tasks_.empty()) post_drain_tasks(stream);
  }
  /// Calls `call` with each connection. The callable may remove the connection that it gets. It must not remove another
  /// one.
  template <class F>
  void each_stream(F&& call);

  /// Keeps the read buffer of the context while no stack frame uses it.
  class SpareBuffer {
   public:
    SpareBuffer() noexcept = default;
    SpareBuffer(const SpareBuffer&) = delete;
    SpareBuffer& operator=(const SpareBuffer&) = delete;
    ~SpareBuffer() { delete[] bytes_; }
    /// Takes out the buffer. The caller must give it back with give_back().
    /// @return Null if a frame uses the buffer, or if nobody has made it yet.
    [[nodiscard]] std::byte* release() noexcept { return std::exchange(bytes_, nullptr); }
    void give_back(std::byte* bytes) noexcept { bytes_ = bytes; }
    /// @return True at the first call. The caller must then make the buffer, and give it to give_back().
    [[nodiscard]] bool is_to_be_made() noexcept { return !std::exchange(made_, true); }

   private:
    std::byte* bytes_ = nullptr;
    bool made_ = false;
  };
  SpareBuffer spare_buffer;
  const std::size_t buffer_size;

  /// Opens the reserve descriptor unless it is open. A failure has no effect: then there is no reserve.
  void keep_reserve() noexcept;
  /// Accepts one client of the socket `listening`, and closes it at once. It is for a process that has no descriptor
  /// left: it closes the reserve descriptor to make room for the client, and then opens the reserve again.
  /// @return 0, or an errno value: EAGAIN if no client waits, EMFILE if there is no reserve.
  [[nodiscard]] int turn_away(int listening) noexcept;
  /// Reports that accepting fails. In the ten seconds after a report it drops all others.
  void report_starved(std::error_code error, const std::string& what) noexcept;

  /// Context::drain() of the whole context. When no listener drains any more and no connection is left, it posts
  /// `done`. After `limit` it severs the listeners that still drain, and aborts the connections with ETIMEDOUT.
  /// @throws std::system_error with EALREADY if the context drains already, or has drained.
  void drain(std::chrono::nanoseconds limit, Task done);
  /// Severs the listeners that drain: those that still accept the clients who waited when drain() was called.
  void sever_draining() noexcept;
  /// Context::drain() of some listeners and of the connections that they have accepted. It ends as drain() of the whole
  /// context does.
  /// @throws std::system_error with EINVAL if a listener is null or belongs to another context.
  void drain(std::span<Listener* const> listeners, std::chrono::nanoseconds limit, Task done);
  /// One of the listeners of `drain` is closed, and has no connection any more. When the last listener of `drain` is
  /// done, this posts the task of `drain` and deletes `drain`.
  void drained(ListenerDrain& drain) noexcept;

  /// The early bytes of the connections whose Stream::early_ is true. They are here and not in Stream, because few
  /// connections ever have early bytes.
  EarlyInput early;
  /// Copies `bytes` into an entry for `early`, without inserting it. Inserting it later takes no memory.
  [[nodiscard]] EarlyInput::node_type new_early(std::span<const std::byte> bytes);

  Statistics statistics;  // Stream and ListeningSocket count

 private:
  void post_drain_tasks(const Stream& stream);

  Runtime& runtime_;
  std::vector<Acceptor*> acceptors_;
  Stream* streams_ = nullptr;
  std::unordered_multimap<const Stream*, Task> drain_tasks_;  // here and not in Stream: few connections have one
  Descriptor reserve_;
  std::uint64_t quiet_until_ = 0;  // when report_starved() reports again
  /// @return The first listener that drains, or the first that does not; null if there is none.
  [[nodiscard]] Acceptor* find_acceptor(bool draining) const noexcept;
  /// Ends the drain of the context if nothing is left to wait for.
  void end_drain() noexcept;
  /// The time limit of the drain of the context has passed.
  void abort_drain();
  /// The time limit of `drain` has passed.
  void abort_drain(const ListenerDrain& drain);

  bool draining_ = false;       // drain() was called; still true when the context has drained
  bool drain_awaited_ = false;  // drained_ is still to be posted
  Task drained_;
  Timer drain_limit_;
  std::vector<std::unique_ptr<ListenerDrain>> listener_drains_;
};

}  // namespace onloop::detail
