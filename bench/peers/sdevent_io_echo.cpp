// sd-event with an io source for each descriptor. recv and send are plain system calls.
#include <systemd/sd-event.h>

#include "plain_echo.hpp"

namespace {

using peer::PlainEcho;

struct Connection {
  explicit Connection(int fd) : echo(fd) {}

  PlainEcho echo;
  sd_event_source* source = nullptr;
};

void watch(Connection& connection, std::uint32_t events) {
  peer::require(sd_event_source_set_io_events(connection.source, events) >= 0, "sd_event_source_set_io_events");
}

int on_ready(sd_event_source*, int, std::uint32_t, void* argument) {
  Connection& connection = *static_cast<Connection*>(argument);
  switch (connection.echo.step()) {
    case PlainEcho::Watch::same:
      break;
    case PlainEcho::Watch::readable:
      watch(connection, EPOLLIN);
      break;
    case PlainEcho::Watch::writable:
      watch(connection, EPOLLOUT);
      break;
    case PlainEcho::Watch::over:
      sd_event_source_disable_unref(connection.source);
      delete &connection;
  }
  return 0;
}

int on_connections(sd_event_source* source, int listener, std::uint32_t, void*) {
  for (int fd; (fd = peer::accept_next(listener)) >= 0;) {
    auto* connection = new Connection{fd};
    peer::require(
        sd_event_add_io(sd_event_source_get_event(source), &connection->source, fd, EPOLLIN, on_ready, connection) >= 0,
        "sd_event_add_io");
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  sd_event* event = nullptr;
  peer::require(sd_event_new(&event) >= 0, "sd_event_new");
  const int listener = peer::listen_on_loopback(peer::port_argument(argc, argv));
  peer::require(sd_event_add_io(event, nullptr, listener, EPOLLIN, on_connections, nullptr) >= 0, "sd_event_add_io");
  peer::announce_socket(listener);
  return sd_event_loop(event);
}
