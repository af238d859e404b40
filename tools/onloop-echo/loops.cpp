#include "onloop-echo/loops.hpp"

#include <onloop/loop_by_name.hpp>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <system_error>
#include <vector>

#include "common/command.hpp"

namespace echo {

onloop::Loop loop_of(std::string_view name, std::optional<onloop::Hosting> hosting) try {
  const onloop::Loop loop = onloop::loop_by_name(name);
  return hosting ? loop.hosted(*hosting) : loop;
} catch (const std::system_error& error) {
  throw tools::UsageError(error);
}

std::string loop_after(std::string_view name) {
  std::vector<onloop::LoopInfo> loops = onloop::available_loops();
  std::erase_if(loops, [](const onloop::LoopInfo& loop) { return !loop.available; });
  auto next = std::find_if(loops.begin(), loops.end(), [&](const auto& loop) { return loop.name == name; });
  if (next != loops.end()) ++next;
  return next != loops.end() ? next->name : loops.front().name;
}

const char* hosting_name(onloop::Hosting hosting) noexcept {
  return hosting == onloop::Hosting::direct ? "direct" : "aggregate";
}

std::optional<onloop::Hosting> hosting_of(std::string_view name) noexcept {
  if (name == "direct") return onloop::Hosting::direct;
  if (name == "aggregate") return onloop::Hosting::aggregate;
  return std::nullopt;
}

std::string loops_text() {
  const std::vector<onloop::LoopInfo> loops = onloop::available_loops();
  std::size_t width = 0;
  for (const onloop::LoopInfo& loop : loops) width = std::max(width, loop.name.size());
  std::string text;
  for (const onloop::LoopInfo& loop : loops) {
    text += loop.name + std::string(width - loop.name.size() + 2, ' ') + tools::one_line(loop.description) + "\n";
  }
  return text;
}

std::string loops_json(const onloop::Loop& current) {
  auto list = nlohmann::ordered_json::array();
  for (const onloop::LoopInfo& loop : onloop::available_loops()) {
    list.push_back({{"name", loop.name}, {"available", loop.available}, {"description", loop.description}});
    if (loop.name == current.name()) list.back()["current"] = true;
  }
  // A description contains the name of a directory, which may not be valid UTF-8.
  return list.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace echo
