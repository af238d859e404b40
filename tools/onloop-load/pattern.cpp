#include "onloop-load/pattern.hpp"

#include <algorithm>
#include <random>

namespace load {

Pattern::Pattern() : bytes_(kPeriod + kPiece) {
  std::mt19937 random;  // not seeded: every run sends the same bytes, so an error can be reproduced
  std::generate_n(bytes_.begin(), kPeriod, [&random] { return static_cast<std::byte>(random() & 0xff); });
  std::copy_n(bytes_.begin(), kPiece, bytes_.begin() + kPeriod);
}

}  // namespace load
