#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace http {

/// Lets a client that asked whether to send its body go on.
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

/// The headers of a response, put together line by line.
class Head {
 public:
  /// With Date, and what else the status demands.
  explicit Head(int status);
  Head& add(std::string_view name, std::string_view value);
  Head& add(std::string_view name, std::uint64_t value) { return add(name, std::to_string(value)); }
  /// The whole, with the empty line at its end. HTTP/1.0 has to be told that the connection stays, later ones that it
  /// does not.
  [[nodiscard]] std::string finish(bool keep_alive, bool http_1_0) &&;

 private:
  std::string text_;
};

/// "404 Not Found"
[[nodiscard]] std::string_view status_text(int status);

}  // namespace http
