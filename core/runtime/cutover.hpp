#pragma once
#include <onloop/loop_ops.h>
#include <onloop/loop.hpp>

#include <cstdint>
#include <memory>
#include <vector>

#include "core/base/unique_fd.hpp"
#include "core/loop/loop_attachment.hpp"
#include "core/loop/set_attachment.hpp"

namespace onloop::detail {

class Runtime;
class Source;

/// Everything of a context on its next loop, while the last loop still has it. Until commit() the cutover can be given
/// up, and then nothing has happened.
///
/// Where both loops can do with the native set of the context, the set stays, and only the attachment around it is
/// another.
class Cutover {
 public:
  /// Attaches to the next loop, where a turn is due at once. Throws std::system_error that says what failed, and then
  /// nothing stays in the next loop.
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
  std::unique_ptr<LoopAttachment> sources_;  // watches the sources from then on; null where the set stays
  std::unique_ptr<SetAttachment> set_;       // to the loop that hosts the set, under aggregate hosting
  std::vector<onloop_watch*> watches_;       // on sources_, by descriptor
  UniqueFd timer_;                           // the deadline's there, if it had none before
  bool needs_timer_ = false;
};

}  // namespace onloop::detail
