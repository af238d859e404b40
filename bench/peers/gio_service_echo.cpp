// GLib's own streams: GSocketService, and the asynchronous operations of GInputStream and GOutputStream.
#include <gio/gio.h>

#include <array>

#include "peer.hpp"

namespace {

struct Session {
  GSocketConnection* connection;
  std::array<char, peer::kBufferSize> buffer;

  [[nodiscard]] GInputStream* input() const { return g_io_stream_get_input_stream(G_IO_STREAM(connection)); }
  [[nodiscard]] GOutputStream* output() const { return g_io_stream_get_output_stream(G_IO_STREAM(connection)); }
};

void end(Session* session) {
  g_io_stream_close(G_IO_STREAM(session->connection), nullptr, nullptr);
  g_object_unref(session->connection);
  delete session;
}

void read(Session* session);

void on_written(GObject* output, GAsyncResult* result, gpointer argument) {
  auto* session = static_cast<Session*>(argument);
  if (!g_output_stream_write_all_finish(G_OUTPUT_STREAM(output), result, nullptr, nullptr)) return end(session);
  read(session);
}

void on_read(GObject* input, GAsyncResult* result, gpointer argument) {
  auto* session = static_cast<Session*>(argument);
  const gssize count = g_input_stream_read_finish(G_INPUT_STREAM(input), result, nullptr);
  if (count <= 0) return end(session);
  g_output_stream_write_all_async(session->output(), session->buffer.data(), static_cast<gsize>(count),
                                  G_PRIORITY_DEFAULT, nullptr, on_written, session);
}

void read(Session* session) {
  g_input_stream_read_async(session->input(), session->buffer.data(), session->buffer.size(), G_PRIORITY_DEFAULT,
                            nullptr, on_read, session);
}

gboolean on_incoming(GSocketService*, GSocketConnection* connection, GObject*, gpointer) {
  g_socket_set_option(g_socket_connection_get_socket(connection), IPPROTO_TCP, TCP_NODELAY, 1, nullptr);
  auto* session = new Session;  // the buffer is not initialised
  session->connection = G_SOCKET_CONNECTION(g_object_ref(connection));
  read(session);
  return TRUE;
}

}  // namespace

int main(int argc, char** argv) {
  GSocketService* service = g_socket_service_new();
  GInetAddress* host = g_inet_address_new_loopback(G_SOCKET_FAMILY_IPV4);
  GSocketAddress* asked = g_inet_socket_address_new(host, peer::port_argument(argc, argv));
  GSocketAddress* bound = nullptr;
  g_socket_listener_set_backlog(G_SOCKET_LISTENER(service), peer::kBacklog);
  peer::require(g_socket_listener_add_address(G_SOCKET_LISTENER(service), asked, G_SOCKET_TYPE_STREAM,
                                              G_SOCKET_PROTOCOL_TCP, nullptr, &bound, nullptr),
                "g_socket_listener_add_address");
  g_signal_connect(service, "incoming", G_CALLBACK(on_incoming), nullptr);
  GMainLoop* loop = g_main_loop_new(nullptr, FALSE);
  peer::announce(g_inet_socket_address_get_port(G_INET_SOCKET_ADDRESS(bound)));
  g_main_loop_run(loop);
  return 0;
}
