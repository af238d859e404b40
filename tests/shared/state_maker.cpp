#include "state.hpp"

void make_state(onloop::Connection& connection, const std::string& text) {
  connection.emplace_state<SharedState>(text);
}
