#include "onloop-echo/statistics.hpp"

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

std::string statistics_json(const onloop::Statistics& done, const onloop::Loop& loop,
                            std::chrono::duration<double> uptime) {
  const std::chrono::duration<double, std::micro> stall = done.last_stall;
  return nlohmann::ordered_json{{"loop", loop.name()},
                                {"hosting", hosting_name(loop.hosting())},
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
