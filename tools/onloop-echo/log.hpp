#pragma once
#include <string_view>

#include "onloop-echo/options.hpp"

namespace echo {

/// Lines for people, on standard error.
class Log {
 public:
  explicit Log(Verbosity verbosity) noexcept : verbosity_(verbosity) {}

  void error(std::string_view message) const;
  /// Starting, stopping, and what should be known of them.
  void event(std::string_view message) const;
  void detail(std::string_view message) const;

 private:
  Verbosity verbosity_;
};

}  // namespace echo
