#pragma once
#include <string_view>
#include <system_error>

namespace echo {

/// Tells the service manager how we are, by the protocol of sd_notify(3): "READY=1", "STOPPING=1". Does nothing where
/// NOTIFY_SOCKET is not set. Returns what went wrong; a service goes on without.
std::error_code notify_service_manager(std::string_view state) noexcept;

}  // namespace echo
