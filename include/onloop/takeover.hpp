#pragma once
/// Takeover: another process gets the listeners and the live connections of a context, and no client notices.
///
/// The two processes are joined by a connected UNIX stream socket, however they came by it. One calls
/// export_context(), the other import_context() on a context of its own, on any loop:
///
///     onloop::export_context(context, socket, {{{"echo", echo}}}, [&](const onloop::TakeoverResult& result) {
///       if (!result.error) context.stop();
///     });
///     onloop::import_context(context, socket, {{{"echo", echo}}}, [&](const onloop::TakeoverResult& result) { … });
///
/// Two phases. The exporting side stops serving what it hands over, and sends descriptors and state. The importing side
/// takes everything in, then acknowledges. Until the acknowledgement has come the exporting side owns all, and goes on
/// serving if anything fails, here or there; with it, the importing side owns all. At no moment are there two owners,
/// and there is none only if a process has died. docs/takeover.md says it for each message that can be lost. Listening
/// sockets are never closed, so no client is refused: those that come meanwhile wait in the backlog.
///
/// What comes along with a connection: what is queued for it, which directions have ended, whether reading is paused,
/// Limits, what is left of its time-outs, its listener, and what TakeoverOptions::Member::export_state says of it. What
/// does not: timers, watches and tasks of the application, connections that are still connecting, connections of
/// protocols that are not named or whose export_state returns false, adopted ones before on_open(), and those in whose
/// callback the application is iterating the loop. They stay, and go on; drain() waits for their end.
#include <onloop/export.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <system_error>
#include <vector>

namespace onloop {

class Connection;
class Context;
class Listener;
class Protocol;

struct ONLOOP_API TakeoverOptions {
  /// A protocol whose listeners and connections take part.
  struct Member {
    /// Both sides know the protocol by this name, of 1 to 255 bytes.
    std::string name;
    /// Must live until the takeover is over.
    Protocol& protocol;
    /// Puts what the protocol knows of this connection into `state`, at most 60,000 bytes. The function must not change
    /// the connection. If it returns false, the connection stays behind. If it throws, the takeover fails. Without a
    /// function, every connection goes over with an empty state.
    std::function<bool(Connection& connection, std::vector<std::byte>& state)> export_state = {};
    /// A connection has come from the other process. This call takes the place of Protocol::on_open(). The connection
    /// is not served yet: make its state from `state`, and do not write. If the function throws, the takeover is
    /// refused. If the takeover fails, the connection goes without on_close(). Without a function, nothing is called.
    std::function<void(Connection& connection, std::span<const std::byte> state)> import_state = {};
  };
  std::vector<Member> protocols;
  /// How long, from the call on, the exporting side waits for the acknowledgement, and the importing side for
  /// everything to arrive. It is for the whole, whatever trickles in meanwhile: connections stand still all that time.
  std::chrono::nanoseconds timeout = std::chrono::seconds{10};
};

struct ONLOOP_API TakeoverResult {
  std::error_code error;        ///< none: it is done
  std::string reason;           ///< why not, in words
  std::size_t connections = 0;  ///< that went over
  std::size_t left_behind = 0;  ///< exporting: connections that stay
  std::size_t listeners = 0;    ///< that went over
  struct Taken {
    std::string name;  ///< of its protocol
    Listener* listener;
  };
  std::vector<Taken> taken;  ///< importing: those listeners, now this context's
  /// Importing: how long nobody served them, by CLOCK_MONOTONIC.
  std::chrono::nanoseconds stall{0};
};

/// Hands over the listeners and connections of the named protocols to the process at the other end of `socket`, which
/// must run as the same user (SO_PEERCRED). Takes the descriptor if it does not throw; does not block: `done` is called
/// once, from the loop, unless the context is destroyed before, which gives up if the other side has not acknowledged
/// yet. Throws std::system_error: EBADF, ENOTSOCK, ENOTCONN, EPROTOTYPE (not a connected UNIX stream socket), EPERM
/// (another user), EALREADY (this context takes part in a takeover already), EINVAL (a name is empty, too long, or
/// comes twice).
///
/// While a connection is being handed over, Connection::write() returns Flow::closed, and shutdown_write(), close() and
/// abort() wait: they come into force if the takeover fails, and on_drain() then tells whoever had a write refused.
/// What else is changed of it after export_state does not go over. Its clocks stand still. Once it is done, the
/// connection is gone from this context: without a further callback, its state destroyed. So is a listener, whose
/// reference is invalid then; the file of a UNIX socket stays, and is the importing side's to unlink. Closing a
/// listener before that ends the takeover.
ONLOOP_API void export_context(Context& context, int socket, TakeoverOptions options,
                               std::function<void(const TakeoverResult&)> done);

/// Takes over what the process at the other end of `socket` exports; the same conditions. Each connection comes with
/// import_state instead of on_open(), before the acknowledgement; what that throws refuses the whole takeover.
/// A record that is cut short, too long, of another version, or in any way not what it should be is refused likewise.
/// `done` comes when the connections are being served here. If the exporting process dies after the acknowledgement, or
/// is silent for ten seconds (or the time-out, if that is longer), they are served here all the same.
ONLOOP_API void import_context(Context& context, int socket, TakeoverOptions options,
                               std::function<void(const TakeoverResult&)> done);

}  // namespace onloop
