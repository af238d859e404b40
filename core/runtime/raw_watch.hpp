#pragma once
#include <sys/stat.h>
#include <onloop/function.hpp>
#include <onloop/watch.hpp>

#include <string>

#include "core/base/counted.hpp"
#include "core/runtime/source.hpp"

namespace onloop::detail {

/// What a Watch owns: a descriptor of the application's, and whom to call.
///
/// The loop knows one source for each descriptor: the first watch. Later watches of the same descriptor join it. The
/// first one then wants what all of them want together, and calls the others after itself. If its handle goes before
/// the others, it stays as their source and calls nobody itself. So a watch that is alone needs nothing but itself.
class RawWatch final : public Source {
 public:
  RawWatch(Runtime& runtime, Function<void(Interest)> callback) noexcept
      : Source(runtime), callback_(std::move(callback)) {}

  /// Watches `fd`, whose status is `status`. Throws std::system_error that begins with `what`.
  void start(int fd, const struct stat& status, Interest interest, const std::string& what);
  void set_interest(Interest interest);
  void cancel() noexcept;
  /// The handle goes.
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
  RawWatch* first_ = nullptr;  // the source, if it is another watch
  Held<RawWatch> next_;        // of those that have joined
  dev_t device_ = 0;           // the file that is watched; kept by the source
  ino_t inode_ = 0;
  std::uint8_t interest_ = 0;
  bool active_ = false;
  bool noted_ = false;   // in WatchedFiles
  bool handled_ = true;  // its handle is there; without, a source is dropped when its last watch ends
};

}  // namespace onloop::detail
