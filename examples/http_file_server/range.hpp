#pragma once
#include <cstdint>
#include <string_view>

namespace http {

/// The part of a file that a Range header asks for.
struct Part {
  enum class Kind : std::uint8_t { whole, part, unsatisfiable };
  Kind kind = Kind::whole;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;

  friend bool operator==(const Part&, const Part&) = default;
};

/// Reads the value of the header for a file of `size` bytes.
///
/// @return The whole file if the header is empty, asks for several ranges or another unit, or makes no sense. RFC 9110
/// requires this.
[[nodiscard]] Part part_of(std::string_view range, std::uint64_t size);

}  // namespace http
