#include "core/base/error.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace onloop::detail {

std::error_code error_of(int error) noexcept {
  return {error < 0 ? -error : error, std::generic_category()};
}

void throw_error(int error, const std::string& what) {
  std::string shown;
  shown.reserve(what.size());
  for (const char character : what) {
    if (character == '\0') {
      shown += "\\0";
    } else {
      shown += character;
    }
  }
  throw std::system_error(error_of(error), shown);
}

void refuse_zero_byte(std::string_view text, const std::string& what) {
  if (text.find('\0') != std::string_view::npos) throw_error(EINVAL, what + " has a zero byte in it");
}

void log_line(const std::string& text) noexcept try {
  std::string line = "onloop: ";
  for (const char character : text) {
    const auto code = static_cast<unsigned char>(character);
    if (code < 0x20 || code == 0x7f) {  // the text may contain bytes from a peer, which must not control the terminal
      constexpr char kDigits[] = "0123456789abcdef";
      line.append({'\\', 'x', kDigits[code >> 4], kDigits[code & 0xf]});
    } else {
      line += character;
    }
  }
  line += '\n';
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
} catch (const std::bad_alloc&) {
  // There is no memory for the line, so the text is lost.
}

void die(const char* words) noexcept {
  log_line(words);
  std::abort();
}

}  // namespace onloop::detail
