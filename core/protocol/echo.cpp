#include <onloop/echo.hpp>

#include <onloop/connection.hpp>

namespace onloop {

void Echo::on_data(Connection& connection, std::span<const std::byte> data) {
  if (connection.write(data) == Flow::wait) connection.pause_reading();  // until on_drain()
}

void Echo::on_drain(Connection& connection) {
  connection.resume_reading();
}

}  // namespace onloop
