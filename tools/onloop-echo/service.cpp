#include "onloop-echo/service.hpp"

#include <onloop/loop.hpp>

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>

#include "common/command.hpp"
#include "onloop-echo/advice.hpp"
#include "onloop-echo/logged_echo.hpp"
#include "onloop-echo/loops.hpp"
#include "onloop-echo/notify.hpp"

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
      signals_({SIGINT, SIGTERM, SIGUSR1}),
      echo_(make_echo(options, log_, listeners_)),
      context_(loop_of(options.loop, options.hosting), context_options(log_)) {
  for (const std::string& address : options_.listen) listen_on(address);
}

void Service::listen_on(const std::string& text) {
  onloop::ListenOptions listen_options;
  listen_options.limits.idle_timeout = options_.idle_timeout;
  listen_options.replace_stale = options_.replace_stale;
  try {
    listeners_.push_back(&context_.listen(text, *echo_, listen_options));
  } catch (const std::system_error& error) {
    const std::string hint = advice(onloop::Address::parse(text), error.code(), options_.replace_stale);
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
  } else if (draining_) {
    stop_now(number);
  } else {
    drain(number);
  }
}

void Service::drain(int number) {
  draining_ = true;
  notify("STOPPING=1");
  const std::string name = tools::signal_name(number);
  if (const auto open = context_.statistics().connections; open != 0) {
    log_.event(name + ": draining " + tools::counted(open, "connection") + " for at most " +
               tools::seconds_text(options_.drain_timeout) + " s; again to stop now");
  } else {
    log_.event(name + ": stopping");
  }
  listeners_.clear();  // drain closes them
  context_.drain(options_.drain_timeout, [this, before = echo_->timed_out()] {
    if (const auto late = echo_->timed_out() - before; late != 0) {
      log_.event("stopped; " + tools::counted(late, "connection") + " timed out");
    } else {
      log_.event("stopped");
    }
    context_.stop();
  });
}

void Service::stop_now(int number) {
  const std::string name = tools::signal_name(number);
  log_.event(name + ": stopped now, with " + tools::counted(context_.statistics().connections, "connection") + " open");
  context_.stop();
}

void Service::print_statistics() const {
  const onloop::Statistics done = context_.statistics();
  const std::chrono::duration<double> uptime = std::chrono::steady_clock::now() - started_;
  const nlohmann::ordered_json line{{"loop", context_.loop().name()},
                                    {"hosting", hosting_name(context_.loop().hosting())},
                                    {"uptime_seconds", std::round(uptime.count() * 1e3) / 1e3},
                                    {"connections", done.connections},
                                    {"accepted", done.accepted},
                                    {"closed", done.closed},
                                    {"turned_away", done.turned_away},
                                    {"bytes_received", done.bytes_received},
                                    {"bytes_sent", done.bytes_sent}};
  const std::string text = line.dump() + "\n";
  std::fwrite(text.data(), 1, text.size(), stderr);
}

void Service::notify(std::string_view state) const {
  if (const std::error_code error = notify_service_manager(state)) {
    log_.error("could not tell the service manager " + std::string{state} + " by NOTIFY_SOCKET: " + error.message());
  }
}

}  // namespace echo
