#pragma once
#include <onloop/loop_ops.h>
#include <onloop/descriptor.hpp>
#include <onloop/loop.hpp>

#include <cstdint>
#include <memory>
#include <vector>

#include "core/loop/loop_attachment.hpp"
#include "core/loop/set_attachment.hpp"

namespace onloop::detail {

class Runtime;
class Source;

/// The move of a context from its last loop to its next loop.
///
/// The constructor attaches everything to the next loop, while the last loop still watches everything. commit() then
/// takes everything off the last loop. If the object is destroyed before commit(), the context stays on its last loop
/// and nothing has changed.
///
/// If both loops can work with the native set of the context, the set stays. Then the cutover only replaces the
/// attachment between the set and its host.
///
/// It lives on the stack of Runtime::move_to() or Runtime::after_fork(). Thread: the context's.
class Cutover {
 public:
  /// Attaches to the next loop, and sets its deadline so that a turn is due there at once. Throws std::system_error
  /// that says what failed; nothing stays in the next loop then.
  ///
  /// @param keeps_set The native set stays.
  Cutover(Runtime& runtime, const Loop& loop, bool keeps_set);
  Cutover(const Cutover&) = delete;
  Cutover& operator=(const Cutover&) = delete;
  ~Cutover() { remove_watches(); }

  /// Takes everything off the last loop.
  void commit() noexcept;

 private:
  [[nodiscard]] LoopAttachment& next_sources() const noexcept;
  void attach_sources();
  void attach_deadline();
  void vacate(int fd) noexcept;
  void add(Source& source, int fd, std::uint32_t interest);
  void remove_watches() noexcept;
  void switch_watches() noexcept;
  [[nodiscard]] int switch_deadline() noexcept;

  Runtime& runtime_;
  std::unique_ptr<LoopAttachment> sources_;  // will watch the sources; null if the native set stays
  std::unique_ptr<SetAttachment> set_;       // to the next host of the native set, under aggregate hosting
  std::vector<onloop_watch*> watches_;       // the watches on sources_; the index is the descriptor
  Descriptor timer_;                         // a new timerfd for the deadline, if it is needed and there was none
  bool needs_timer_ = false;                 // the next loop needs a timerfd for the deadline
};

}  // namespace onloop::detail
