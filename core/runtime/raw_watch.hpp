#pragma once
#include <sys/stat.h>
#include <onloop/function.hpp>
#include <onloop/watch.hpp>

#include <string>

#include "core/base/counted.hpp"
#include "core/runtime/source.hpp"

namespace onloop::detail {

/// The object behind a Watch: a descriptor of the application, and the callback for it.
///
/// The loop knows one source for each descriptor: the first watch. Later watches of the same descriptor join it in a
/// list. The first watch then wants what all of them want together, and calls the others after itself. If its handle is
/// destroyed before the others, the first watch stays as their source, and its own callback is not called any more. So
/// a single watch needs no list object besides itself.
///
/// The Watch handle owns it, and so do the list and the frames that call it. Thread: the context's.
class RawWatch final : public Source {
 public:
  RawWatch(Runtime& runtime, Function<void(Interest)> callback) noexcept
      : Source(runtime), callback_(std::move(callback)) {}

  /// Watches `fd`, or joins the watch of the same descriptor that is there already. Throws std::system_error with a
  /// text that begins with `what`.
  ///
  /// @param status What fstat(2) says of `fd`.
  void start(int fd, const struct stat& status, Interest interest, const std::string& what);
  void set_interest(Interest interest);
  void cancel() noexcept;
  /// The handle is destroyed: cancels the watch, and gives back the handle's share of the memory.
  void release() noexcept;
  [[nodiscard]] bool active() const noexcept { return active_; }

 private:
  void on_ready(std::uint32_t readiness) override;
  void on_watch_error(std::error_code error) noexcept override;
  void on_dropped() noexcept override { callback_ = nullptr; }
  [[nodiscard]] bool has_its_file() const noexcept override;
  bool lose_number() noexcept override;
  void sever() noexcept override { end_all(); }

  void join(RawWatch& first, std::uint32_t interest, const std::string& what);
  void call(std::uint32_t readiness);
  [[nodiscard]] std::uint32_t wanted_by_all() const noexcept;
  void end_all() noexcept;
  void forget_ended() noexcept;

  Function<void(Interest)> callback_;
  RawWatch* first_ = nullptr;  // the source that this watch has joined; null if this watch is the source
  Held<RawWatch> next_;        // the next watch in the list of those that have joined
  dev_t device_ = 0;           // with inode_: the file that is watched; only the source knows it
  ino_t inode_ = 0;
  std::uint8_t interest_ = 0;  // the directions that this watch itself wants
  bool active_ = false;
  bool noted_ = false;   // WatchedFiles has noted the descriptor
  bool handled_ = true;  // the handle exists; a source without a handle is dropped when the last watch ends
};

}  // namespace onloop::detail
