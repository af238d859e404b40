#pragma once
#include <llhttp.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace http {

enum class Method : std::uint8_t { get, head, other };

/// The parts of a request that a file server needs. A header that was not sent is empty. If a header was sent several
/// times, its values are joined by commas, like a list.
struct Request {
  Method method = Method::get;
  bool http_1_0 = false;
  bool keep_alive = false;  ///< whether the client wants to send further requests
  std::string target{};     ///< as the client sent it
  std::string expect{};
  std::string if_match{};
  std::string if_modified_since{};
  std::string if_none_match{};
  std::string if_range{};
  std::string if_unmodified_since{};
  std::string range{};
};

/// Reads requests from a stream of bytes, with llhttp. A body is read and dropped.
class RequestParser {
 public:
  static constexpr std::size_t kMostHeaderBytes = 8 * 1024;  // with the request line; more is answered with 414 or 431
  static constexpr std::size_t kMostBodyBytes = 64 * 1024;   // more is answered with 413
  /// The most bytes of a request that belong to no body: the headers and the white space around them, the sizes and
  /// extensions of chunks, trailers. More is answered with 431 before the end of the headers, and with 413 after it.
  static constexpr std::size_t kMostOtherBytes = kMostHeaderBytes + kMostBodyBytes;

  /// idle: no byte of the next request has come. refused: the end of the request is unknown, so the connection can have
  /// no further request.
  enum class State : std::uint8_t { idle, partial, complete, refused };

  RequestParser() noexcept;
  RequestParser(const RequestParser&) = delete;
  RequestParser& operator=(const RequestParser&) = delete;

  /// Takes bytes up to the end of one request. It may be called only in the states idle and partial.
  ///
  /// @return How many bytes it took. The rest belongs to the next request.
  std::size_t feed(std::string_view bytes);
  [[nodiscard]] State state() const noexcept { return state_; }
  /// @return The status with which a refused request is answered.
  [[nodiscard]] int refusal() const noexcept { return refusal_; }
  /// @return True, once for each request, if its client waits for "100 Continue" before it sends the body.
  [[nodiscard]] bool take_continue() noexcept;
  /// Takes the complete request, or the known parts of a refused request. Then the parser is idle again.
  [[nodiscard]] Request take();

 private:
  static RequestParser& of(llhttp_t* parser) noexcept { return *static_cast<RequestParser*>(parser->data); }
  static const llhttp_settings_t& callbacks() noexcept;
  void start() noexcept;
  int refuse(int status) noexcept;
  int append(std::string& text, const char* bytes, std::size_t count, int too_many);
  int header_ended();
  [[nodiscard]] bool has_too_many_other_bytes() const noexcept;
  int headers_ended();
  int body_came(std::size_t count) noexcept;

  llhttp_t parser_{};
  State state_ = State::idle;
  int refusal_ = 0;
  bool awaits_continue_ = false;
  bool headers_complete_ = false;
  bool framing_is_faulty_ = false;  // the request is answered, but it is not certain where the next one begins
  std::size_t all_bytes_ = 0;
  std::size_t header_bytes_ = 0;
  std::size_t body_bytes_ = 0;
  std::size_t hosts_ = 0;
  std::string field_;
  std::string value_;
  Request request_;
};

}  // namespace http
