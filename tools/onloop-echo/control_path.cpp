#include "onloop-echo/control_path.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <string_view>
#include <system_error>

#include "common/command.hpp"

namespace echo {

onloop::Address control_address(const std::string& path) {
  const std::string what = "control socket \"" + path + "\": ";
  if (path.empty()) throw tools::UsageError(what + "a path is needed, like /run/user/1000/echo");
  if (path.starts_with("unix:")) throw tools::UsageError(what + "give the path alone, without \"unix:\"");
  // An abstract name has no file, so it has no permissions.
  if (path.front() == '@')
    throw tools::UsageError(what + "an abstract name is not a path; for a file of this name, write ./" + path);
  try {
    return onloop::Address::parse("unix:" + path);
  } catch (const std::system_error& error) {
    throw tools::UsageError(error);
  }
}

std::string stranger_at(int socket) {
  ucred server{};
  socklen_t size = sizeof server;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &server, &size) < 0) {
    return "cannot find out which user listens there; nothing was sent";
  }
  if (server.uid == geteuid() || server.uid == 0) return {};
  return "user " + std::to_string(server.uid) + " listens there, who is neither you nor root; nothing was sent";
}

}  // namespace echo
