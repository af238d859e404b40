#include "answer.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <system_error>
#include <utility>
#include <vector>

#include "conditions.hpp"
#include "date.hpp"
#include "media_type.hpp"
#include "range.hpp"
#include "response.hpp"
#include "target.hpp"

namespace http {
namespace {

constexpr const char* kIndex = "index.html";

/// Thrown if the request is answered with a status instead of a file.
struct Refused {
  int status;
};

/// @return The status for an error of a file. A path that leads out of the root is answered like a path that does not
/// exist.
int status_of(const std::error_code& error) {
  switch (error.value()) {
    case ENOENT:
    case ENOTDIR:
    case EXDEV:
    case ELOOP:
    case ENAMETOOLONG:
    case ENXIO:  // a socket, or a device that does not exist
    case ENODEV:
      return 404;
    case EACCES:
    case EPERM:
      return 403;
    case EAGAIN:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return 503;
    default:
      return 500;
  }
}

/// An answer with a text for people who read the output of a program.
Answer in_words(const Request& request, int status, Head head) {
  const std::string words = std::string{status_text(status)} + "\n";
  head.add("Content-Type", "text/plain; charset=utf-8").add("Content-Length", words.size());
  Answer answer;
  answer.keep_alive = request.keep_alive;
  answer.text = std::move(head).finish(request.keep_alive, request.http_1_0);
  if (request.method != Method::head) answer.text += words;
  return answer;
}

/// Redirects to the path with a slash at its end. Relative links in the contents of a directory are resolved against
/// that path.
Answer to_directory(const Request& request, const std::string& path) {
  const std::size_t query = request.target.find('?');
  std::string location = target_of(path + "/");
  if (query != std::string::npos) location += request.target.substr(query);
  return in_words(request, 301, std::move(Head{301}.add("Location", location)));
}

/// The answer for a file: the whole file or a part of it.
Answer contents(const Request& request, const std::string& path, onloop::File file, const struct stat& status) {
  const Version version = version_of(status);
  const int verdict = evaluate_conditions(request, version);
  if (verdict == 412) throw Refused{412};

  const auto size = static_cast<std::uint64_t>(status.st_size);
  Part part{Part::Kind::whole, 0, size};
  if (request.method == Method::get && range_counts(request, version)) part = part_of(request.range, size);
  const std::string of_size = "/" + std::to_string(size);
  if (verdict == 200 && part.kind == Part::Kind::unsatisfiable) {
    return in_words(request, 416, std::move(Head{416}.add("Content-Range", "bytes *" + of_size)));
  }
  const bool partial = verdict == 200 && part.kind == Part::Kind::part;
  Head head{partial ? 206 : verdict};
  head.add("Last-Modified", date_text(version.modified)).add("ETag", version.tag).add("Accept-Ranges", "bytes");
  if (verdict == 200) head.add("Content-Type", media_type_of(path)).add("Content-Length", part.length);
  if (partial) {
    const std::uint64_t last = part.offset + part.length - 1;
    head.add("Content-Range", "bytes " + std::to_string(part.offset) + "-" + std::to_string(last) + of_size);
  }

  Answer answer;
  answer.keep_alive = request.keep_alive;
  answer.text = std::move(head).finish(request.keep_alive, request.http_1_0);
  if (verdict != 200 || request.method == Method::head) return answer;
  if (part.length > kFewBytes) {
    answer.file = std::move(file);
    answer.offset = part.offset;
    answer.length = part.length;
  } else if (part.length > 0) {
    const std::vector<std::byte> bytes = file.read_at(part.offset, part.length);
    if (bytes.size() < part.length) throw Refused{500};  // the file was made shorter meanwhile
    answer.text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  return answer;
}

Answer fetch(const Request& request, const DocumentRoot& root) {
  if (request.method == Method::other) throw Refused{405};
  std::optional<std::string> path = path_of(request.target);
  if (!path) throw Refused{400};
  onloop::File file = root.open(*path);
  struct stat status = file.status();
  if (S_ISDIR(status.st_mode)) {
    if (!path->empty() && !path->ends_with('/')) return to_directory(request, *path);
    *path += kIndex;
    file = root.open(*path);
    status = file.status();
  }
  if (!S_ISREG(status.st_mode)) throw Refused{404};  // a FIFO or a device is not a document
  return contents(request, *path, std::move(file), status);
}

}  // namespace

Answer answer(const Request& request, const DocumentRoot& root) {
  try {
    return fetch(request, root);
  } catch (const Refused& refused) {
    return refusal(request, refused.status);
  } catch (const std::system_error& error) {
    return refusal(request, status_of(error.code()));
  }
}

Answer refusal(const Request& request, int status) {
  return in_words(request, status, Head{status});
}

}  // namespace http
