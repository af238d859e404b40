#pragma once
#include <onloop/export.h>
#include <onloop/address.hpp>
#include <onloop/blocking.hpp>

#include <cstdint>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace onloop {

/// Of errors that getaddrinfo(3) gives: the values are its EAI_ numbers, the messages those of gai_strerror(3).
[[nodiscard]] ONLOOP_API const std::error_category& resolver_category() noexcept;

/// Looks up `host`, and blocks: on a thread of a pool, or where there is no loop. In the order of RFC 6724, which is
/// the one to try them in. Throws std::system_error whose what() reads "look up example.org: Name or service not
/// known", with a code of resolver_category() or errno.
[[nodiscard]] ONLOOP_API std::vector<Address> resolve_blocking(const std::string& host, std::uint16_t port);

namespace detail {
struct ONLOOP_API LookUp {
  static constexpr bool kIsLookUp = true;
  std::string host;
  std::uint16_t port;
  std::vector<Address> operator()() const { return resolve_blocking(host, port); }
};
}  // namespace detail

/// The same on the context's worker pool, of whose threads look-ups take at most half: `done`, which gets an
/// Outcome<std::vector<Address>>, comes later. How long it takes is the resolver's business (resolv.conf(5): timeout,
/// attempts); cancelling ends only a look-up that has not begun, and ~Context waits for one that has.
template <class Done>
Job resolve(Context& context, std::string host, std::uint16_t port, Done done) {
  return context.run_blocking(detail::LookUp{std::move(host), port}, std::move(done));
}

}  // namespace onloop
