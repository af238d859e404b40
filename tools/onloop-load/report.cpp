#include "onloop-load/report.hpp"

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/command.hpp"

namespace load {
namespace {

constexpr double kPercents[] = {50, 99, 99.9};

double per_second(std::uint64_t count, const Report& report) {
  return report.seconds > 0 ? static_cast<double>(count) / report.seconds : 0;
}
double microseconds(std::uint64_t nanoseconds) {
  return static_cast<double>(nanoseconds) * 1e-3;
}
double percentile(const Report& report, double percent) {
  return microseconds(report.latency.percentile(percent));
}
double rounded(double value, double digits) {
  return std::round(value * digits) / digits;
}

}  // namespace

std::string as_text(const Options& options, const Report& report) {
  const std::string errors = "  errors    " + std::to_string(report.errors) + "\n";
  if (options.connections == 0) {
    const auto seconds = std::chrono::round<std::chrono::milliseconds>(std::chrono::duration<double>{report.seconds});
    return options.address + ": " + tools::counted(options.idle, "idle connection") + " for " +
           tools::seconds_text(seconds) + " s, loop " + options.loop + "\n" + errors;
  }
  std::string text = options.address + ": " + tools::counted(options.connections, "connection");
  if (options.idle != 0) text += " and " + std::to_string(options.idle) + " idle";
  text += ", messages of " + tools::counted(options.size, "byte") + ", " + std::to_string(options.window) +
          " in flight on each, loop " + options.loop + (report.interrupted ? ", interrupted\n" : "\n");
  char lines[512];
  std::snprintf(lines, sizeof lines,
                "  messages  %.0f/s (%llu in %.3f s)\n"
                "  data      %.2f MB/s each way\n",
                per_second(report.messages, report), static_cast<unsigned long long>(report.messages), report.seconds,
                per_second(report.bytes, report) * 1e-6);
  text += lines;
  if (report.latency.count() != 0) {
    std::snprintf(lines, sizeof lines, "  latency   p50 %.1f us, p99 %.1f us, p99.9 %.1f us, max %.1f us\n",
                  percentile(report, kPercents[0]), percentile(report, kPercents[1]), percentile(report, kPercents[2]),
                  microseconds(report.latency.max()));
    text += lines;
  }
  return text + errors;
}

std::string as_json(const Options& options, const Report& report) {
  const bool any = report.latency.count() != 0;
  const auto latency = [any](double value) { return any ? nlohmann::ordered_json(rounded(value, 1e3)) : nullptr; };
  const nlohmann::ordered_json object{{"address", options.address},
                                      {"loop", options.loop},
                                      {"connections", options.connections},
                                      {"idle", options.idle},
                                      {"size", options.size},
                                      {"window", options.window},
                                      {"seconds", rounded(report.seconds, 1e6)},
                                      {"messages", report.messages},
                                      {"messages_per_second", rounded(per_second(report.messages, report), 10)},
                                      {"megabytes_per_second", rounded(per_second(report.bytes, report) * 1e-6, 1e3)},
                                      {"latency_us_p50", latency(percentile(report, kPercents[0]))},
                                      {"latency_us_p99", latency(percentile(report, kPercents[1]))},
                                      {"latency_us_p99_9", latency(percentile(report, kPercents[2]))},
                                      {"latency_us_max", latency(microseconds(report.latency.max()))},
                                      {"errors", report.errors},
                                      {"interrupted", report.interrupted}};
  return object.dump() + "\n";
}

}  // namespace load
