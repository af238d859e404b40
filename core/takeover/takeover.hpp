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

/// One side of a takeover: what Exporter and Importer have in common. It exchanges frames with the other side, keeps
/// the time limit, and calls `done` at the end.
///
/// Errors: each reaction is a step. An exception from a step ends the takeover. The other side and `done` get the
/// reason.
///
/// Ownership: the context (Current) owns the takeover from start() until its end. Each stack frame that uses it is a
/// further owner. Thread: every call is for the context's thread.
class Takeover : public std::enable_shared_from_this<Takeover> {
 public:
  using Done = std::function<void(const TakeoverResult&)>;

  Takeover(Net& net, TakeoverOptions options, Done done);
  Takeover(const Takeover&) = delete;
  Takeover& operator=(const Takeover&) = delete;
  virtual ~Takeover() = default;

  /// Does what export_context() says: checks the arguments, and starts an Exporter. Takes `socket` unless it throws.
  static void start_export(Context& context, int socket, TakeoverOptions options, Done done);
  /// The same for import_context() and an Importer.
  static void start_import(Context& context, int socket, TakeoverOptions options, Done done);

  /// Holds the takeover in which a context takes part. A context takes part in one takeover at a time.
  class Current;

  /// The context is being destroyed. Ends the takeover without calling `done`.
  void sever() noexcept;
  /// Called in a forked child. Ends the child's copy of the takeover, without touching what the parent shares.
  void abandon() noexcept;

 protected:
  /// A frame has arrived. It is not give_up: the base class handles give_up.
  virtual void on_frame(const Channel::Frame& frame) = 0;
  /// The other side has closed its end, and every frame that it sent was handled.
  virtual void on_end() = 0;
  /// The socket is writable.
  virtual void on_writable() {}
  /// Receiving has failed.
  /// @return True if this side has dealt with the error: the takeover goes on, or is over. False if it must fail.
  virtual bool on_read_error(std::error_code error) = 0;
  /// Asked before the takeover fails.
  /// @return False if the other side may be the owner already. Then the takeover ends in another way, or later.
  virtual bool may_fail(std::error_code error, const std::string& reason) = 0;
  /// The takeover has failed. Takes back what this side has begun.
  virtual void undo() noexcept = 0;
  /// The context is being destroyed. Tells the other side what it must know.
  virtual void on_severed() noexcept {}
  /// Gives up the ownership of listeners and connections. Called at every end, after undo() if that is called.
  virtual void release() noexcept = 0;

  /// @return True if the takeover has ended, or if a callback of the application has destroyed the context. Then
  /// nothing more may happen.
  [[nodiscard]] bool over() const noexcept { return over_; }
  [[nodiscard]] Runtime& runtime() const noexcept;
  [[nodiscard]] Channel& channel() noexcept { return *channel_; }
  /// @return The protocol that takes part under this name, or null if there is none.
  [[nodiscard]] const TakeoverOptions::Member* member(std::string_view name) const noexcept;
  /// @return The entry of this protocol, or null if the protocol does not take part.
  [[nodiscard]] const TakeoverOptions::Member* member(const Protocol* protocol) const noexcept;
  /// Watches the socket for `interest` from now on.
  void want(Interest interest) {
    interest_ = interest;
    watch_.set(interest);
  }
  /// Reads the socket, and handles each complete frame.
  void receive();
  /// Stops watching the socket for kMoment. Then watches it again and calls receive().
  void rest() noexcept;
  [[nodiscard]] std::chrono::nanoseconds timeout() const noexcept { return options_.timeout; }
  /// Cancels the time limit of the takeover.
  void no_limit() noexcept { limit_.cancel(); }
  /// Ends the takeover as a failure if may_fail() allows this.
  void fail(std::error_code error, const std::string& reason);
  /// Ends the takeover as a failure in any case: tells the other side, undoes what was begun, and calls `done`.
  void conclude(std::error_code error, const std::string& reason);
  /// Sends give_up with the reason to the other side. Later calls send the rest of this frame.
  /// @return True if all of the frame is in the socket of the other side.
  bool give_up(const std::string& reason) noexcept;
  /// @return True if the other side has sent give_up.
  [[nodiscard]] bool told() const noexcept { return told_; }
  /// Ends the takeover, as a success or as a failure, and calls `done`.
  void finish(const TakeoverResult& result);
  /// Runs `body`, which a callback of the loop wants to do. An exception from `body` ends the takeover by fail(). If
  /// the takeover is over, the exception goes to the loop's caller instead.
  void step(const std::function<void()>& body);

  static constexpr std::chrono::milliseconds kMoment{5};  // the time until what the kernel refused is tried again

  Net& net_;

 private:
  /// Checks the arguments and starts a Side, which is Exporter or Importer.
  template <class Side>
  static void begin(Context& context, int socket, TakeoverOptions options, Done done, Interest first, const char* what);
  /// Starts to watch `socket` and the time limit. Takes the descriptor unless it throws.
  void start(Descriptor socket, Interest interest);
  void on_ready(Interest ready);

  const TakeoverOptions options_;
  Done done_;
  std::unique_ptr<Channel> channel_;
  Watch watch_;
  Interest interest_ = Interest::none;
  Timer limit_;
  Timer rest_;
  bool given_up_ = false;  // give_up was queued or sent by this side
  bool told_ = false;      // give_up was received
  bool over_ = false;
};

}  // namespace onloop::detail
