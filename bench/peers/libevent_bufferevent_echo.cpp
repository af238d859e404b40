// libevent's own streams: bufferevents. Their input is moved to their output without a copy.
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

#include "peer.hpp"

namespace {

void on_read(bufferevent* stream, void*) {
  evbuffer* output = bufferevent_get_output(stream);
  evbuffer_add_buffer(output, bufferevent_get_input(stream));
  if (evbuffer_get_length(output) > peer::kBufferSize) bufferevent_disable(stream, EV_READ);
}

// Called when everything has been written.
void on_drained(bufferevent* stream, void*) {
  if (!(bufferevent_get_enabled(stream) & EV_READ)) bufferevent_enable(stream, EV_READ);
}

void on_end(bufferevent* stream, short, void*) {
  bufferevent_free(stream);
}

void on_connection(evconnlistener* listener, evutil_socket_t fd, sockaddr*, int, void*) {
  peer::set_nodelay(fd);
  bufferevent* stream = bufferevent_socket_new(evconnlistener_get_base(listener), fd, BEV_OPT_CLOSE_ON_FREE);
  peer::require(stream != nullptr, "bufferevent_socket_new");
  bufferevent_set_max_single_read(stream, peer::kBufferSize);
  bufferevent_set_max_single_write(stream, peer::kBufferSize);
  bufferevent_setcb(stream, on_read, on_drained, on_end, nullptr);
  bufferevent_enable(stream, EV_READ | EV_WRITE);
}

}  // namespace

int main(int argc, char** argv) {
  event_base* base = event_base_new();
  peer::require(base != nullptr, "event_base_new");
  const sockaddr_in address = peer::loopback(peer::port_argument(argc, argv));
  evconnlistener* listener =
      evconnlistener_new_bind(base, on_connection, nullptr, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, peer::kBacklog,
                              reinterpret_cast<const sockaddr*>(&address), sizeof address);
  if (listener == nullptr) peer::die("evconnlistener_new_bind");
  peer::announce_socket(evconnlistener_get_fd(listener));
  return event_base_dispatch(base);
}
