// How the service takes over from another process, and how it hands over to another process.
#include <onloop/descriptor.hpp>

#include <chrono>
#include <cmath>
#include <exception>
#include <stdexcept>
#include <string>

#include "common/command.hpp"
#include "onloop-echo/service.hpp"
#include "onloop-echo/takeover.hpp"

namespace echo {

onloop::TakeoverOptions Service::members() {
  LimitedEcho& echo = workers_.first().echo();
  onloop::TakeoverOptions members;
  members.protocols.push_back(
      {.name = "echo",
       .protocol = echo,
       .export_state = [&echo](onloop::Connection& connection,
                               auto& state) { return echo.export_state(connection, state); },
       .import_state = [&echo](onloop::Connection& connection, auto state) { echo.import_state(connection, state); }});
  // The listener of the control socket goes over. Its open conversations stay in this process until they end.
  members.protocols.push_back(
      {.name = "control", .protocol = control_, .export_state = [](auto&, auto&) { return false; }});
  return members;
}

void Service::take_over() {
  onloop::Descriptor socket = ask_for_takeover(options_.takeover);
  onloop::import_context(context(), socket.get(), members(), [this](const auto& result) { taken_over(result); });
  socket.release();  // import_context owns it
  amid_takeover_ = true;
}

void Service::taken_over(const onloop::TakeoverResult& result) {
  amid_takeover_ = false;
  if (result.error) {
    fail("take over from " + options_.takeover + ": " + result.reason);
    return;
  }
  for (const auto& [name, listener] : result.taken) {
    if (name == "control") {
      control_listener_ = listener;
    } else {
      workers_.first().add(*listener);
    }
  }
  const std::chrono::duration<double, std::micro> stall = result.stall;
  log_.event("took over " + tools::counted(result.connections, "connection") + ", served again after " +
             std::to_string(std::lround(stall.count())) + " us");
  try {
    listen_on_the_rest();
  } catch (const std::exception& error) {  // a failed listen does not end the service of what was taken over
    log_.error(error.what());
  }
  announce();
  if (!drain_after_takeover_.empty()) drain(drain_after_takeover_);
}

void Service::hand_over(const Request& request) {
  if (workers_.size() > 1) throw std::runtime_error("takeover needs --workers 1");
  if (draining_ || !drain_after_takeover_.empty()) throw std::runtime_error("the server is stopping");
  if (amid_takeover_) throw std::runtime_error("a takeover is under way");
  request.lend("takeover", [this, client = request.connection()->ref()](onloop::Descriptor socket) {
    const auto done = [this, client](const onloop::TakeoverResult& result) {
      if (client) client->abort();
      handed_over(result);
    };
    try {
      onloop::export_context(context(), socket.get(), members(), done);
      socket.release();  // export_context owns it
      amid_takeover_ = true;
    } catch (const std::exception& error) {
      if (client) client->abort();
      log_.error(std::string{"takeover failed, still serving: "} + error.what());
    }
  });
}

void Service::handed_over(const onloop::TakeoverResult& result) {
  amid_takeover_ = false;
  if (result.error) {
    log_.error("takeover failed, still serving: " + result.reason);
    if (!drain_after_takeover_.empty()) drain(drain_after_takeover_);
    return;
  }
  log_.event("handed over " + tools::counted(result.connections, "connection") + ": stopping");
  workers_.first().forget_listeners();
  control_listener_ = nullptr;
  draining_ = true;
  end_with_the_last();
}

}  // namespace echo
