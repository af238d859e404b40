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
class Takeover;

/// Bytes that were read from a socket before it was adopted, and how many of them are still to be delivered.
struct EarlyBytes {
  std::vector<std::byte> bytes;
  std::span<const std::byte> left;
};
using EarlyInput = std::unordered_map<const Stream*, EarlyBytes>;

/// Some listeners of a context that drain, with the connections that they have accepted.
struct ListenerDrain {
  std::size_t acceptors = 0;  // that have connections
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
  void after_fork() noexcept override;
  [[nodiscard]] Runtime& runtime() noexcept { return runtime_; }

  // ---- who is there: kept by Acceptor and Stream themselves ----
  void add(Acceptor& acceptor) { acceptors_.push_back(&acceptor); }
  void remove(Acceptor& acceptor) noexcept { std::erase(acceptors_, &acceptor); }
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

  /// In which the context takes part, if there is one.
  std::shared_ptr<Takeover> takeover;

  /// The context's read buffer while no frame uses it, else null.
  std::unique_ptr<std::byte[]> spare_buffer;
  const std::size_t buffer_size;

  /// Opens the reserve descriptor, if it can.
  void keep_reserve() noexcept;
  /// Out of descriptors: accepts one client of `listening` in place of the reserve, and closes it. False: no reserve.
  [[nodiscard]] bool turn_away(int listening) noexcept;
  /// Reports that accepting fails, at most once in ten seconds.
  void report_starved(std::error_code error, const std::string& what) noexcept;

  void drain(std::chrono::nanoseconds limit, Task done);
  void drain(std::span<Listener* const> listeners, std::chrono::nanoseconds limit, Task done);
  /// One of its listeners has no connection any more.
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
  bool draining_ = false;
  Task drained_;
  Timer drain_limit_;
  std::vector<std::unique_ptr<ListenerDrain>> listener_drains_;
};

}  // namespace onloop::detail
