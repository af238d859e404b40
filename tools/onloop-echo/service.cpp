#include "onloop-echo/service.hpp"

#include <onloop/address.hpp>
#include <onloop/loop.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include "common/command.hpp"
#include "onloop-echo/advice.hpp"
#include "onloop-echo/commands.hpp"
#include "onloop-echo/loops.hpp"
#include "onloop-echo/notify.hpp"
#include "onloop-echo/statistics.hpp"

namespace echo {
namespace {

/// The addresses that `address` stands for. They are more than one only for localhost.
std::vector<onloop::Address> addresses_of(const onloop::Address& address) {
  using Family = onloop::Address::Family;
  if (address.family() != Family::localhost) return {address};
  const std::array<std::byte, 16> ipv4{std::byte{127}, std::byte{0}, std::byte{0}, std::byte{1}};
  std::array<std::byte, 16> ipv6{};
  ipv6.back() = std::byte{1};
  return {onloop::Address::from_ip(Family::ipv4, ipv4, address.port()),
          onloop::Address::from_ip(Family::ipv6, ipv6, address.port())};
}

}  // namespace

Service::Service(const Options& options)
    : options_(options),
      log_(options.verbosity),
      signals_({SIGINT, SIGTERM, SIGUSR1, SIGUSR2}),
      control_(commands_for(*this)),
      workers_(options_, log_),
      cutover_(workers_) {
  workers_.first().leave_out(control_.statistics());
  if (options_.takeover.empty()) {
    listen_on_the_rest();
  } else {
    take_over();
  }
}

/// Listens on every address of the options that did not come by a takeover.
void Service::listen_on_the_rest() {
  for (const onloop::Address& address : options_.listen) {
    if (!listens_on(address)) workers_.serve(address);
  }
  const bool has_control =
      control_listener_ != nullptr && options_.control && control_listener_->address() == *options_.control;
  if (options_.control && !has_control)
    control_listener_ = &workers_.first().listen(*options_.control, control_, Control::limits());
}

bool Service::listens_on(const onloop::Address& address) const {
  const std::vector<onloop::Address> any_of = addresses_of(address);
  for (const onloop::Listener* listener : workers_.first().listeners()) {
    for (const onloop::Address& there : listener->addresses()) {
      if (std::find(any_of.begin(), any_of.end(), there) != any_of.end()) return true;
    }
  }
  return false;
}

void Service::run() {
  signal_watch_ = context().watch(signals_.fd(), onloop::Interest::read, [this](onloop::Interest) {
    while (const auto number = signals_.next()) on_signal(*number);
  });
  const auto print = [this](const onloop::Statistics& statistics) { print_statistics(statistics); };
  if (options_.stats_period.count() > 0) {
    stats_timer_ = context().every(options_.stats_period, [this, print] { ask_statistics(print); });
  }
  workers_.start([this](const std::string& why) { fail(why); });
  if (options_.takeover.empty()) announce();
  context().run();
  workers_.stop();
  if (!failure_.empty()) throw std::runtime_error(failure_);
  if (options_.stats_period.count() > 0) print_statistics(workers_.statistics());
}

void Service::announce() {
  std::string lines;
  for (const onloop::Listener* listener : workers_.first().listeners()) {
    for (const onloop::Address& address : listener->addresses()) {
      const std::string text = tools::one_line(address.to_string());
      lines += "listening on " + text + " (" + std::string{loop().name()} + ")\n";
      if (reachable_from_outside(address)) log_.event("other machines may be able to reach " + text);
      if (address.family() == onloop::Address::Family::unix_abstract) {
        log_.event("every user of this machine may connect to " + text + ": an abstract name has no permissions");
      }
    }
  }
  tools::print_out(lines);
  notify(options_.takeover.empty() ? "READY=1" : "READY=1\nMAINPID=" + std::to_string(getpid()));
}

void Service::fail(const std::string& why) {
  if (failure_.empty()) failure_ = why;
  context().stop();
}

void Service::on_signal(int number) {
  if (number == SIGUSR1) {
    ask_statistics([this](const onloop::Statistics& statistics) { print_statistics(statistics); });
  } else if (number == SIGUSR2) {
    move_on();
  } else if (draining_ || !drain_after_takeover_.empty()) {
    stop_now(tools::signal_name(number));
  } else {
    drain(tools::signal_name(number));
  }
}

// ---- moving ----

void Service::move_to(const std::string& name, std::optional<onloop::Hosting> hosting, CutoverCoordinator::Done done) {
  move([this, name, hosting] { return loop_of(name, hosting ? hosting : options_.hosting); }, std::move(done));
}

void Service::move_on() {
  move([this] { return loop_of(loop_after(loop().name()), options_.hosting); },
       [this](const CutoverCoordinator::Outcome& outcome) {
         if (outcome.error.empty()) return;
         log_.error("SIGUSR2: still on " + std::string{loop().name()} + ": " + outcome.error);
       });
}

void Service::move(CutoverCoordinator::Where where, CutoverCoordinator::Done done) {
  cutover_.move(std::move(where), [this, done = std::move(done)](const CutoverCoordinator::Outcome& outcome) {
    if (outcome.moved) tell_of_move();
    done(outcome);
  });
}

/// Logs a move in the first turn on the new loop, because only then last_stall says how long the move took.
void Service::tell_of_move() {
  context().post([this, where = std::string{loop().name()} + " (" + hosting_name(loop().hosting()) + ")"] {
    ask_statistics([this, where](const onloop::Statistics& statistics) {
      const std::chrono::duration<double, std::micro> stall = statistics.last_stall;
      log_.event("moved to " + where + ", served again after " + std::to_string(std::lround(stall.count())) + " us");
    });
  });
}

// ---- ending ----

void Service::drain(const std::string& who) {
  if (amid_takeover_) {  // the listeners that go over must not be closed, and their files must not be removed
    log_.event(who + ": stopping after the takeover; another signal stops the server at once");
    drain_after_takeover_ = who;
    return;
  }
  if (std::exchange(draining_, true)) return;
  notify("STOPPING=1");
  ask_statistics([this, who](const onloop::Statistics& statistics) {
    if (const auto open = statistics.connections; open != 0) {
      log_.event(who + ": draining " + tools::counted(open, "connection") + " for at most " +
                 tools::seconds_text(options_.drain_timeout) + " s; another signal stops the server at once");
    } else {
      log_.event(who + ": stopping");
    }
  });
  workers_.ask(
      [](Worker& worker, const WorkerGroup::Reply& reply) {
        worker.stop_listening();
        reply({});
      },
      [this](const auto&) { end_with_the_last(); });
}

void Service::end_with_the_last() {
  drain_limit_ = context().timer(options_.drain_timeout, [this] { end(); });
  workers_.ask([](Worker& worker, const WorkerGroup::Reply& reply) { worker.when_alone([reply] { reply({}); }); },
               [this](const auto&) { end(); });
}

/// Ends the service. It does not wait for control connections, and cuts off connections that are still open.
void Service::end() {
  if (std::exchange(ending_, true)) return;
  workers_.ask(
      [](Worker& worker, const WorkerGroup::Reply& reply) {
        worker.cut_off([reply](std::uint64_t late) {
          Answer answer;
          answer.timed_out = late;
          reply(std::move(answer));
        });
      },
      [this](const std::vector<Answer>& answers) {
        std::uint64_t late = 0;
        for (const Answer& answer : answers) late += answer.timed_out;
        log_.event(late != 0 ? "stopped; " + tools::counted(late, "connection") + " timed out" : "stopped");
        context().stop();
      });
}

void Service::stop_now(const std::string& who) {
  if (!std::exchange(draining_, true)) notify("STOPPING=1");
  ask_statistics([this, who](const onloop::Statistics& statistics) {
    log_.event(who + ": stopped now, with " + tools::counted(statistics.connections, "connection") + " open");
    context().stop();
  });
}

// ---- telling ----

void Service::ask_statistics(std::function<void(const onloop::Statistics&)> then) {
  workers_.ask(
      [](Worker& worker, const WorkerGroup::Reply& reply) {
        Answer answer;
        answer.statistics = worker.statistics();
        reply(std::move(answer));
      },
      [then = std::move(then)](const std::vector<Answer>& answers) {
        onloop::Statistics all;
        for (const Answer& answer : answers) all = together(all, answer.statistics);
        then(all);
      });
}

std::string Service::statistics_line(const onloop::Statistics& statistics) const {
  return statistics_json(statistics, loop(), workers_.size(), std::chrono::steady_clock::now() - started_);
}

void Service::print_statistics(const onloop::Statistics& statistics) const {
  const std::string text = statistics_line(statistics) + "\n";
  std::fwrite(text.data(), 1, text.size(), stderr);
}

void Service::notify(const std::string& state) const {
  if (const std::error_code error = notify_service_manager(state)) {
    log_.error("cannot send " + state.substr(0, state.find('\n')) +
               " to the service manager (NOTIFY_SOCKET): " + error.message());
  }
}

}  // namespace echo
