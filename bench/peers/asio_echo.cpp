// Asio without Boost. It runs on one thread. The concurrency hint tells Asio so, and it takes no locks.
#include <array>
#include <asio.hpp>
#include <exception>
#include <memory>
#include <system_error>
#include <utility>

#include "peer.hpp"

namespace {

// The type of the executor is known at compile time, so none of its calls is virtual.
using Executor = asio::io_context::executor_type;
using Socket = asio::basic_stream_socket<asio::ip::tcp, Executor>;
using Acceptor = asio::basic_socket_acceptor<asio::ip::tcp, Executor>;

// The current operation keeps a session alive.
class Session : public std::enable_shared_from_this<Session> {
 public:
  explicit Session(Socket socket) : socket_(std::move(socket)) {}

  void read() {
    socket_.async_read_some(asio::buffer(buffer_),
                            [self = shared_from_this()](const std::error_code& error, std::size_t count) {
                              if (!error) self->write(count);
                            });
  }

 private:
  void write(std::size_t count) {
    asio::async_write(socket_, asio::buffer(buffer_, count),
                      [self = shared_from_this()](const std::error_code& error, std::size_t) {
                        if (!error) self->read();
                      });
  }

  Socket socket_;
  std::array<std::byte, peer::kBufferSize> buffer_;
};

void accept(Acceptor& acceptor) {
  acceptor.async_accept([&acceptor](const std::error_code& error, Socket socket) {
    if (!error) {
      socket.set_option(asio::ip::tcp::no_delay(true));
      std::make_shared<Session>(std::move(socket))->read();
    }
    accept(acceptor);
  });
}

}  // namespace

int main(int argc, char** argv) try {
  asio::io_context context{ASIO_CONCURRENCY_HINT_UNSAFE};
  const asio::ip::tcp::endpoint endpoint{asio::ip::address_v4::loopback(), peer::port_argument(argc, argv)};
  Acceptor acceptor{context, endpoint};
  acceptor.listen(peer::kBacklog);
  accept(acceptor);
  peer::announce(acceptor.local_endpoint().port());
  context.run();
  return 0;
} catch (const std::exception& error) {
  peer::require(false, error.what());
}
