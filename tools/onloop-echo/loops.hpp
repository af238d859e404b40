#pragma once
#include <onloop/loop.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace echo {

/// The event loop with this name and this hosting. Without a hosting, it is the default of the loop.
///
/// @throws tools::UsageError if there is no such loop.
[[nodiscard]] onloop::Loop loop_of(std::string_view name, std::optional<onloop::Hosting> hosting);
/// The name of the next available loop after this one. After the last loop it is the first one.
[[nodiscard]] std::string loop_after(std::string_view name);

/// Converts a hosting to its name, "direct" or "aggregate", and a name to its hosting.
[[nodiscard]] const char* hosting_name(onloop::Hosting hosting) noexcept;
[[nodiscard]] std::optional<onloop::Hosting> hosting_of(std::string_view name) noexcept;

/// All loops as text for people, one line for each loop.
[[nodiscard]] std::string loops_text();
/// All loops as a JSON array in one line. The element of `current` has "current":true.
[[nodiscard]] std::string loops_json(const onloop::Loop& current);

}  // namespace echo
