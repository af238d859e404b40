#include "shims/native/native.hpp"

#include <onloop/loop.hpp>

#include <system_error>

namespace onloop {

Loop native() noexcept {
  return Loop{native_loop::epoll_ops()};
}
Loop native_poll() noexcept {
  return Loop{native_loop::poll_ops()};
}

std::vector<LoopInfo> available_loops() {
  return {{"native", "onloop's own loop on epoll(7)"}, {"native-poll", "onloop's own loop on poll(2)"}};
}

Loop loop_by_name(std::string_view name) {
  for (const Loop& loop : {native(), native_poll()}) {
    if (loop.name() == name) return loop;
  }
  std::string names;
  for (const LoopInfo& loop : available_loops()) names += (names.empty() ? "" : ", ") + loop.name;
  throw std::system_error(std::make_error_code(std::errc::invalid_argument),
                          "unknown loop \"" + std::string(name) + "\" (there are: " + names + ")");
}

}  // namespace onloop
