#pragma once
#include <onloop/options.hpp>

#include <cstdint>
#include <string>

namespace onloop::detail {

/// A listener as it stands while it is frozen: what another process needs to go on with its sockets.
struct ListenerSnapshot {
  Limits limits;
  std::uint64_t max_connections = 0;
  bool paused = false;
  std::uint32_t sockets = 0;  // how many
  // The file of a UNIX socket, if it is this context's to unlink.
  std::string path;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
};

/// A connection as it stands while it is frozen: what another process needs to go on with its socket.
struct ConnectionSnapshot {
  bool closing = false;  // close() was called
  bool paused = false;
  bool full = false;
  bool waiting = false;
  bool drain_due = false;
  bool read_ended = false;
  bool write_ended = false;
  bool fin_sent = false;
  Limits limits;
  std::uint64_t idle_ns = 0;   // the time-out in force; 0: none
  std::uint64_t clock_ns = 0;  // what is left of it, or of the linger time; 0: no clock
  std::uint64_t queued = 0;    // bytes
};

}  // namespace onloop::detail
