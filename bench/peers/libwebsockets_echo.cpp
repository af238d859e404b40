// libwebsockets as a server of a raw protocol of its own, on one of its loops.
//
//     libwebsockets_echo [PORT [LOOP]]     LOOP: poll (or none), libuv, glib
//     libwebsockets_echo --list-loops      prints each loop, and the reason if it can't be used
#include <libwebsockets.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "peer.hpp"

namespace {

struct Loop {
  const char* name;
  std::uint64_t option;
};

constexpr std::array kLoops{Loop{"poll", 0}, Loop{"libuv", LWS_SERVER_OPTION_LIBUV},
                            Loop{"glib", LWS_SERVER_OPTION_GLIB}};

// libwebsockets makes one for each connection and fills it with zeros.
struct Session {
  std::vector<unsigned char>* unsent;  // the data come after LWS_PRE bytes that lws_write needs
};

// libwebsockets may be written to only when it asks for it. Therefore a message is kept until then.
int on_received(lws* connection, Session& session, const unsigned char* data, std::size_t size) {
  session.unsent->insert(session.unsent->end(), data, data + size);
  if (session.unsent->size() > LWS_PRE + peer::kBufferSize) lws_rx_flow_control(connection, 0);
  return lws_callback_on_writable(connection) < 0 ? -1 : 0;
}

// lws_write keeps what the kernel doesn't take. It asks for more only when that is sent.
int on_writable(lws* connection, Session& session) {
  std::vector<unsigned char>& unsent = *session.unsent;
  if (unsent.size() == LWS_PRE) return 0;
  if (lws_write(connection, unsent.data() + LWS_PRE, unsent.size() - LWS_PRE, LWS_WRITE_RAW) < 0) return -1;
  if (unsent.size() > LWS_PRE + peer::kBufferSize) lws_rx_flow_control(connection, 1);
  unsent.resize(LWS_PRE);
  return 0;
}

// A result other than 0 closes the connection.
int on_event(lws* connection, lws_callback_reasons reason, void* user, void* data, std::size_t size) {
  Session* session = static_cast<Session*>(user);
  switch (reason) {
    case LWS_CALLBACK_RAW_ADOPT:
      session->unsent = new std::vector<unsigned char>(LWS_PRE);
      return 0;
    case LWS_CALLBACK_RAW_RX:
      return on_received(connection, *session, static_cast<unsigned char*>(data), size);
    case LWS_CALLBACK_RAW_WRITEABLE:
      return on_writable(connection, *session);
    case LWS_CALLBACK_RAW_CLOSE:
      delete session->unsent;
      return 0;
    default:
      return 0;
  }
}

const std::array<lws_protocols, 2> protocols{
    lws_protocols{"echo", on_event, sizeof(Session), peer::kBufferSize, 0, nullptr, 0},
    lws_protocols{nullptr, nullptr, 0, 0, 0, nullptr, 0}};

lws_context* make_context(const Loop& loop, int port) {
  lws_context_creation_info info{};
  info.iface = "127.0.0.1";
  info.port = port;
  info.protocols = protocols.data();
  info.listen_accept_role = "raw-skt";
  info.listen_accept_protocol = "echo";
  info.pt_serv_buf_size = static_cast<unsigned>(peer::kBufferSize);
  info.options =
      LWS_SERVER_OPTION_ADOPT_APPLY_LISTEN_ACCEPT_CONFIG | LWS_SERVER_OPTION_SKIP_SERVER_CANONICAL_NAME | loop.option;
  return lws_create_context(&info);
}

// Each loop is a plug-in in a package of its own. The contexts are not destroyed before the end of the process: if a
// context has never run, its destruction makes GLib log a warning.
int list_loops() {
  lws_set_log_level(0, nullptr);
  for (const Loop& loop : kLoops) {
    const bool usable = make_context(loop, CONTEXT_PORT_NO_LISTEN) != nullptr;
    std::printf("%s%s\n", loop.name, usable ? "" : "  not usable: its plug-in is not installed");
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view{argv[1]} == "--list-loops") return list_loops();
  const std::string_view name = argc > 2 ? argv[2] : "poll";
  const auto* loop = std::find_if(kLoops.begin(), kLoops.end(), [&](const Loop& known) { return known.name == name; });
  peer::require(loop != kLoops.end(), "looking up the loop");

  lws_set_log_level(LLL_ERR, nullptr);
  lws_context* context = make_context(*loop, peer::port_argument(argc, argv));
  peer::require(context != nullptr, "lws_create_context");
  const int port = lws_get_vhost_listen_port(lws_get_vhost_by_name(context, "default"));
  peer::announce(static_cast<std::uint16_t>(port));
  while (lws_service(context, 0) >= 0) {
  }
  return 1;
}
