#include "onloop-echo/limited_echo.hpp"

namespace echo {

/// A client that was let in may fail to open for lack of memory, and no callback reports this. So its place stays taken
/// and goes to the next client.
bool LimitedEcho::on_accept(const onloop::Address&) {
  has_place_ = has_place_ || connection_limit_.take_place();
  return has_place_;
}

void LimitedEcho::on_open(onloop::Connection&) {
  has_place_ = false;
}

void LimitedEcho::on_close(onloop::Connection&, std::error_code error) {
  connection_limit_.give_back_place();
  if (error == std::errc::timed_out) ++timed_out_;
  if (one_ends_) one_ends_();
}

bool LimitedEcho::export_state(onloop::Connection&, std::vector<std::byte>&) {
  return true;
}

void LimitedEcho::import_state(onloop::Connection&, std::span<const std::byte>) {
  connection_limit_.add_place();
}

}  // namespace echo
