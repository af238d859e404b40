#include "onloop-echo/worker.hpp"

#include <stdexcept>
#include <system_error>
#include <utility>

#include "onloop-echo/advice.hpp"
#include "onloop-echo/logged_echo.hpp"
#include "onloop-echo/loops.hpp"
#include "onloop-echo/statistics.hpp"

namespace echo {
namespace {

onloop::ContextOptions context_options(const Log& log) {
  onloop::ContextOptions options;
  options.on_error = [&log](std::error_code error, std::string_view what) {
    log.error(std::string{what} + ": " + error.message());
  };
  return options;
}

std::unique_ptr<LimitedEcho> make_echo(const Options& options, const Log& log, ConnectionLimit& connection_limit) {
  if (options.verbosity == Verbosity::verbose) return std::make_unique<LoggedEcho>(log, connection_limit);
  return std::make_unique<LimitedEcho>(connection_limit);
}

}  // namespace

Worker::Worker(const Options& options, const Log& log, ConnectionLimit& connection_limit)
    : options_(options),
      echo_(make_echo(options, log, connection_limit)),
      context_(loop_of(options.loop, options.hosting), context_options(log)),
      remote_(context_.remote()) {}

// ---- listening ----

onloop::Listener& Worker::listen(const onloop::Address& address, onloop::Protocol& protocol,
                                 const onloop::ListenOptions& how) {
  try {
    return context_.listen(address, protocol, how);
  } catch (const std::system_error& error) {
    const std::string hint = advice(address, error.code(), options_.replace_stale);
    if (hint.empty()) throw;
    throw std::runtime_error(std::string{error.what()} + " (" + hint + ")");
  }
}

onloop::Listener& Worker::listen(const onloop::Address& address, onloop::Protocol& protocol,
                                 const onloop::Limits& limits) {
  onloop::ListenOptions how;
  how.limits = limits;
  how.replace_stale = options_.replace_stale;
  how.reuse_port = options_.workers > 1;
  return listen(address, protocol, how);
}

void Worker::serve(const onloop::Address& address) {
  onloop::Limits limits;
  limits.idle_timeout = options_.idle_timeout;
  listeners_.push_back(&listen(address, *echo_, limits));
}

void Worker::refuse_if_in_use(const onloop::Address& address) {
  listen(address, *echo_, onloop::ListenOptions{}).close();
}

// ---- moving ----

bool Worker::move_to(const onloop::Loop& loop) {
  before_.reset();
  const onloop::Loop here = context_.loop();
  if (!context_.move_to(loop)) return false;
  before_ = here;
  return true;
}

bool Worker::move_back() {
  if (!before_) return false;
  context_.move_to(*before_);
  return true;
}

// ---- ending ----

/// Clients that wait in the backlog are still accepted. The drain has no limit here, because Service has the timer for
/// --drain-timeout.
void Worker::stop_listening() {
  constexpr std::chrono::hours kNever{24 * 365};
  context_.drain(std::exchange(listeners_, {}), kNever);
}

void Worker::when_alone(onloop::Task alone) {
  alone_ = std::move(alone);
  echo_->when_one_ends([this] { context_.post([this] { tell_if_alone(); }); });
  tell_if_alone();
}

void Worker::tell_if_alone() {
  if (!alone_ || statistics().connections != 0) return;
  onloop::Task alone = std::move(alone_);
  alone();
}

void Worker::cut_off(std::function<void(std::uint64_t)> done) {
  context_.drain(std::chrono::nanoseconds{0},
                 [this, before = echo_->timed_out(), done = std::move(done)] { done(echo_->timed_out() - before); });
}

// ---- telling ----

onloop::Statistics Worker::statistics() const noexcept {
  return left_out_ ? without(context_.statistics(), *left_out_) : context_.statistics();
}

}  // namespace echo
