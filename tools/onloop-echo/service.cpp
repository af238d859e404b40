#include "onloop-echo/service.hpp"

#include <onloop/loop.hpp>

#include <cmath>
#include <cstdio>
#include <string>
#include <system_error>
#include <utility>

#include "common/command.hpp"
#include "onloop-echo/advice.hpp"
#include "onloop-echo/commands.hpp"
#include "onloop-echo/logged_echo.hpp"
#include "onloop-echo/loops.hpp"
#include "onloop-echo/notify.hpp"
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

std::unique_ptr<LimitedEcho> make_echo(const Options& options, const Log& log,
                                       const std::vector<onloop::Listener*>& listeners) {
  if (options.verbosity == Verbosity::verbose) {
    return std::make_unique<LoggedEcho>(log, options.max_connections, listeners);
  }
  return std::make_unique<LimitedEcho>(options.max_connections, listeners);
}

}  // namespace

Service::Service(const Options& options)
    : options_(options),
      log_(options.verbosity),
      signals_({SIGINT, SIGTERM, SIGUSR1, SIGUSR2}),
      echo_(make_echo(options, log_, listeners_)),
      control_(commands_for(*this)),
      context_(loop_of(options.loop, options.hosting), context_options(log_)) {
  onloop::Limits limits;
  limits.idle_timeout = options_.idle_timeout;
  for (const std::string& address : options_.listen) listeners_.push_back(&listen_on(address, *echo_, limits));
  if (!options_.control.empty()) listen_on(options_.control, control_, Control::limits());
}

onloop::Listener& Service::listen_on(const std::string& address, onloop::Protocol& protocol,
                                     const onloop::Limits& limits) {
  onloop::ListenOptions listen_options;
  listen_options.limits = limits;
  listen_options.replace_stale = options_.replace_stale;
  try {
    return context_.listen(address, protocol, listen_options);
  } catch (const std::system_error& error) {
    const std::string hint = advice(onloop::Address::parse(address), error.code(), options_.replace_stale);
    if (hint.empty()) throw;
    throw std::runtime_error(std::string{error.what()} + " (" + hint + ")");
  }
}

void Service::run() {
  signal_watch_ = context_.watch(signals_.fd(), onloop::Interest::read, [this](onloop::Interest) {
    while (const auto number = signals_.next()) on_signal(*number);
  });
  if (options_.stats_period.count() > 0) {
    stats_timer_ = context_.every(options_.stats_period, [this] { print_statistics(); });
  }
  announce();
  context_.run();
  if (options_.stats_period.count() > 0) print_statistics();
}

void Service::announce() {
  std::string lines;
  for (const onloop::Listener* listener : listeners_) {
    for (const onloop::Address& address : listener->addresses()) {
      const std::string text = address.to_string();
      lines += "listening on " + text + " (" + std::string{context_.loop().name()} + ")\n";
      if (reachable_from_outside(address)) log_.event("other machines may be able to reach " + text);
    }
  }
  tools::print_out(lines);
  notify("READY=1");
}

void Service::on_signal(int number) {
  if (number == SIGUSR1) {
    print_statistics();
  } else if (number == SIGUSR2) {
    move_on();
  } else if (draining_) {
    stop_now(tools::signal_name(number));
  } else {
    drain(tools::signal_name(number));
  }
}

// ---- moving ----

void Service::move_to(std::string_view name, std::optional<onloop::Hosting> hosting) {
  const std::uint64_t before = context_.statistics().cutovers;
  context_.move_to(loop_of(name, hosting ? hosting : options_.hosting));
  if (context_.statistics().cutovers == before) return;  // it is there already
  // The first turn there knows how long it took.
  context_.post([this, where = std::string{loop().name()} + " (" + hosting_name(loop().hosting()) + ")"] {
    const std::chrono::duration<double, std::micro> stall = context_.statistics().last_stall;
    log_.event("moved to " + where + ", served again after " + std::to_string(std::lround(stall.count())) + " us");
  });
}

void Service::move_on() try { move_to(loop_after(loop().name())); } catch (const std::exception& error) {
  log_.error("SIGUSR2: still on " + std::string{loop().name()} + ": " + error.what());
}

// ---- ending ----

void Service::drain(std::string_view who) {
  if (std::exchange(draining_, true)) return;
  notify("STOPPING=1");
  if (const auto open = statistics().connections; open != 0) {
    log_.event(std::string{who} + ": draining " + tools::counted(open, "connection") + " for at most " +
               tools::seconds_text(options_.drain_timeout) + " s; another signal stops it now");
  } else {
    log_.event(std::string{who} + ": stopping");
  }
  for (onloop::Listener* listener : std::exchange(listeners_, {})) listener->close();
  echo_->when_one_ends([this] { context_.post([this] { end_if_alone(); }); });
  drain_limit_ = context_.timer(options_.drain_timeout, [this] { end(); });
  end_if_alone();
}

void Service::end_if_alone() {
  if (statistics().connections == 0) end();
}

/// Control connections do not hold it up, nor does what is left at the limit.
void Service::end() {
  if (std::exchange(ending_, true)) return;
  context_.drain(std::chrono::nanoseconds{0}, [this, before = echo_->timed_out()] {
    if (const auto late = echo_->timed_out() - before; late != 0) {
      log_.event("stopped; " + tools::counted(late, "connection") + " timed out");
    } else {
      log_.event("stopped");
    }
    context_.stop();
  });
}

void Service::stop_now(std::string_view who) {
  if (!std::exchange(draining_, true)) notify("STOPPING=1");
  log_.event(std::string{who} + ": stopped now, with " + tools::counted(statistics().connections, "connection") +
             " open");
  context_.stop();
}

// ---- telling ----

onloop::Statistics Service::statistics() const {
  return without(context_.statistics(), control_.statistics());
}

std::string Service::statistics_line() const {
  return statistics_json(statistics(), loop(), std::chrono::steady_clock::now() - started_);
}

void Service::print_statistics() const {
  const std::string text = statistics_line() + "\n";
  std::fwrite(text.data(), 1, text.size(), stderr);
}

void Service::notify(std::string_view state) const {
  if (const std::error_code error = notify_service_manager(state)) {
    log_.error("could not tell the service manager " + std::string{state} + " by NOTIFY_SOCKET: " + error.message());
  }
}

}  // namespace echo
