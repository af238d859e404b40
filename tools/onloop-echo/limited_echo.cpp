#include "onloop-echo/limited_echo.hpp"

namespace echo {

bool LimitedEcho::on_accept(const onloop::Address&) {
  if (max_connections_ == SIZE_MAX) return true;
  std::size_t open = 0;
  for (const onloop::Listener* listener : listeners_) open += listener->connection_count();
  return open < max_connections_;
}

void LimitedEcho::on_close(onloop::Connection&, std::error_code error) {
  if (error == std::errc::timed_out) ++timed_out_;
  if (one_ends_) one_ends_();
}

}  // namespace echo
