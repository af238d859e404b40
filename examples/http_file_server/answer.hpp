#pragma once
#include <onloop/file.hpp>

#include <cstdint>
#include <optional>
#include <string>

#include "document_root.hpp"
#include "request.hpp"

namespace http {

/// What to write for a request.
struct Answer {
  std::string text;                  ///< the headers; and the contents, if they are few
  std::optional<onloop::File> file;  ///< else where the contents are, `length` bytes from `offset` on
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool keep_alive = false;  ///< whether the connection has a further request
};

/// Up to so many bytes of contents come with the headers: fetched by the same job, written by the same call.
constexpr std::uint64_t kFewBytes = 64 * 1024;

/// Fetches the file that is asked for, or finds what is wrong. Blocks for as long as the disk takes. Any thread.
[[nodiscard]] Answer answer(const Request& request, const DocumentRoot& root);

/// Says no more than a status. Does not block.
[[nodiscard]] Answer refusal(const Request& request, int status);

}  // namespace http
