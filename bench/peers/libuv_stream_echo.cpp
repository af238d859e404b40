// libuv's own streams: uv_tcp_t. There are two ways. By default the program does what libuv's guide shows: it allocates
// a buffer for each read, and uv_write sends it. With "try" as the second argument it does what an expert does: it
// calls uv_try_write at once, and queues only the rest.
#include <uv.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "peer.hpp"

namespace {

// The buffer has data only while a callback runs, so all connections share it.
std::array<char, peer::kBufferSize> buffer;

struct Connection {
  uv_tcp_t tcp;  // must be first: its address is also that of the stream
  uv_write_t write;
  std::vector<char> unsent;  // usually empty; while it is not, nothing is read
};

void end(uv_stream_t* stream) {
  auto* handle = reinterpret_cast<uv_handle_t*>(stream);
  if (uv_is_closing(handle)) return;
  uv_close(handle, [](uv_handle_t* closed) { delete reinterpret_cast<Connection*>(closed); });
}

void read(uv_stream_t* stream);

void on_written(uv_write_t* request, int status) {
  if (status != 0) return end(request->handle);
  reinterpret_cast<Connection*>(request->handle)->unsent.clear();
  read(request->handle);
}

void on_read(uv_stream_t* stream, ssize_t count, const uv_buf_t* data) {
  if (count == 0) return;  // this means EAGAIN
  if (count < 0) return end(stream);
  uv_buf_t message = uv_buf_init(data->base, static_cast<unsigned>(count));
  const int tried = uv_try_write(stream, &message, 1);
  if (tried == count) return;
  if (tried < 0 && tried != UV_EAGAIN) return end(stream);

  auto* connection = reinterpret_cast<Connection*>(stream);
  connection->unsent.assign(data->base + std::max(tried, 0), data->base + count);
  message = uv_buf_init(connection->unsent.data(), static_cast<unsigned>(connection->unsent.size()));
  uv_read_stop(stream);
  if (uv_write(&connection->write, stream, &message, 1, on_written) != 0) end(stream);
}

void read(uv_stream_t* stream) {
  const auto lend_buffer = [](uv_handle_t*, std::size_t, uv_buf_t* lent) {
    *lent = uv_buf_init(buffer.data(), static_cast<unsigned>(buffer.size()));
  };
  if (uv_read_start(stream, lend_buffer, on_read) != 0) end(stream);
}

// ---- the way of libuv's guide ----

struct Write {
  uv_write_t request;
  char* data;
};

void on_sent(uv_write_t* request, int status) {
  if (status != 0) end(request->handle);
  auto* write = reinterpret_cast<Write*>(request);
  delete[] write->data;
  delete write;
}

void on_read_to_own_buffer(uv_stream_t* stream, ssize_t count, const uv_buf_t* data) {
  if (count <= 0) {
    delete[] data->base;
    if (count < 0) end(stream);
    return;
  }
  auto* write = new Write{{}, data->base};
  const uv_buf_t message = uv_buf_init(data->base, static_cast<unsigned>(count));
  if (uv_write(&write->request, stream, &message, 1, on_sent) == 0) return;
  delete[] write->data;
  delete write;
  end(stream);
}

void read_to_own_buffers(uv_stream_t* stream) {
  const auto allocate = [](uv_handle_t*, std::size_t suggested, uv_buf_t* made) {
    *made = uv_buf_init(new char[suggested], static_cast<unsigned>(suggested));
  };
  if (uv_read_start(stream, allocate, on_read_to_own_buffer) != 0) end(stream);
}

bool tries = false;

void on_connection(uv_stream_t* listener, int status) {
  if (status != 0) return;
  auto* connection = new Connection{};
  auto* stream = reinterpret_cast<uv_stream_t*>(&connection->tcp);
  peer::require(uv_tcp_init(listener->loop, &connection->tcp) == 0, "uv_tcp_init");
  if (uv_accept(listener, stream) != 0 || uv_tcp_nodelay(&connection->tcp, 1) != 0) return end(stream);
  if (tries) {
    read(stream);
  } else {
    read_to_own_buffers(stream);
  }
}

}  // namespace

int main(int argc, char** argv) {
  tries = argc > 2 && std::string_view(argv[2]) == "try";
  uv_loop_t* loop = uv_default_loop();
  uv_tcp_t listener;
  const sockaddr_in address = peer::loopback(peer::port_argument(argc, argv));
  peer::require(uv_tcp_init(loop, &listener) == 0, "uv_tcp_init");
  peer::require(uv_tcp_bind(&listener, reinterpret_cast<const sockaddr*>(&address), 0) == 0, "uv_tcp_bind");
  peer::require(uv_listen(reinterpret_cast<uv_stream_t*>(&listener), peer::kBacklog, on_connection) == 0, "uv_listen");
  uv_os_fd_t fd = -1;
  peer::require(uv_fileno(reinterpret_cast<uv_handle_t*>(&listener), &fd) == 0, "uv_fileno");
  peer::announce_socket(fd);
  return uv_run(loop, UV_RUN_DEFAULT);
}
