// The C++ part of echo_on_own_poll_loop_in_c: the service, behind two C functions.
#include <onloop/onloop.hpp>

#include <cstdio>
#include <exception>
#include <memory>
#include <string>

#include "echo_on_own_poll_loop.h"

struct echo_service {
  explicit echo_service(onloop::Loop loop) : context{loop} {}
  onloop::Echo echo;
  onloop::Context context;
};

echo_service* echo_service_start(const onloop_ops* ops, void* foreign, const char* address) try {
  auto service = std::make_unique<echo_service>(onloop::Loop{*ops, foreign});
  const onloop::Listener& listener = service->context.listen(address, service->echo);
  std::printf("listening on %s (%s)\n", listener.address().to_string().c_str(), ops->name);
  std::fflush(stdout);
  return service.release();
} catch (const std::exception& error) {
  std::fprintf(stderr, "echo_on_own_poll_loop_in_c: %s\n", error.what());
  return nullptr;
}

void echo_service_stop(echo_service* service) {
  delete service;
}
