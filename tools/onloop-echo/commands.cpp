#include "onloop-echo/commands.hpp"

#include <string>

#include "common/command.hpp"
#include "onloop-echo/loops.hpp"
#include "onloop-echo/service.hpp"

namespace echo {
namespace {

constexpr char kAsker[] = "control socket";

/// A command that takes no arguments.
template <class F>
Control::Command alone(F command) {
  return [command = std::move(command)](const Request& request) {
    if (request.arguments().empty()) {
      command(request);
    } else {
      request.error("unexpected \"" + request.arguments().front() + "\": this command takes no arguments");
    }
  };
}

void cut_over(Service& service, const Request& request) {
  const std::vector<std::string>& arguments = request.arguments();
  if (arguments.empty() || arguments.size() > 2) {
    request.error("usage: cutover NAME [direct|aggregate]");
    return;
  }
  std::optional<onloop::Hosting> hosting;
  if (arguments.size() == 2) {
    hosting = hosting_of(arguments[1]);
    if (!hosting) {
      request.error("the hosting must be direct or aggregate, not \"" + arguments[1] + "\"");
      return;
    }
  }
  service.move_to(arguments[0], hosting, [&service, request](const CutoverCoordinator::Outcome& outcome) {
    if (outcome.error.empty()) {
      request.ok(std::string{service.loop().name()} + " " + hosting_name(service.loop().hosting()));
    } else {
      request.error(outcome.error);
    }
  });
}

}  // namespace

// A command that ends the service takes effect after its answer was sent, so that the client gets the answer.
Control::Commands commands_for(Service& service) {
  return {
      {"stats", alone([&service](const Request& request) {
         service.ask_statistics([&service, request](const onloop::Statistics& statistics) {
           request.ok(service.statistics_line(statistics));
         });
       })},
      {"loops", alone([&service](const Request& request) { request.ok(loops_json(service.loop())); })},
      {"cutover", [&service](const Request& request) { cut_over(service, request); }},
      {"takeover", alone([&service](const Request& request) { service.hand_over(request); })},
      {"drain", alone([&service](const Request& request) {
         service.ask_statistics([&service, request](const onloop::Statistics& statistics) {
           request.ok("draining " + tools::counted(statistics.connections, "connection"),
                      [&service] { service.drain(kAsker); });
         });
       })},
      {"shutdown", alone([&service](const Request& request) {
         service.ask_statistics([&service, request](const onloop::Statistics& statistics) {
           request.ok("stopping now, with " + tools::counted(statistics.connections, "connection") + " open",
                      [&service] { service.stop_now(kAsker); });
         });
       })},
  };
}

}  // namespace echo
