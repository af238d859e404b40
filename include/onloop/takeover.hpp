#pragma once
/// @file
/// Takeover: another process gets the listeners and the live connections of a context, and no client notices.
///
/// A connected UNIX stream socket joins the two processes. They may get it in any way. One process calls
/// export_context(). The other process calls import_context() on a context of its own, on any loop:
///
///     onloop::export_context(context, socket, {{{"echo", echo}}}, [&](const onloop::TakeoverResult& result) {
///       if (!result.error) context.stop();
///     });
///     onloop::import_context(context, socket, {{{"echo", echo}}}, [&](const onloop::TakeoverResult& result) { … });
///
/// A takeover has two phases. First the exporting side stops serving what it hands over, and sends descriptors and
/// state. Then the importing side takes everything in, and acknowledges. Until the acknowledgement has arrived, the
/// exporting side owns everything. If anything fails on either side, it goes on serving. With the acknowledgement, the
/// importing side owns everything. There are never two owners. There is no owner only if a process has died.
/// docs/takeover.md describes each message that can be lost. Listening sockets are never closed, so no client is
/// refused: clients that arrive meanwhile wait in the backlog.
///
/// The following goes over with a connection: the bytes that are queued for it, the directions that have ended, whether
/// reading is paused, its Limits, the rest of its time-outs, its listener, and the state from
/// TakeoverOptions::Member::export_state.
///
/// The following does not go over. It stays with the exporting side and goes on there. drain() waits for the end of the
/// connections among it:
///
/// - timers, watches and tasks of the application
/// - connections that are still connecting
/// - connections of protocols that are not named
/// - connections whose export_state returns false
/// - adopted connections before on_open()
/// - connections in whose callback the application is iterating the loop
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

/// What takes part in a takeover. Both sides use this type.
struct ONLOOP_API TakeoverOptions {
  /// A protocol whose listeners and connections take part in the takeover.
  struct Member {
    /// The name by which both sides know the protocol. It has 1 to 255 bytes.
    std::string name;
    /// The protocol. It must live until the takeover has ended.
    Protocol& protocol;
    /// Puts the protocol's knowledge of this connection into `state`, at most 60,000 bytes. The function must not
    /// change the connection. If it returns false, the connection stays behind. If it throws, the takeover fails. If
    /// there is no function, every connection goes over with an empty state.
    std::function<bool(Connection& connection, std::vector<std::byte>& state)> export_state = {};
    /// Called for a connection that has arrived from the other process. This call takes the place of
    /// Protocol::on_open(). The connection is not served yet: make its state from `state`, and do not write. If the
    /// function throws, the takeover is refused. If the takeover fails later, the connection is destroyed without
    /// on_close(). If there is no function, nothing is called.
    std::function<void(Connection& connection, std::span<const std::byte> state)> import_state = {};
  };
  std::vector<Member> protocols;  ///< listeners and connections of other protocols stay behind
  /// The time limit of the whole takeover. It counts from the call on. The exporting side waits so long for the
  /// acknowledgement, and the importing side for everything to arrive. Bytes that trickle in do not extend it. The
  /// connections are not served during all that time.
  std::chrono::nanoseconds timeout = std::chrono::seconds{10};
};

/// How a takeover has ended. `done` of export_context() and of import_context() gets it.
struct ONLOOP_API TakeoverResult {
  std::error_code error;        ///< no error if the takeover succeeded
  std::string reason;           ///< why the takeover failed, as a message for people
  std::size_t connections = 0;  ///< connections that went over
  std::size_t left_behind = 0;  ///< exporting side: connections that stay
  std::size_t listeners = 0;    ///< listeners that went over
  /// A listener that came from the other process.
  struct Taken {
    std::string name;    ///< the name of its protocol
    Listener* listener;  ///< never null; the context owns it
  };
  std::vector<Taken> taken;  ///< importing side: the listeners that now belong to this context
  /// Importing side: how long nobody served the connections, by CLOCK_MONOTONIC.
  std::chrono::nanoseconds stall{0};
};

/// Hands over the listeners and connections of the named protocols to the process at the other end of `socket`. That
/// process must run as the same user (SO_PEERCRED). This function does not block.
///
/// While a connection is being handed over, Connection::write() returns Flow::closed, and the clocks of the connection
/// stand still. shutdown_write(), close() and abort() wait. They take effect if the takeover fails. If the takeover
/// fails, on_drain() also informs every protocol whose write was refused. Other changes of a connection after
/// export_state do not go over.
///
/// After the takeover the connections are gone from this context, without a further callback. Their states are
/// destroyed. The listeners are gone, too, and references to them are invalid. The file of a UNIX socket stays. It
/// belongs to the importing side, which unlinks it. If the application closes one of these listeners before the
/// takeover has ended, the takeover fails.
///
/// @param context The context that gives its listeners and connections away.
/// @param socket A connected UNIX stream socket. The function takes the descriptor, unless it throws.
/// @param options The protocols that take part, and the time limit. Only the export_state functions are used.
/// @param done Is called once, from the loop. It is not called if the context is destroyed first. Destroying the
/// context gives up the takeover if the other side has not acknowledged yet.
/// @throws std::system_error with EBADF, ENOTSOCK, ENOTCONN or EPROTOTYPE if `socket` is not a connected UNIX stream
/// socket. With EPERM if the other process runs as another user. With EALREADY if this context takes part in a takeover
/// already. With EINVAL if a name is empty, too long, or given twice.
ONLOOP_API void export_context(Context& context, int socket, TakeoverOptions options,
                               std::function<void(const TakeoverResult&)> done);

/// Takes over what the process at the other end of `socket` exports. The conditions are those of export_context(). Each
/// connection comes with import_state instead of on_open(), before the acknowledgement. An exception from import_state
/// refuses the whole takeover. A record that is cut short, too long, of another version or wrong in any other way also
/// refuses it.
///
/// If the exporting process dies after the acknowledgement, this side serves the connections all the same. It also does
/// so if the exporting process is silent for ten seconds after the acknowledgement, or for TakeoverOptions::timeout if
/// that is longer.
/// @param context The context that gets the listeners and connections.
/// @param socket A connected UNIX stream socket. The function takes the descriptor, unless it throws.
/// @param options The protocols that take part, and the time limit. Only the import_state functions are used.
/// @param done After a takeover that succeeds, it is called when this side serves the connections.
ONLOOP_API void import_context(Context& context, int socket, TakeoverOptions options,
                               std::function<void(const TakeoverResult&)> done);

}  // namespace onloop
