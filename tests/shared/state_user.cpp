#include "state.hpp"

namespace {
struct OtherState {};
}  // namespace

std::string use_state(onloop::Connection& connection) {
  return connection.state<SharedState>().text;
}

void use_other_state(onloop::Connection& connection) {
  connection.state<OtherState>();
}
