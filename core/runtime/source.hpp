#pragma once
#include <onloop/loop_ops.h>

#include <cstdint>
#include <system_error>

#include "core/base/counted.hpp"

namespace onloop::detail {

class Runtime;

/// The base of everything that watches one descriptor in a context: a connection, a listening socket, a watch, a child
/// process.
///
/// A source is counted. It is made with one owner, who gives back its share with drop(). Handles and frames that use
/// the source are further owners. A handle may be dropped on any thread. If it is the last owner, the source has been
/// cut off from its context already, and has released what it owned. All other calls are for the context's thread.
class Source : public SharedCounted {
 public:
  /// The runtime of its context, or null after it was cut off from its context.
  [[nodiscard]] Runtime* runtime() const noexcept { return runtime_; }
  /// The descriptor that it watches, or -1 while it watches none.
  [[nodiscard]] int fd() const noexcept { return fd_; }
  /// The directions that it wants to hear of.
  [[nodiscard]] std::uint32_t wanted() const noexcept { return wanted_; }
  /// True while user code that was called for this source is on the stack.
  [[nodiscard]] bool busy() const noexcept { return busy_; }

  /// Gives back the share of the first owner. While a frame is busy with the source, or while the source is in the list
  /// of what is ready, this is postponed.
  void drop() noexcept {
    if (busy_ || upcall_ == Upcall::collected_already) {
      postponed_ |= kDrop;
    } else {
      on_dropped();
      Held<Source>::drop(this);
    }
  }

  /// While one of these lives, user code that was called for this source is on the stack. A nested iteration of the
  /// loop does not call the source again, and the memory of the source stays.
  class Busy {
   public:
    explicit Busy(Source& source) noexcept : source_(source) { source_.busy_ = true; }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;
    [[gnu::always_inline]] ~Busy() { source_.leave_busy(); }

   private:
    Source& source_;
  };

 protected:
  /// What an up-call of the loop does with the source.
  enum class Upcall : std::uint8_t {
    collected,          // It puts the source into the list of what is ready.
    collected_already,  // The source is in that list.
    heard_at_once,      // It calls on_ready() at once.
  };

  explicit Source(Runtime& runtime, Upcall upcall = Upcall::collected) noexcept
      : SharedCounted(1), runtime_(&runtime), upcall_(upcall) {}
  /// The source no longer belongs to a context.
  void cut_off() noexcept { runtime_ = nullptr; }

 private:
  friend class Cutover;
  friend class DeferredList;
  friend class ReadyList;
  friend class Runtime;
  friend class SourceTable;
  friend class Turn;
  friend class Upcalls;
  /// Called when some of the directions that it wants are ready.
  virtual void on_ready(std::uint32_t readiness) = 0;
  /// Called later for a call of Runtime::defer().
  virtual void on_deferred() {}
  /// Called when the context is destroyed. The source must end the watch and everything else that would call back,
  /// without any callback, and must call cut_off().
  virtual void sever() noexcept = 0;
  /// Called when its callback threw on a foreign loop and the application does not handle exceptions itself. Returns
  /// true if the source was aborted because of this.
  virtual bool on_exception(std::error_code) noexcept { return false; }
  /// Called when its first owner has given it up and no frame is busy with it.
  virtual void on_dropped() noexcept {}
  /// Returns false if the number of its descriptor now belongs to another file.
  [[nodiscard]] virtual bool has_its_file() const noexcept { return true; }
  /// Called when its descriptor was closed without its knowledge and another source gets the number. The source ends
  /// the watch, does not touch the number any more, and returns true. It returns false if it can't work without the
  /// number.
  virtual bool lose_number() noexcept { return false; }
  /// Called when the loop can't watch what the source wants.
  virtual void on_watch_error(std::error_code) noexcept {}

  /// What was asked for while the source was busy_ or in the list of what is ready, and is done afterwards.
  enum Postponed : std::uint8_t { kDrop = 1, kDeferred = 2, kInterest = 4 };
  void do_postponed() noexcept;
  void leave_busy() noexcept {
    busy_ = false;
    if (postponed_) do_postponed();
  }
  static constexpr std::uint8_t kGone = 0x80;  // a readiness that no source ever wants

  int fd_ = -1;
  Runtime* runtime_;
  onloop_watch* watch_ = nullptr;
  Held<Source> next_deferred_;
  Source* next_ready_ = nullptr;
  std::uint8_t wanted_ = 0;  // the interest of the source
  std::uint8_t set_ = 0;     // the interest that the loop knows: it may still have READ that is no longer wanted
  std::uint8_t ready_ = 0;   // the readiness, while the source is in the list; kGone if it was unwatched meanwhile
  std::uint8_t postponed_ = 0;
  Upcall upcall_;
  bool deferred_ = false;  // in Turn's list of deferred calls
  bool busy_ = false;
};

}  // namespace onloop::detail
