#pragma once
#include <memory>

#include "core/loop/loop_attachment.hpp"
#include "core/loop/set_attachment.hpp"

namespace onloop::detail {

class Runtime;

/// How a context is attached to its loop: directly or, under aggregate hosting, by a native set that the loop hosts.
class Attachments {
 public:
  /// The attachment that watches the sources: to the loop, or to a native set under aggregate hosting. These functions
  /// throw std::system_error that says what failed.
  [[nodiscard]] static std::unique_ptr<LoopAttachment> for_sources(Runtime& runtime, const Loop& loop);
  /// The attachment to the loop that hosts `set`. Null if the loop watches the sources itself.
  [[nodiscard]] static std::unique_ptr<SetAttachment> for_set(Runtime& runtime, const Loop& loop, LoopAttachment& set);

  Attachments(Runtime& runtime, const Loop& loop);

  [[nodiscard]] bool attached() const noexcept { return sources_ != nullptr; }
  [[nodiscard]] bool is_aggregate() const noexcept { return set_ != nullptr; }
  /// Watches the sources.
  [[nodiscard]] LoopAttachment& sources() const noexcept { return *sources_; }
  /// To the loop that was asked for, which is the one that is run.
  [[nodiscard]] LoopAttachment& driven() const noexcept { return *driven_; }

  /// Detaches from the last loop. The attachment that watches the sources stays if `sources` is null.
  void replace(std::unique_ptr<LoopAttachment> sources, std::unique_ptr<SetAttachment> set) noexcept;
  /// In a forked child: from here on a removal reaches no loop of the parent's.
  void abandon() noexcept;
  void detach() noexcept;

 private:
  void find_driven() noexcept { driven_ = set_ ? &set_->attachment() : sources_.get(); }

  std::unique_ptr<LoopAttachment> sources_;
  std::unique_ptr<SetAttachment> set_;
  LoopAttachment* driven_ = nullptr;  // sources_, or within set_
};

}  // namespace onloop::detail
