#include <onloop/conformance.hpp>

#include <algorithm>
#include <array>
#include <stdexcept>

namespace onloop::conformance {
namespace {

constexpr std::array<std::string_view, 6> kOfAnApplication{"54", "69", "70", "74", "77", "87a"};

}  // namespace

void Provider::iterate(Context*, std::chrono::nanoseconds) {
  throw std::logic_error("this provider is for a loop that the application does not drive");
}
void Provider::call_from_application(std::function<void()>) {
  throw std::logic_error("this provider has no application beside the guest");
}
void Provider::watch_from_application(int, std::function<void()>) {
  throw std::logic_error("this provider has no application beside the guest");
}
void Provider::call_when_idle(int, std::function<void()>) {
  throw std::logic_error("this provider's host has no idle sources");
}

std::string Provider::exception(std::string_view number) {
  const bool of_an_application =
      std::find(kOfAnApplication.begin(), kOfAnApplication.end(), number) != kOfAnApplication.end();
  if (of_an_application && !application_drives()) return "an owned loop has no application of its own beside the guest";
  if (number == "78" && application_drives() && !loop().ops().keepalive) {
    return "the run call is the application's, and the loop has no keepalive";
  }
  if ((number == "63" || number == "64") && application_drives()) {
    return "the application runs its loop itself: there is no run() to stop";
  }
  return {};
}

}  // namespace onloop::conformance
