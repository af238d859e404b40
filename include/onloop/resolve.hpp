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

/// @return The category of the errors of getaddrinfo(3). The values are its EAI_ numbers, and the messages are those of
/// gai_strerror(3).
[[nodiscard]] ONLOOP_API const std::error_category& resolver_category() noexcept;

/// Looks up `host`. This function blocks: call it on a thread of a pool, or where there is no loop.
/// @param host A name, or the text of an IP address.
/// @param port The port that the addresses will have.
/// @return The addresses in the order of RFC 6724. Try them in this order.
/// @throws std::system_error with a code of resolver_category() or of errno. Its what() reads like "look up
/// example.org: Name or service not known".
[[nodiscard]] ONLOOP_API std::vector<Address> resolve_blocking(const std::string& host, std::uint16_t port);

/// @cond
namespace detail {
struct ONLOOP_API LookUp {
  static constexpr bool kIsLookUp = true;
  std::string host;
  std::uint16_t port;
  std::vector<Address> operator()() const { return resolve_blocking(host, port); }
};
}  // namespace detail
/// @endcond

/// Looks up `host` on the context's worker pool. Look-ups take at most half of the threads of the pool, but at least
/// one. How long a look-up takes depends on the resolver (resolv.conf(5): timeout, attempts). Cancelling ends only a
/// look-up that has not begun. ~Context waits for a look-up that has begun.
/// @param context The context on whose worker pool the look-up runs, and in whose turn `done` is called.
/// @param host A name, or the text of an IP address.
/// @param port The port that the addresses will have.
/// @param done Is called later, with an Outcome<std::vector<Address>>.
template <class Done>
Job resolve(Context& context, std::string host, std::uint16_t port, Done done) {
  return context.run_blocking(detail::LookUp{std::move(host), port}, std::move(done));
}

}  // namespace onloop
