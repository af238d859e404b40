#pragma once
#include <onloop/loop.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace echo {

/// The event loop of that name, hosted so; by default as the loop has it. Throws tools::UsageError.
[[nodiscard]] onloop::Loop loop_of(std::string_view name, std::optional<onloop::Hosting> hosting);
/// The available loop that follows that one; the first one after the last.
[[nodiscard]] std::string loop_after(std::string_view name);

/// "direct" or "aggregate", both ways.
[[nodiscard]] const char* hosting_name(onloop::Hosting hosting) noexcept;
[[nodiscard]] std::optional<onloop::Hosting> hosting_of(std::string_view name) noexcept;

/// All loops, for people: a line for each.
[[nodiscard]] std::string loops_text();
/// All loops, as a JSON array in one line; `current` is marked.
[[nodiscard]] std::string loops_json(const onloop::Loop& current);

}  // namespace echo
