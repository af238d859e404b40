#pragma once
#include <onloop/onloop.hpp>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>

namespace graft {

/// What the grafts bring into a program: an echo service on that program's loop. It listens where the environment says
/// (ONLOOP_GRAFT_LISTEN, any address that onloop knows), and tells so on standard error. With ONLOOP_GRAFT_DIRECT=1 the
/// loop watches each descriptor itself.
class Guest {
 public:
  explicit Guest(const onloop::Loop& loop) : context_(std::getenv("ONLOOP_GRAFT_DIRECT") ? loop.direct() : loop) {
    const char* address = std::getenv("ONLOOP_GRAFT_LISTEN");
    onloop::ListenOptions options;
    options.replace_stale = true;  // most hosts are ended by a signal, and nobody then unlinks the socket
    const onloop::Listener& listener = context_.listen(address ? address : "127.0.0.1:0", echo_, options);
    for (const onloop::Address& bound : listener.addresses()) {
      std::fprintf(stderr, "listening on %s (%s)\n", bound.to_string().c_str(), context_.loop().ops().name);
    }
    // Whether the program is over is for the program alone to say.
    context_.set_keepalive(false);
  }

 private:
  onloop::Echo echo_;
  onloop::Context context_;
};

/// For callers in C, who get no exception: if there can be no guest, its host goes on without.
inline std::unique_ptr<Guest> invite(const onloop::Loop& loop) noexcept try {
  return std::make_unique<Guest>(loop);
} catch (const std::exception& error) {
  std::fprintf(stderr, "onloop: %s\n", error.what());
  return nullptr;
}

}  // namespace graft
