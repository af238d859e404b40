// Shared libraries recognise the type of the state of a connection, although each library hides what it does not
// export.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <typeinfo>

#include "state.hpp"

namespace {

TEST(SharedState, IsKnownInAnotherLibrary) {
  onloop::Echo protocol;
  onloop::Context context{onloop::native()};
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
  const onloop::Descriptor peer(ends[1]);
  onloop::Connection& connection = context.adopt(ends[0], protocol);
  EXPECT_THROW(use_state(connection), std::bad_cast);
  make_state(connection, "from the other library");
  EXPECT_EQ(use_state(connection), "from the other library");
  EXPECT_THROW(use_other_state(connection), std::bad_cast);
}

}  // namespace
