#include "core/net/acceptor.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "core/base/at_scope_exit.hpp"
#include "core/base/error.hpp"
#include "core/net/bind.hpp"
#include "core/net/inherited.hpp"
#include "core/net/listening_socket.hpp"
#include "core/net/net.hpp"
#include "core/net/socket.hpp"
#include "core/runtime/runtime.hpp"

namespace onloop::detail {

Acceptor::Acceptor(Net& net, Protocol& protocol, ListenOptions options)
    : SharedCounted(1),
      Endpoint(Kind::acceptor),
      net_(net),
      options_(std::move(options)),
      origin_(make_held<Origin>(net, options_.limits, this)) {
  net_.add(*this);
  set_protocol(&protocol);
}

void Acceptor::start(int fd, const std::string& what) {
  auto* socket = new ListeningSocket(net_, *this);
  try {
    sockets_.push_back(socket);
    socket->start(fd, frozen_ ? ONLOOP_NONE : ONLOOP_READ, what);
  } catch (...) {
    std::erase(sockets_, socket);
    socket->sever();
    throw;
  }
  addresses_.push_back(local_address(fd));
}

void Acceptor::listen(const Address& address) {
  net_.keep_reserve();
  const std::string what = "listen on " + address.to_string();
  if (address.family() == Address::Family::inherited) {
    for (const int fd : inherited_sockets(address.name())) {
      prepare_inherited(fd, what);
      net_.runtime().refuse_if_watched(fd, what);
      start(fd, what);
    }
    return;
  }
  std::vector<UniqueFd> sockets = bind_listening(address, options_, file_);
  const AtScopeExit at_end([&] {
    if (sockets.back()) file_.remove();  // start() has thrown, and the socket is about to be closed
  });
  for (UniqueFd& socket : sockets) {
    start(socket.get(), what);
    (void)socket.release();
  }
}

void Acceptor::set_paused(bool paused) {
  paused_ = paused;
  if (frozen_ || draining_) return;
  std::error_code failed;
  for (ListeningSocket* socket : sockets_) {
    if (const std::error_code error = socket->set_paused(paused)) failed = error;
  }
  if (failed) throw std::system_error(failed, "listen on " + address().to_string());
}

void Acceptor::drain(TurnBudget& budget) {
  const Held<Acceptor> held(*this);
  draining_ = true;
  // From the last one on: a socket that is done leaves the list.
  for (std::size_t i = sockets_.size(); i-- > 0;) {
    if (i < sockets_.size()) sockets_[i]->drain(budget);
  }
  if (frozen_) sever();  // another process is about to have them: nothing more comes here
}

void Acceptor::drained(ListeningSocket& socket) noexcept {
  if (sockets_.size() == 1) {
    sever();
  } else {
    std::erase(sockets_, &socket);
    socket.sever();
  }
}

void Acceptor::connection_left() noexcept {
  --connections_;
  tell_drain();
}

void Acceptor::tell_drain() noexcept {
  if (drain_ && severed_ && connections_ == 0) net_.drained(*std::exchange(drain_, nullptr));
}

void Acceptor::sever() noexcept {
  if (std::exchange(severed_, true)) return;
  net_.runtime().check_thread_or_die();
  file_.remove();  // first, so that no client finds a file on which nobody listens
  for (ListeningSocket* socket : sockets_) socket->sever();
  sockets_.clear();
  set_protocol(nullptr);
  net_.remove(*this);
  const Held<Origin> last = std::move(origin_);  // this goes with its connections, unless a frame holds it
  tell_drain();
  Held<Acceptor>::drop(this);
}

// ---- to another process ----

void Acceptor::freeze() noexcept {
  frozen_ = true;
  for (ListeningSocket* socket : sockets_) (void)socket->set_paused(true);  // lowering never fails
}

void Acceptor::thaw() noexcept {
  if (severed_) return;
  frozen_ = false;
  for (ListeningSocket* socket : sockets_) {
    if (socket->set_paused(paused_)) socket->retry_later();
  }
}

ListenerSnapshot Acceptor::snapshot() const {
  const UnixFile::Identity file = file_.identity();
  return {.limits = options_.limits,
          .max_connections = options_.max_connections,
          .paused = paused_,
          .sockets = static_cast<std::uint32_t>(sockets_.size()),
          .path = file.path,
          .device = file.device,
          .inode = file.inode};
}

void Acceptor::hand_over() noexcept {
  file_.forget();
  sever();
}

void Acceptor::restore(UniqueFd socket, bool paused) {
  if (get_option(socket.get(), SOL_SOCKET, SO_TYPE) != SOCK_STREAM ||
      get_option(socket.get(), SOL_SOCKET, SO_ACCEPTCONN) != 1) {
    throw_error(EPROTO, "take over a listener: the descriptor is not that of a listening stream socket");
  }
  // Not every process that hands over is one of ours.
  if (fcntl(socket.get(), F_SETFL, fcntl(socket.get(), F_GETFL) | O_NONBLOCK) < 0) {
    throw_error(errno, "take over a listener");
  }
  paused_ = paused;
  start(socket.get(), "take over a listener");
  (void)socket.release();
}

void Acceptor::adopt_file(ListenerSnapshot&& listener) noexcept {
  if (!listener.path.empty()) file_.adopt({std::move(listener.path), listener.device, listener.inode});
}

}  // namespace onloop::detail
