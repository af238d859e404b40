#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace http {

/// Allows a client that asked first to send its body.
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

/// The headers of a response. They are added line by line.
class Head {
 public:
  /// Begins with the status line, Date, and the other headers that the status requires.
  explicit Head(int status);
  Head& add(std::string_view name, std::string_view value);
  Head& add(std::string_view name, std::uint64_t value) { return add(name, std::to_string(value)); }
  /// Ends the headers with the empty line. For HTTP/1.0 a header says that the connection stays open. For later
  /// versions a header says that it does not.
  ///
  /// @return The whole text.
  [[nodiscard]] std::string finish(bool keep_alive, bool http_1_0) &&;

 private:
  std::string text_;
};

/// @return The status with its name, such as "404 Not Found".
[[nodiscard]] std::string_view status_text(int status);

}  // namespace http
