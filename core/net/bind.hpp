#pragma once
#include <onloop/address.hpp>
#include <onloop/options.hpp>

#include <vector>

#include "core/base/unique_fd.hpp"

namespace onloop::detail {

class UnixFile;

/// Makes the sockets that listen on `address`, which is not of the family `inherited`. For `localhost` there are two,
/// on the same port; one of them may be missing if the machine has no IPv6 or no IPv4.
/// @param file Receives the file of a UNIX socket. The caller removes this file before it closes the socket.
/// @throws std::system_error whose text begins with "listen on". Then no socket is left, and no file.
[[nodiscard]] std::vector<UniqueFd> bind_listening(const Address& address, const ListenOptions& options,
                                                   UnixFile& file);

}  // namespace onloop::detail
