#include "core/net/acceptor.hpp"

#include <utility>

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

/// Takes `socket` on success.
void Acceptor::start(int socket, const std::string& what) {
  addresses_.push_back(local_address(socket));
  try {
    sockets_.reserve(sockets_.size() + 1);
    auto* made = new ListeningSocket(net_, *this);
    sockets_.push_back(made);
    made->start(socket, frozen_ ? ONLOOP_NONE : ONLOOP_READ, what);
  } catch (...) {
    addresses_.pop_back();
    if (!sockets_.empty() && sockets_.back()->fd() < 0) {
      ListeningSocket* failed = sockets_.back();
      sockets_.pop_back();
      failed->sever();
    }
    throw;
  }
}

void Acceptor::start_owned(Descriptor&& socket, const std::string& what) {
  start(socket.get(), what);
  (void)socket.release();
}

void Acceptor::listen(std::span<const Address> addresses) {
  net_.keep_reserve();
  // What may be refused comes before what is taken: the sockets of fd: are not ours until all is well.
  std::vector<BoundSockets> bound;
  std::vector<int> inherited;
  for (const Address& address : addresses) {
    if (address.family() != Address::Family::inherited) {
      bound.push_back(bind_listening(address, options_));
      continue;
    }
    for (const int fd : inherited_sockets(address.name())) {
      const std::string what = "listen on " + address.to_string();
      prepare_inherited(fd, what);
      net_.runtime().sources().refuse_if_watched(fd, what);
      inherited.push_back(fd);
    }
  }
  for (BoundSockets& each : bound) {
    for (Descriptor& socket : each.sockets) {
      const std::string what = "listen on " + local_address(socket.get()).to_string();
      start_owned(std::move(socket), what);
    }
    if (each.file) file_ = std::move(each.file);
  }
  const std::size_t own = sockets_.size();
  try {
    for (const int fd : inherited) start(fd, "listen on descriptor " + std::to_string(fd));
  } catch (...) {
    while (sockets_.size() > own) {
      sockets_.back()->give_back();
      sockets_.pop_back();
    }
    throw;
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
  if (sockets_.empty()) sever();  // the application has closed all of them
  if (frozen_) sever();           // another process is about to have them: nothing more comes here
}

void Acceptor::drained(ListeningSocket& socket) noexcept {
  if (sockets_.size() == 1) {
    sever();
  } else {
    std::erase(sockets_, &socket);
    socket.sever();
  }
}

void Acceptor::lost(ListeningSocket& socket) noexcept {
  std::erase(sockets_, &socket);
  if (draining_ && sockets_.empty()) sever();
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

void Acceptor::restore(Descriptor&& socket, bool paused, const std::string& what) {
  paused_ = paused;
  start_owned(std::move(socket), what);
}

void Acceptor::adopt_file(ListenerSnapshot&& listener) noexcept {
  if (!listener.path.empty()) file_.adopt({std::move(listener.path), listener.device, listener.inode});
}

}  // namespace onloop::detail
