#pragma once
#include <onloop/file.hpp>

#include <cstdint>
#include <optional>
#include <string>

#include "document_root.hpp"
#include "request.hpp"

namespace http {

/// What a server writes for a request.
struct Answer {
  std::string text;                  ///< the headers, and the contents if they are short
  std::optional<onloop::File> file;  ///< otherwise the file of the contents: `length` bytes from `offset` on
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool keep_alive = false;  ///< whether the connection may have a further request
};

/// Up to so many bytes of contents come with the headers. The same job reads them, and the same call writes them.
constexpr std::uint64_t kFewBytes = 64 * 1024;

/// Fetches the file that the request asks for, or finds what is wrong with the request. Blocks for as long as the disk
/// takes.
///
/// Thread: any.
[[nodiscard]] Answer answer(const Request& request, const DocumentRoot& root);

/// An answer that consists only of a status. Does not block.
[[nodiscard]] Answer refusal(const Request& request, int status);

}  // namespace http
