#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace onloop::detail {

/// A host to look up, and its port.
struct HostName {
  std::string name;
  std::uint16_t port = 0;

  /// Nothing if `text` is no name with a port; then it is an Address, or has its error.
  [[nodiscard]] static std::optional<HostName> parse(std::string_view text);
};

}  // namespace onloop::detail
