#pragma once
#include <memory>

#include "core/loop/loop_attachment.hpp"
#include "core/loop/set_attachment.hpp"

namespace onloop::detail {

class Runtime;

/// The attachments of a context to its loop. Under direct hosting there is one, to the loop. Under aggregate hosting
/// there are two: the native set watches the sources, and the loop watches the native set.
///
/// The Runtime owns it. Thread: the context's.
class Attachments {
 public:
  /// Makes the attachment that watches the sources: to the loop, or to a native set under aggregate hosting. Throws
  /// std::system_error that says what failed.
  [[nodiscard]] static std::unique_ptr<LoopAttachment> for_sources(Runtime& runtime, const Loop& loop);
  /// Makes the attachment to the loop that hosts `set`. The result is null if the loop watches the sources itself.
  /// Throws std::system_error that says what failed.
  [[nodiscard]] static std::unique_ptr<SetAttachment> for_set(Runtime& runtime, const Loop& loop, LoopAttachment& set);

  Attachments(Runtime& runtime, const Loop& loop);

  /// True until detach().
  [[nodiscard]] bool attached() const noexcept { return sources_ != nullptr; }
  /// True under aggregate hosting.
  [[nodiscard]] bool is_aggregate() const noexcept { return set_ != nullptr; }
  /// The attachment that watches the sources.
  [[nodiscard]] LoopAttachment& sources() const noexcept { return *sources_; }
  /// The attachment to the loop that the application has chosen. Context::run() runs this loop.
  [[nodiscard]] LoopAttachment& driven() const noexcept { return *driven_; }

  /// Detaches from the last loop, and uses these attachments from now on. If `sources` is null, the old attachment that
  /// watches the sources stays.
  void replace(std::unique_ptr<LoopAttachment> sources, std::unique_ptr<SetAttachment> set) noexcept;
  /// Gives up the loops of the parent, in a forked child. From here on the removal of a watch does not reach them.
  void abandon() noexcept;
  /// Detaches from everything.
  void detach() noexcept;

 private:
  void find_driven() noexcept { driven_ = set_ ? &set_->attachment() : sources_.get(); }

  std::unique_ptr<LoopAttachment> sources_;
  std::unique_ptr<SetAttachment> set_;
  LoopAttachment* driven_ = nullptr;  // points to *sources_, or into *set_
};

}  // namespace onloop::detail
