#include "onloop-echo/service.hpp"

#include <unistd.h>
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
#include "onloop-echo/takeover.hpp"

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
  if (options_.takeover.empty()) {
    listen_on_the_rest();
  } else {
    take_over();
  }
}

/// On what was asked for and did not come by a takeover.
void Service::listen_on_the_rest() {
  onloop::Limits limits;
  limits.idle_timeout = options_.idle_timeout;
  for (const std::string& address : options_.listen) {
    if (!listens_on(address)) listeners_.push_back(&listen_on(address, *echo_, limits));
  }
  const bool has_it = control_listener_ != nullptr && control_listener_->address().to_string() == options_.control;
  if (!options_.control.empty() && !has_it)
    control_listener_ = &listen_on(options_.control, control_, Control::limits());
}

bool Service::listens_on(const std::string& address) const {
  const onloop::Address wanted = onloop::Address::parse(address);
  const std::string port = std::to_string(wanted.port());
  const bool any = wanted.family() == onloop::Address::Family::localhost;
  for (const onloop::Listener* listener : listeners_) {
    for (const onloop::Address& there : listener->addresses()) {
      const std::string text = there.to_string();
      if (text == wanted.to_string() || (any && (text == "127.0.0.1:" + port || text == "[::1]:" + port))) return true;
    }
  }
  return false;
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
  if (options_.takeover.empty()) announce();
  context_.run();
  if (!failure_.empty()) throw std::runtime_error(failure_);
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
  notify(options_.takeover.empty() ? "READY=1" : "READY=1\nMAINPID=" + std::to_string(getpid()));
}

void Service::on_signal(int number) {
  if (number == SIGUSR1) {
    print_statistics();
  } else if (number == SIGUSR2) {
    move_on();
  } else if (draining_ || !drain_after_takeover_.empty()) {
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

// ---- from process to process ----

onloop::TakeoverOptions Service::members() {
  return {{{"echo", *echo_}, {"control", control_}}, onloop::TakeoverOptions{}.timeout};
}

void Service::take_over() {
  const int socket = ask_for_takeover(options_.takeover);
  try {
    onloop::import_context(context_, socket, members(), [this](const auto& result) { taken_over(result); });
    amid_takeover_ = true;
  } catch (...) {
    close(socket);
    throw;
  }
}

void Service::taken_over(const onloop::TakeoverResult& result) {
  amid_takeover_ = false;
  if (result.error) {
    failure_ = "take over from " + options_.takeover + ": " + result.reason;
    context_.stop();
    return;
  }
  for (const auto& [name, listener] : result.taken) {
    if (name == "control") {
      control_listener_ = listener;
    } else {
      listeners_.push_back(listener);
    }
  }
  const std::chrono::duration<double, std::micro> stall = result.stall;
  log_.event("took over " + tools::counted(result.connections, "connection") + ", served again after " +
             std::to_string(std::lround(stall.count())) + " us");
  try {
    listen_on_the_rest();
  } catch (const std::exception& error) {  // what has been taken over is not given up for that
    log_.error(error.what());
  }
  announce();
  if (!drain_after_takeover_.empty()) drain(drain_after_takeover_);
}

void Service::hand_over(const Request& request) {
  if (draining_ || !drain_after_takeover_.empty()) throw std::runtime_error("it is stopping");
  if (amid_takeover_) throw std::runtime_error("a takeover is under way");
  request.lend("takeover", [this, client = request.connection()->ref()](int socket) {
    const auto done = [this, client](const onloop::TakeoverResult& result) {
      if (client) client->abort();
      handed_over(result);
    };
    try {
      onloop::export_context(context_, socket, members(), done);
      amid_takeover_ = true;
    } catch (const std::system_error& error) {
      close(socket);
      if (client) client->abort();
      log_.error(std::string{"no takeover, serving on: "} + error.what());
    }
  });
}

void Service::handed_over(const onloop::TakeoverResult& result) {
  amid_takeover_ = false;
  if (result.error) {
    log_.error("no takeover, serving on: " + result.reason);
    if (!drain_after_takeover_.empty()) drain(drain_after_takeover_);
    return;
  }
  log_.event("handed over " + tools::counted(result.connections, "connection") + ": stopping");
  listeners_.clear();
  control_listener_ = nullptr;
  draining_ = true;
  end_with_the_last();
}

// ---- ending ----

void Service::drain(std::string_view who) {
  if (amid_takeover_) {  // listeners that go over must not be closed, nor their files removed
    log_.event(std::string{who} + ": stopping after the takeover; another signal stops it now");
    drain_after_takeover_ = who;
    return;
  }
  if (std::exchange(draining_, true)) return;
  notify("STOPPING=1");
  if (const auto open = statistics().connections; open != 0) {
    log_.event(std::string{who} + ": draining " + tools::counted(open, "connection") + " for at most " +
               tools::seconds_text(options_.drain_timeout) + " s; another signal stops it now");
  } else {
    log_.event(std::string{who} + ": stopping");
  }
  for (onloop::Listener* listener : std::exchange(listeners_, {})) listener->close();
  end_with_the_last();
}

void Service::end_with_the_last() {
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

void Service::notify(const std::string& state) const {
  if (const std::error_code error = notify_service_manager(state)) {
    log_.error("could not tell the service manager " + state.substr(0, state.find('\n')) +
               " by NOTIFY_SOCKET: " + error.message());
  }
}

}  // namespace echo
