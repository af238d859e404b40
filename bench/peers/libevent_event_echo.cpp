// libevent with an event for each descriptor. recv and send are plain system calls.
#include <event2/event.h>
#include <event2/event_struct.h>

#include "plain_echo.hpp"

namespace {

using peer::PlainEcho;

event_base* base = nullptr;

struct Connection {
  explicit Connection(int fd) : echo(fd) {}

  PlainEcho echo;
  event watch{};
};

void on_ready(evutil_socket_t, short, void* argument);

void watch(Connection& connection, short events, event_callback_fn callback) {
  event_assign(&connection.watch, base, connection.echo.fd(), static_cast<short>(events | EV_PERSIST), callback,
               &connection);
  peer::require(event_add(&connection.watch, nullptr) == 0, "event_add");
}

void rewatch(Connection& connection, short events) {
  event_del(&connection.watch);
  watch(connection, events, on_ready);
}

void on_ready(evutil_socket_t, short, void* argument) {
  Connection& connection = *static_cast<Connection*>(argument);
  switch (connection.echo.step()) {
    case PlainEcho::Watch::same:
      break;
    case PlainEcho::Watch::readable:
      return rewatch(connection, EV_READ);
    case PlainEcho::Watch::writable:
      return rewatch(connection, EV_WRITE);
    case PlainEcho::Watch::over:
      event_del(&connection.watch);
      delete &connection;
  }
}

void on_connections(evutil_socket_t listener, short, void*) {
  for (int fd; (fd = peer::accept_next(listener)) >= 0;) watch(*new Connection{fd}, EV_READ, on_ready);
}

}  // namespace

int main(int argc, char** argv) {
  base = event_base_new();
  peer::require(base != nullptr, "event_base_new");
  Connection listener{peer::listen_on_loopback(peer::port_argument(argc, argv))};
  watch(listener, EV_READ, on_connections);
  peer::announce_socket(listener.echo.fd());
  return event_base_dispatch(base);
}
