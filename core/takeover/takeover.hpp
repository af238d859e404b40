#pragma once
#include <onloop/takeover.hpp>
#include <onloop/timer.hpp>
#include <onloop/watch.hpp>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "core/takeover/channel.hpp"
#include "core/takeover/record.hpp"

namespace onloop::detail {

class Net;
class Runtime;

/// One side of a takeover. Its owners are its context (Current), from start() to its end, and the frames that use it.
/// What a step throws ends it, and is told to the other side and to `done`.
class Takeover : public std::enable_shared_from_this<Takeover> {
 public:
  using Done = std::function<void(const TakeoverResult&)>;

  Takeover(Net& net, TakeoverOptions options, Done done);
  Takeover(const Takeover&) = delete;
  Takeover& operator=(const Takeover&) = delete;
  virtual ~Takeover() = default;

  /// Checks what the caller gave and starts one; takes `socket` unless it throws.
  static void start_export(Context& context, int socket, TakeoverOptions options, Done done);
  static void start_import(Context& context, int socket, TakeoverOptions options, Done done);

  /// In which the context takes part. One at a time.
  class Current;

  /// The context goes: ends, and `done` is not called.
  void sever() noexcept;
  /// In a forked child: ends there, and the parent does not notice.
  void abandon() noexcept;

 protected:
  virtual void on_frame(const Channel::Frame& frame) = 0;
  virtual void on_end() = 0;  // of what the other side has to say
  virtual void on_writable() {}
  /// Receiving failed. True: that is dealt with, and it goes on, or is over.
  virtual bool on_read_error(std::error_code error) = 0;
  /// Asked before it fails. False: the other side may be the owner already, so it ends in another way, or later.
  virtual bool may_fail(std::error_code error, const std::string& reason) = 0;
  /// It has failed: what was begun is taken back.
  virtual void undo() noexcept = 0;
  /// The context goes: what the other side has to know of it.
  virtual void on_severed() noexcept {}
  /// Lets go of what it holds; after undo(), too.
  virtual void release() noexcept = 0;

  /// Nothing of it happens any more: it has ended, or user code that it called has destroyed the context.
  [[nodiscard]] bool over() const noexcept { return over_; }
  [[nodiscard]] Runtime& runtime() const noexcept;
  [[nodiscard]] Channel& channel() noexcept { return *channel_; }
  /// Null if no such protocol takes part.
  [[nodiscard]] const TakeoverOptions::Member* member(std::string_view name) const noexcept;
  [[nodiscard]] const TakeoverOptions::Member* member(const Protocol* protocol) const noexcept;
  void want(Interest interest) {
    interest_ = interest;
    watch_.set(interest);
  }
  /// Takes what has come.
  void receive();
  /// Looks for nothing for a moment, and then receives again.
  void rest() noexcept;
  [[nodiscard]] std::chrono::nanoseconds timeout() const noexcept { return options_.timeout; }
  void no_limit() noexcept { limit_.cancel(); }
  void fail(std::error_code error, const std::string& reason);
  /// Ends it as a failure, whatever the other side does.
  void conclude(std::error_code error, const std::string& reason);
  /// Tells the other side. True: all of it is in that side's socket.
  bool give_up(const std::string& reason) noexcept;
  /// The other side has said that it gave up.
  [[nodiscard]] bool told() const noexcept { return told_; }
  /// It is done, or has failed: says so, and is over.
  void finish(const TakeoverResult& result);
  /// Runs a step from a callback of the loop.
  void step(const std::function<void()>& body);

  static constexpr std::chrono::milliseconds kMoment{5};  // after which what the kernel refused is tried again

  Net& net_;

 private:
  template <class Side>
  static void begin(Context& context, int socket, TakeoverOptions options, Done done, Interest first, const char* what);
  /// Takes the descriptor unless it throws.
  void start(UniqueFd socket, Interest interest);
  void on_ready(Interest ready);

  const TakeoverOptions options_;
  Done done_;
  std::unique_ptr<Channel> channel_;
  Watch watch_;
  Interest interest_ = Interest::none;
  Timer limit_;
  Timer rest_;
  bool given_up_ = false;
  bool told_ = false;
  bool over_ = false;
};

}  // namespace onloop::detail
