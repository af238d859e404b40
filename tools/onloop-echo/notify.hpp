#pragma once
#include <string_view>
#include <system_error>

namespace echo {

/// Tells the service manager the state of the service, by the protocol of sd_notify(3). Does nothing if
/// NOTIFY_SOCKET is not set.
///
/// @param state  What to say, such as "READY=1" or "STOPPING=1".
/// @return An error, or no error. After an error the service can go on without the service manager.
std::error_code notify_service_manager(std::string_view state) noexcept;

}  // namespace echo
