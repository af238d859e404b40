#pragma once
#include <cstdint>
#include <string_view>

namespace http {

/// What a Range header asks for of a file.
struct Part {
  enum class Kind : std::uint8_t { whole, part, unsatisfiable };
  Kind kind = Kind::whole;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;

  friend bool operator==(const Part&, const Part&) = default;
};

/// Reads the header's value, for a file of `size` bytes. The whole is what there is where it asks for nothing, for
/// several ranges, in another unit, or makes no sense, as RFC 9110 has it.
[[nodiscard]] Part part_of(std::string_view range, std::uint64_t size);

}  // namespace http
