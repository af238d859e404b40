#include "onloop-echo/control_path.hpp"

#include <onloop/address.hpp>

#include <string_view>
#include <system_error>

#include "common/command.hpp"

namespace echo {

std::string control_address(const std::string& path) {
  const std::string what = "control socket \"" + path + "\": ";
  if (path.empty()) throw tools::UsageError(what + "a path is needed, like /run/user/1000/echo");
  if (path.starts_with("unix:")) throw tools::UsageError(what + "give the path alone, without \"unix:\"");
  // An abstract name has no file, hence no permissions.
  if (path.front() == '@')
    throw tools::UsageError(what + "an abstract name is no path; a file of that name is ./" + path);
  try {
    return onloop::Address::parse("unix:" + path).to_string();
  } catch (const std::system_error& error) {
    throw tools::UsageError(error);
  }
}

}  // namespace echo
