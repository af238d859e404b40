#pragma once
#include <onloop/options.hpp>

#include <cstdint>
#include <string>

namespace onloop::detail {

/// The state of a frozen listener. Another process needs this state to go on with the sockets of the listener.
struct ListenerSnapshot {
  Limits limits;
  std::uint64_t max_connections = 0;
  bool paused = false;
  std::uint32_t sockets = 0;  // the number of sockets
  // The file of a UNIX socket. The path is empty if this context must not unlink the file.
  std::string path;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
};

/// The state of a frozen connection. Another process needs this state to go on with the socket. Stream has members of
/// the same names.
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
  std::uint64_t idle_ns = 0;   // the idle time-out that is in force; 0: none
  std::uint64_t clock_ns = 0;  // the rest of the idle time-out or of the linger time; 0: no clock runs
  std::uint64_t queued = 0;    // bytes in the write queue
};

}  // namespace onloop::detail
