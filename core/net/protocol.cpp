#include <onloop/protocol.hpp>

#include <onloop/connection.hpp>

#include "core/net/endpoint.hpp"

namespace onloop {

Protocol::~Protocol() {
  detail::Endpoint::sever_all(*this);
}

bool Protocol::on_accept(const Address&) {
  return true;
}
void Protocol::on_open(Connection&) {}
void Protocol::on_drain(Connection&) {}
void Protocol::on_end(Connection& connection) {
  connection.close();
}
void Protocol::on_close(Connection&, std::error_code) {}

}  // namespace onloop
