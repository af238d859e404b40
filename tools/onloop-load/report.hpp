#pragma once
#include <cstdint>
#include <string>

#include "onloop-load/histogram.hpp"
#include "onloop-load/options.hpp"

namespace load {

/// The result of a run.
struct Report {
  bool measured = false;  ///< if false, only the errors have a meaning
  bool interrupted = false;
  double seconds = 0;
  std::uint64_t messages = 0;  ///< messages that came back in this time
  std::uint64_t bytes = 0;     ///< bytes that came back in this time
  Histogram latency;           ///< of these messages
  std::uint64_t errors = 0;
  std::string first_error;
};

/// The report as lines of text for people.
[[nodiscard]] std::string as_text(const Options& options, const Report& report);
/// The report as one JSON object in one line.
[[nodiscard]] std::string as_json(const Options& options, const Report& report);

}  // namespace load
