#pragma once
#include <onloop/onloop.hpp>

#include <string>

/// The type that both libraries know.
struct SharedState {
  std::string text;
};

#define SHARED_STATE_EXPORT [[gnu::visibility("default")]]

/// In one library: gives the connection a SharedState.
SHARED_STATE_EXPORT void make_state(onloop::Connection& connection, const std::string& text);
/// In the other library: what that state says. Throws std::bad_cast if it is none.
SHARED_STATE_EXPORT std::string use_state(onloop::Connection& connection);
/// Likewise in the other: asks for a state of another type.
SHARED_STATE_EXPORT void use_other_state(onloop::Connection& connection);
