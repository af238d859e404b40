#pragma once
#include <onloop/loop_ops.h>

#include <cstdint>
#include <system_error>

#include "core/base/counted.hpp"

namespace onloop::detail {

class Runtime;

/// Whoever watches one descriptor in a context: a connection, a listening socket, a raw watch.
///
/// A source is counted. It is made with one owner, whose share drop() gives back. Handles and frames that use it are
/// further owners. A handle may be dropped on any thread, since by then the source is an empty husk.
class Source : public SharedCounted {
 public:
  /// Null once it was cut off from its context.
  [[nodiscard]] Runtime* runtime() const noexcept { return runtime_; }
  /// -1 while it watches none.
  [[nodiscard]] int fd() const noexcept { return fd_; }
  [[nodiscard]] std::uint32_t wanted() const noexcept { return wanted_; }
  /// User code is on the stack for it.
  [[nodiscard]] bool busy() const noexcept { return busy_; }

  /// Gives back the share of the owner. While a frame is busy with the source, or the source is in the list of what is
  /// ready, that is postponed.
  void drop() noexcept {
    if (busy_ || upcall_ == Upcall::collected_already) {
      postponed_ |= kDrop;
    } else {
      on_dropped();
      Held<Source>::drop(this);
    }
  }

  /// While one of these lives, user code is on the stack for this source: it is not called again from a nested
  /// iteration of the loop, and its memory stays.
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
  friend class Turn;
  friend class Upcalls;
  /// Some of the directions that it wants are ready.
  virtual void on_ready(std::uint32_t readiness) = 0;
  /// What it had deferred by Runtime::defer.
  virtual void on_deferred() {}
  /// The context goes: end the watch and everything else that would call back, silently, and cut_off().
  virtual void sever() noexcept = 0;
  /// Its callback threw on a foreign loop, and the application does not handle exceptions itself.
  /// True if it was aborted for that.
  virtual bool on_exception(std::error_code) noexcept { return false; }
  /// Its owner has let go, and no frame is busy with it.
  virtual void on_dropped() noexcept {}
  /// False: the number of its descriptor is another file's now.
  [[nodiscard]] virtual bool has_its_file() const noexcept { return true; }
  /// Its descriptor was closed behind its back, and another source gets the number. Ends the watch, leaves the number
  /// alone, and gives true; false if it can't do without.
  virtual bool lose_number() noexcept { return false; }
  /// The loop can't watch what it wants.
  virtual void on_watch_error(std::error_code) noexcept {}

  /// What came up while it was busy_ or in the list of what is ready.
  enum Postponed : std::uint8_t { kDrop = 1, kDeferred = 2, kInterest = 4 };
  void do_postponed() noexcept;
  void leave_busy() noexcept {
    busy_ = false;
    if (postponed_) do_postponed();
  }
  static constexpr std::uint8_t kGone = 0x80;  // readiness that nobody wants

  int fd_ = -1;
  Runtime* runtime_;
  onloop_watch* watch_ = nullptr;
  Held<Source> next_deferred_;
  Source* next_ready_ = nullptr;
  std::uint8_t wanted_ = 0;  // interest by our own books
  std::uint8_t set_ = 0;     // interest that the loop knows: it may still have READ that is wanted no more
  std::uint8_t ready_ = 0;   // readiness, while it is in the list; kGone if it was unwatched meanwhile
  std::uint8_t postponed_ = 0;
  Upcall upcall_;
  bool deferred_ = false;  // in Turn's list of deferred calls
  bool busy_ = false;
};

}  // namespace onloop::detail
