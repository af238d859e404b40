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
/// In the other library: returns the text of this state. Throws std::bad_cast if the state has another type.
SHARED_STATE_EXPORT std::string use_state(onloop::Connection& connection);
/// Also in the other library: asks for a state of another type.
SHARED_STATE_EXPORT void use_other_state(onloop::Connection& connection);
