#include "onloop-echo/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "onloop-echo/loops.hpp"

namespace echo {

onloop::Statistics without(onloop::Statistics whole, const onloop::Statistics& part) noexcept {
  whole.accepted -= part.accepted;
  whole.turned_away -= part.turned_away;
  whole.closed -= part.closed;
  whole.connections -= part.connections;
  whole.bytes_received -= part.bytes_received;
  whole.bytes_sent -= part.bytes_sent;
  return whole;
}

onloop::Statistics together(onloop::Statistics one, const onloop::Statistics& other) noexcept {
  one.accepted += other.accepted;
  one.turned_away += other.turned_away;
  one.closed += other.closed;
  one.connections += other.connections;
  one.bytes_received += other.bytes_received;
  one.bytes_sent += other.bytes_sent;
  one.cutovers = std::max(one.cutovers, other.cutovers);
  one.last_stall = std::max(one.last_stall, other.last_stall);
  return one;
}

std::string statistics_json(const onloop::Statistics& done, const onloop::Loop& loop, std::size_t workers,
                            std::chrono::duration<double> uptime) {
  const std::chrono::duration<double, std::micro> stall = done.last_stall;
  return nlohmann::ordered_json{{"loop", loop.name()},
                                {"hosting", hosting_name(loop.hosting())},
                                {"workers", workers},
                                {"uptime_seconds", std::round(uptime.count() * 1e3) / 1e3},
                                {"connections", done.connections},
                                {"accepted", done.accepted},
                                {"closed", done.closed},
                                {"turned_away", done.turned_away},
                                {"bytes_received", done.bytes_received},
                                {"bytes_sent", done.bytes_sent},
                                {"cutovers", done.cutovers},
                                {"last_stall_us", std::round(stall.count() * 10) / 10}}
      .dump();
}

}  // namespace echo
