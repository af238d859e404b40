#include "onloop-echo/log.hpp"

#include "common/command.hpp"

namespace echo {
namespace {

constexpr std::string_view kCommand = "onloop-echo";

}  // namespace

void Log::error(std::string_view message) const {
  tools::print_line(kCommand, message);
}

void Log::event(std::string_view message) const {
  if (verbosity_ != Verbosity::quiet) tools::print_line(kCommand, message);
}

void Log::detail(std::string_view message) const {
  if (verbosity_ == Verbosity::verbose) tools::print_line(kCommand, message);
}

}  // namespace echo
