#include "response.hpp"

#include <array>
#include <ctime>
#include <utility>

#include "date.hpp"

namespace http {
namespace {

constexpr std::size_t kUsualSize = 512;

struct Status {
  int number;
  std::string_view text;
};
constexpr std::array<Status, 18> kStatuses{{{200, "200 OK"},
                                            {206, "206 Partial Content"},
                                            {301, "301 Moved Permanently"},
                                            {304, "304 Not Modified"},
                                            {400, "400 Bad Request"},
                                            {403, "403 Forbidden"},
                                            {404, "404 Not Found"},
                                            {405, "405 Method Not Allowed"},
                                            {408, "408 Request Timeout"},
                                            {412, "412 Precondition Failed"},
                                            {413, "413 Content Too Large"},
                                            {414, "414 URI Too Long"},
                                            {416, "416 Range Not Satisfiable"},
                                            {417, "417 Expectation Failed"},
                                            {431, "431 Request Header Fields Too Large"},
                                            {500, "500 Internal Server Error"},
                                            {503, "503 Service Unavailable"},
                                            {505, "505 HTTP Version Not Supported"}}};

}  // namespace

std::string_view status_text(int status) {
  for (const Status& each : kStatuses) {
    if (each.number == status) return each.text;
  }
  return status_text(500);
}

Head::Head(int status) {
  text_.reserve(kUsualSize);
  text_ += "HTTP/1.1 ";
  text_ += status_text(status);
  text_ += "\r\n";
  add("Date", date_text(std::time(nullptr)));
  if (status == 405) add("Allow", "GET, HEAD");
  if (status == 503) add("Retry-After", "1");
}

Head& Head::add(std::string_view name, std::string_view value) {
  text_.append(name).append(": ").append(value).append("\r\n");
  return *this;
}

std::string Head::finish(bool keep_alive, bool http_1_0) && {
  if (!keep_alive) {
    add("Connection", "close");
  } else if (http_1_0) {
    add("Connection", "keep-alive");
  }
  text_ += "\r\n";
  return std::move(text_);
}

}  // namespace http
