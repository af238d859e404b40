#include "core/runtime/error.hpp"

#include <unistd.h>

#include <cstdlib>

namespace onloop::detail {

std::error_code error_of(int error) noexcept {
  return {error < 0 ? -error : error, std::generic_category()};
}

void throw_error(int error, const std::string& what) {
  throw std::system_error(error_of(error), what);
}

void log_line(const std::string& text) noexcept try {
  const std::string line = "onloop: " + text + "\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
} catch (const std::bad_alloc&) {
  // There is nobody left to tell.
}

void die(const char* words) noexcept {
  log_line(words);
  std::abort();
}

}  // namespace onloop::detail
