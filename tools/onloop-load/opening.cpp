#include "onloop-load/opening.hpp"

#include <algorithm>
#include <utility>

namespace load {
namespace {

// A burst is well below any usual backlog (128 was the kernel's limit for a long time). This still gives about 20,000
// connections a second. A connection that overflows a TCP backlog looks open to the client, but it gets answers only
// after retransmissions of the kernel, seconds later.
constexpr std::size_t kBurst = 50;
constexpr std::chrono::milliseconds kRest{2};

}  // namespace

Opening::Opening(onloop::Context& context, std::string address, onloop::ConnectOptions options)
    : context_(context), address_(std::move(address)), options_(options) {}

void Opening::start(std::vector<onloop::Protocol*> protocols, onloop::Task done) {
  waiting_ = std::move(protocols);
  std::reverse(waiting_.begin(), waiting_.end());
  wanted_ = waiting_.size();
  done_ = std::move(done);
  last_opened_ = std::chrono::steady_clock::now();
  burst();
}

void Opening::burst() {
  connecting_ = std::min(kBurst, waiting_.size());
  for (std::size_t left = connecting_; left != 0; --left) {
    onloop::Protocol& protocol = *waiting_.back();
    waiting_.pop_back();
    context_.connect(address_, protocol, options_);
  }
}

void Opening::opened() {
  ++open_;
  last_opened_ = std::chrono::steady_clock::now();
  one_settled();
}

bool Opening::again(onloop::Protocol& protocol) {
  const auto patience = options_.timeout;
  if (patience.count() > 0 && std::chrono::steady_clock::now() - last_opened_ > patience) return false;
  waiting_.push_back(&protocol);
  one_settled();
  return true;
}

void Opening::one_settled() {
  if (--connecting_ != 0) return;
  if (waiting_.empty()) {
    context_.post(std::move(done_));
  } else {
    rest_ = context_.timer(kRest, [this] { burst(); });
  }
}

}  // namespace load
