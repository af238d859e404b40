#pragma once
#include <onloop/address.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

namespace onloop::detail {

/// The longest path or abstract name of a UNIX socket: sizeof sockaddr_un::sun_path, less the terminator or the leading
/// zero.
constexpr std::size_t kLongestUnixName = 107;

/// A host whose name must be looked up, and the port to reach there.
struct HostName {
  std::string name;
  std::uint16_t port = 0;
};

/// Where a connection goes.
using Destination = std::variant<Address, HostName>;

/// Reads one of the forms of Address, or `name:port`.
/// @throws std::system_error with EINVAL. The message says what is wrong with the text.
[[nodiscard]] Destination parse_destination(std::string_view text);

/// @param host An IP address (an IPv6 address with or without brackets), `localhost`, or a name to look up.
/// @throws std::system_error with EINVAL, as parse_destination().
[[nodiscard]] Destination destination_of(std::string_view host, std::uint16_t port);

/// The address of a destination on which a socket is to listen.
/// @throws std::system_error with EINVAL if it is a name.
[[nodiscard]] Address without_look_up(Destination&& destination);

/// The form that parse_destination() reads.
[[nodiscard]] std::string to_string(const Destination& destination);

}  // namespace onloop::detail
