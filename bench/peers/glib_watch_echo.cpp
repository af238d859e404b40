// GLib with a GSource for each descriptor. recv and send are plain system calls.
#include <glib-unix.h>
#include <glib.h>

#include "plain_echo.hpp"

namespace {

using peer::PlainEcho;

// This peer has its own kind of source, since the events of a source by g_unix_fd_source_new can't be changed.
struct Connection {
  GSource source;  // must be first: GLib allocates this struct as a source
  gpointer tag;
  PlainEcho* echo;
};

gboolean dispatch(GSource* source, GSourceFunc, gpointer) {
  Connection& connection = *reinterpret_cast<Connection*>(source);
  switch (connection.echo->step()) {
    case PlainEcho::Watch::same:
      break;
    case PlainEcho::Watch::readable:
      g_source_modify_unix_fd(source, connection.tag, G_IO_IN);
      break;
    case PlainEcho::Watch::writable:
      g_source_modify_unix_fd(source, connection.tag, G_IO_OUT);
      break;
    case PlainEcho::Watch::over:
      return G_SOURCE_REMOVE;
  }
  return G_SOURCE_CONTINUE;
}

void finalize(GSource* source) {
  delete reinterpret_cast<Connection*>(source)->echo;
}

GSourceFuncs functions{nullptr, nullptr, dispatch, finalize, nullptr, nullptr};

void add(int fd) {
  GSource* source = g_source_new(&functions, sizeof(Connection));
  Connection& connection = *reinterpret_cast<Connection*>(source);
  connection.tag = g_source_add_unix_fd(source, fd, G_IO_IN);
  connection.echo = new PlainEcho{fd};
  // Around the dispatch of a source that may not recurse, GLib takes its descriptor out of the set and wakes itself up.
  // This costs two more writes and one more read for each message. A source that runs no main loop in its callback may
  // safely recurse.
  g_source_set_can_recurse(source, TRUE);
  g_source_attach(source, nullptr);
  g_source_unref(source);
}

gboolean on_connections(gint listener, GIOCondition, gpointer) {
  for (int fd; (fd = peer::accept_next(listener)) >= 0;) add(fd);
  return G_SOURCE_CONTINUE;
}

}  // namespace

int main(int argc, char** argv) {
  GMainLoop* loop = g_main_loop_new(nullptr, FALSE);
  const int listener = peer::listen_on_loopback(peer::port_argument(argc, argv));
  g_unix_fd_add(listener, G_IO_IN, on_connections, nullptr);
  peer::announce_socket(listener);
  g_main_loop_run(loop);
  return 0;
}
