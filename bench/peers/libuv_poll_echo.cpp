// libuv with a uv_poll_t for each descriptor. recv and send are plain system calls.
#include <uv.h>

#include "plain_echo.hpp"

namespace {

using peer::PlainEcho;

struct Connection {
  explicit Connection(int fd) : echo(fd) {}

  PlainEcho echo;
  uv_poll_t poll{};
};

void watch(Connection& connection, int events, uv_poll_cb callback) {
  if (uv_poll_start(&connection.poll, events, callback) != 0) peer::die("uv_poll_start");
}

void end(Connection& connection) {
  uv_close(reinterpret_cast<uv_handle_t*>(&connection.poll),
           [](uv_handle_t* handle) { delete static_cast<Connection*>(handle->data); });
}

// After a reset the status is an error. recv finds the error too.
void on_ready(uv_poll_t* poll, int, int) {
  Connection& connection = *static_cast<Connection*>(poll->data);
  switch (connection.echo.step()) {
    case PlainEcho::Watch::same:
      break;
    case PlainEcho::Watch::readable:
      return watch(connection, UV_READABLE, on_ready);
    case PlainEcho::Watch::writable:
      return watch(connection, UV_WRITABLE, on_ready);
    case PlainEcho::Watch::over:
      return end(connection);
  }
}

void add(uv_loop_t* loop, int fd, uv_poll_cb callback) {
  auto* connection = new Connection{fd};
  if (uv_poll_init(loop, &connection->poll, fd) != 0) peer::die("uv_poll_init");
  connection->poll.data = connection;
  watch(*connection, UV_READABLE, callback);
}

void on_connections(uv_poll_t* poll, int, int) {
  const int listener = static_cast<Connection*>(poll->data)->echo.fd();
  for (int fd; (fd = peer::accept_next(listener)) >= 0;) add(poll->loop, fd, on_ready);
}

}  // namespace

int main(int argc, char** argv) {
  uv_loop_t* loop = uv_default_loop();
  const int listener = peer::listen_on_loopback(peer::port_argument(argc, argv));
  add(loop, listener, on_connections);
  peer::announce_socket(listener);
  return uv_run(loop, UV_RUN_DEFAULT);
}
