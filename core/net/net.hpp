#pragma once
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

#include "core/base/unique_fd.hpp"
#include "core/runtime/runtime.hpp"

namespace onloop {
class Listener;
}

namespace onloop::detail {

class Acceptor;
class Stream;

/// Bytes that were read from a socket before it was adopted, and how many of them are still to be delivered.
struct EarlyBytes {
  std::vector<std::byte> bytes;
  std::span<const std::byte> left;
};
using EarlyInput = std::unordered_map<const Stream*, EarlyBytes>;

/// Some listeners of a context that drain, with the connections that they have accepted.
struct ListenerDrain {
  std::size_t acceptors = 0;  // that are open or have connections
  Task done;
  Timer limit;
};

/// The listeners and connections of one context, and what they share.
class Net final : public Subsystem {
 public:
  /// The context's, made when first asked for.
  static Net& of(Runtime& runtime);
  explicit Net(Runtime& runtime) noexcept : buffer_size(runtime.options().read_buffer), runtime_(runtime) {}
  void sever() noexcept override;
  void after_fork() noexcept override {}  // its sockets are the child's, too
  [[nodiscard]] Runtime& runtime() noexcept { return runtime_; }

  // ---- who is there: kept by Acceptor and Stream themselves ----
  void add(Acceptor& acceptor) { acceptors_.push_back(&acceptor); }
  void remove(Acceptor& acceptor) noexcept;
  void add(Stream& stream) noexcept;
  void remove(Stream& stream) noexcept;
  [[nodiscard]] const std::vector<Acceptor*>& acceptors() const noexcept { return acceptors_; }
  /// Posts `task` when `stream` has drained, or is removed.
  void when_drained(const Stream& stream, Task task) { drain_tasks_.emplace(&stream, std::move(task)); }
  void drained(const Stream& stream) {
    if (!drain_tasks_.empty()) post_drain_tasks(stream);
  }
  /// Calls `call` with each connection; it may remove that one.
  template <class F>
  void each_stream(F&& call);

  /// The context's read buffer while no frame uses it.
  class SpareBuffer {
   public:
    SpareBuffer() noexcept = default;
    SpareBuffer(const SpareBuffer&) = delete;
    SpareBuffer& operator=(const SpareBuffer&) = delete;
    ~SpareBuffer() { delete[] bytes_; }
    /// Null: a frame uses it, or there is none yet. The caller gives back what it gets.
    [[nodiscard]] std::byte* release() noexcept { return std::exchange(bytes_, nullptr); }
    void give_back(std::byte* bytes) noexcept { bytes_ = bytes; }
    /// True once: there is none yet, and the caller makes it and gives it back.
    [[nodiscard]] bool is_to_be_made() noexcept { return !std::exchange(made_, true); }

   private:
    std::byte* bytes_ = nullptr;
    bool made_ = false;
  };
  SpareBuffer spare_buffer;
  const std::size_t buffer_size;

  /// Opens the reserve descriptor, if it can.
  void keep_reserve() noexcept;
  /// Out of descriptors: accepts one client of `listening` in place of the reserve, and closes it. Returns 0 or an
  /// errno value: EAGAIN if nobody waits, EMFILE if there is no reserve.
  [[nodiscard]] int turn_away(int listening) noexcept;
  /// Reports that accepting fails, at most once in ten seconds.
  void report_starved(std::error_code error, const std::string& what) noexcept;

  void drain(std::chrono::nanoseconds limit, Task done);
  /// Severs the listeners that still accept those who waited when drain() was called.
  void sever_draining() noexcept;
  void drain(std::span<Listener* const> listeners, std::chrono::nanoseconds limit, Task done);
  /// One of its listeners is closed, and has no connection any more.
  void drained(ListenerDrain& drain) noexcept;

  /// Of connections in Stream::early_; here, since few ever have any.
  EarlyInput early;
  /// Not in there yet, but there is room for it.
  [[nodiscard]] EarlyInput::node_type new_early(std::span<const std::byte> bytes);

  Statistics statistics;  // counted by Stream and ListeningSocket

 private:
  void post_drain_tasks(const Stream& stream);

  Runtime& runtime_;
  std::vector<Acceptor*> acceptors_;
  Stream* streams_ = nullptr;
  std::unordered_multimap<const Stream*, Task> drain_tasks_;  // here, since few connections ever have one
  UniqueFd reserve_;
  std::uint64_t quiet_until_ = 0;
  [[nodiscard]] Acceptor* find_acceptor(bool draining) const noexcept;
  void end_drain() noexcept;
  void abort_drain();
  void abort_drain(const ListenerDrain& drain);

  bool draining_ = false;       // or it has drained
  bool drain_awaited_ = false;  // drained_ is to come
  Task drained_;
  Timer drain_limit_;
  std::vector<std::unique_ptr<ListenerDrain>> listener_drains_;
};

}  // namespace onloop::detail
