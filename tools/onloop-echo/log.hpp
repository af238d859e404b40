#pragma once
#include <string_view>

#include "onloop-echo/options.hpp"

namespace echo {

/// Lines for people, on standard error.
class Log {
 public:
  explicit Log(Verbosity verbosity) noexcept : verbosity_(verbosity) {}

  /// An error. It is always shown.
  void error(std::string_view message) const;
  /// A message about starting or stopping, or another thing that the user should know. --quiet hides it.
  void event(std::string_view message) const;
  /// A message about a single connection. Only --verbose shows it.
  void detail(std::string_view message) const;

 private:
  Verbosity verbosity_;
};

}  // namespace echo
