#include "request.hpp"

#include <strings.h>

#include <array>
#include <utility>

namespace http {
namespace {

struct Wanted {
  const char* name;
  std::string Request::*value;
};
constexpr std::array<Wanted, 7> kWanted{{{"expect", &Request::expect},
                                         {"if-match", &Request::if_match},
                                         {"if-modified-since", &Request::if_modified_since},
                                         {"if-none-match", &Request::if_none_match},
                                         {"if-range", &Request::if_range},
                                         {"if-unmodified-since", &Request::if_unmodified_since},
                                         {"range", &Request::range}}};

bool is(const std::string& name, const char* other) noexcept {
  return strcasecmp(name.c_str(), other) == 0;
}

/// A "host" with an optional port, as in RFC 9110, 7.2. It may be empty.
bool is_host(std::string_view text) noexcept {
  constexpr std::string_view kDigits = "0123456789";
  constexpr std::string_view kNameCharacters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%!$&'()*+,;=";
  std::string_view port;
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos || close < 3) return false;
    if (text.substr(1, close - 1).find_first_not_of("0123456789abcdefABCDEF:.") != std::string_view::npos) return false;
    port = text.substr(close + 1);
    text = {};
  } else if (const std::size_t colon = text.find(':'); colon != std::string_view::npos) {
    port = text.substr(colon);
    text = text.substr(0, colon);
  }
  if (!port.empty() && (port.front() != ':' || port.find_first_not_of(kDigits, 1) != std::string_view::npos)) {
    return false;
  }
  return text.find_first_not_of(kNameCharacters) == std::string_view::npos;
}

Method method_of(const llhttp_t& parser) noexcept {
  switch (parser.method) {
    case HTTP_GET:
      return Method::get;
    case HTTP_HEAD:
      return Method::head;
    default:
      return Method::other;
  }
}

}  // namespace

RequestParser::RequestParser() noexcept {
  start();
}

void RequestParser::start() noexcept {
  llhttp_init(&parser_, HTTP_REQUEST, &callbacks());
  parser_.data = this;
  state_ = State::idle;
  headers_complete_ = framing_is_faulty_ = false;
  all_bytes_ = header_bytes_ = body_bytes_ = hosts_ = 0;
}

// The table needs C functions, so the lambdas capture nothing.
const llhttp_settings_t& RequestParser::callbacks() noexcept {
  static const llhttp_settings_t table = [] {
    llhttp_settings_t settings;
    llhttp_settings_init(&settings);
    settings.on_url = [](llhttp_t* parser, const char* bytes, std::size_t count) {
      RequestParser& self = of(parser);
      return self.append(self.request_.target, bytes, count, 414);
    };
    settings.on_header_field = [](llhttp_t* parser, const char* bytes, std::size_t count) {
      RequestParser& self = of(parser);
      return self.append(self.field_, bytes, count, 431);
    };
    settings.on_header_value = [](llhttp_t* parser, const char* bytes, std::size_t count) {
      RequestParser& self = of(parser);
      return self.append(self.value_, bytes, count, 431);
    };
    settings.on_header_value_complete = [](llhttp_t* parser) { return of(parser).header_ended(); };
    settings.on_headers_complete = [](llhttp_t* parser) { return of(parser).headers_ended(); };
    settings.on_body = [](llhttp_t* parser, const char*, std::size_t count) { return of(parser).body_came(count); };
    settings.on_message_complete = [](llhttp_t* parser) -> int {
      of(parser).state_ = State::complete;
      of(parser).request_.keep_alive = llhttp_should_keep_alive(parser) != 0 && !of(parser).framing_is_faulty_;
      return HPE_PAUSED;  // parse one request at a time
    };
    return settings;
  }();
  return table;
}

std::size_t RequestParser::feed(std::string_view bytes) {
  if (bytes.empty()) return 0;
  state_ = State::partial;
  const llhttp_errno_t result = llhttp_execute(&parser_, bytes.data(), bytes.size());
  if (result == HPE_OK) {
    all_bytes_ += bytes.size();
    if (has_too_many_other_bytes()) {
      refuse(headers_complete_ ? 413 : 431);
      state_ = State::refused;
      request_.keep_alive = false;
    }
    return bytes.size();
  }
  if (state_ != State::complete) {
    if (refusal_ == 0) refusal_ = 400;
    state_ = State::refused;
    request_.keep_alive = false;
  }
  return static_cast<std::size_t>(llhttp_get_error_pos(&parser_) - bytes.data());
}

/// llhttp does not report extensions of chunks or blank lines before a request. A client may send both without end.
bool RequestParser::has_too_many_other_bytes() const noexcept {
  return all_bytes_ - body_bytes_ > kMostOtherBytes;
}

bool RequestParser::take_continue() noexcept {
  return std::exchange(awaits_continue_, false) && state_ == State::partial;
}

Request RequestParser::take() {
  start();
  refusal_ = 0;
  return std::exchange(request_, {});
}

int RequestParser::refuse(int status) noexcept {
  refusal_ = status;
  return HPE_USER;
}

int RequestParser::append(std::string& text, const char* bytes, std::size_t count, int too_many) {
  header_bytes_ += count;
  if (header_bytes_ > kMostHeaderBytes) return refuse(too_many);
  text.append(bytes, count);
  return 0;
}

int RequestParser::header_ended() {
  header_bytes_ += 4;  // ": ", CR, LF
  value_.erase(value_.find_last_not_of(" \t") + 1);
  const bool trailing = (parser_.flags & F_TRAILING) != 0;  // a trailer: behind a body these headers have no meaning
  if (!trailing && is(field_, "host")) {
    ++hosts_;
    if (!is_host(value_)) return refuse(400);  // RFC 9112, 3.2
  }
  for (const auto& [name, member] : kWanted) {
    if (trailing || !is(field_, name)) continue;
    std::string& value = request_.*member;
    if (!value.empty()) value += ", ";
    value += value_;
  }
  field_.clear();
  value_.clear();
  return 0;
}

/// Refuses a request with wrong headers before its body is read. Here llhttp takes any error that is returned as its
/// own.
int RequestParser::headers_ended() {
  headers_complete_ = true;
  request_.method = method_of(parser_);
  request_.http_1_0 = parser_.http_major == 1 && parser_.http_minor == 0;
  if (parser_.http_major != 1) return refuse(505);
  if (hosts_ > 1 || (hosts_ == 0 && !request_.http_1_0)) return refuse(400);
  const bool chunked = (parser_.flags & F_CHUNKED) != 0;
  // RFC 9112, 6.1: HTTP/1.0 has no Transfer-Encoding. A proxy that forwarded this request may see another end of it
  // than we do.
  framing_is_faulty_ = request_.http_1_0 && (parser_.flags & F_TRANSFER_ENCODING) != 0;
  if (!chunked && parser_.content_length > kMostBodyBytes) return refuse(413);
  if (request_.expect.empty() || request_.http_1_0) return 0;
  if (!is(request_.expect, "100-continue")) return refuse(417);
  // The client does not have to send a body that nobody needs.
  if (request_.method == Method::other) return refuse(405);
  awaits_continue_ = chunked || parser_.content_length > 0;
  return 0;
}

int RequestParser::body_came(std::size_t count) noexcept {
  body_bytes_ += count;
  return body_bytes_ > kMostBodyBytes ? refuse(413) : 0;
}

}  // namespace http
