#pragma once
#include <llhttp.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace http {

enum class Method : std::uint8_t { get, head, other };

/// What a request says, as far as a file server wants to know. A header that was not sent is empty; one that was sent
/// several times is joined by commas, as its list would be.
struct Request {
  Method method = Method::get;
  bool http_1_0 = false;
  bool keep_alive = false;  ///< whether the client wants to send further requests
  std::string target{};     ///< as it came
  std::string expect{};
  std::string if_match{};
  std::string if_modified_since{};
  std::string if_none_match{};
  std::string if_range{};
  std::string if_unmodified_since{};
  std::string range{};
};

/// Reads requests off a stream of bytes, by llhttp; a body is read and thrown away.
class RequestParser {
 public:
  static constexpr std::size_t kMostHeaderBytes = 8 * 1024;  // request line included; beyond: 414 or 431
  static constexpr std::size_t kMostBodyBytes = 64 * 1024;   // beyond: 413
  /// All bytes of a request that belong to no body: the headers and the white space around them, the sizes and the
  /// extensions of chunks, trailers. Beyond: 431 before the end of the headers, else 413.
  static constexpr std::size_t kMostOtherBytes = kMostHeaderBytes + kMostBodyBytes;

  /// idle: no byte of the next request has come. refused: its end can't be told, so the connection has no further one.
  enum class State : std::uint8_t { idle, partial, complete, refused };

  RequestParser() noexcept;
  RequestParser(const RequestParser&) = delete;
  RequestParser& operator=(const RequestParser&) = delete;

  /// Takes bytes up to the end of one request, and says how many; what follows is for the next one. Only if idle or
  /// partial.
  std::size_t feed(std::string_view bytes);
  [[nodiscard]] State state() const noexcept { return state_; }
  /// Why it was refused: the status to answer with.
  [[nodiscard]] int refusal() const noexcept { return refusal_; }
  /// Once for a request whose client waits for "100 Continue" before it sends a body.
  [[nodiscard]] bool take_continue() noexcept;
  /// The request that is complete, or as much as is known of one that was refused; then it is idle again.
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
  bool framing_is_faulty_ = false;  // the request is answered, but where the next one begins is not certain
  std::size_t all_bytes_ = 0;
  std::size_t header_bytes_ = 0;
  std::size_t body_bytes_ = 0;
  std::size_t hosts_ = 0;
  std::string field_;
  std::string value_;
  Request request_;
};

}  // namespace http
