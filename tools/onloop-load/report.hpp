#pragma once
#include <cstdint>
#include <string>

#include "onloop-load/histogram.hpp"
#include "onloop-load/options.hpp"

namespace load {

/// What a run has found.
struct Report {
  bool measured = false;  ///< else there are only errors
  bool interrupted = false;
  double seconds = 0;
  std::uint64_t messages = 0;  ///< that came back in this time
  std::uint64_t bytes = 0;     ///< likewise
  Histogram latency;           ///< of those messages
  std::uint64_t errors = 0;
  std::string first_error;
};

/// Lines for people.
[[nodiscard]] std::string as_text(const Options& options, const Report& report);
/// One JSON object on one line.
[[nodiscard]] std::string as_json(const Options& options, const Report& report);

}  // namespace load
