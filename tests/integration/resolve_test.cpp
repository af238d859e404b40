// Names: looked up by the worker pool, and each of their addresses tried.
#include <dlfcn.h>
#include <netdb.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <future>
#include <mutex>

#include "drive.hpp"

namespace {
std::mutex name_server;  // while it is locked, every look-up of this program waits
}  // namespace

// Stands before the C library's function: a slow name server that a test can switch on and off.
extern "C" int getaddrinfo(const char* node, const char* service, const addrinfo* hints, addrinfo** found) {
  using Function = int(const char*, const char*, const addrinfo*, addrinfo**);
  const std::lock_guard answers{name_server};
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, "getaddrinfo"))(node, service, hints, found);
}

namespace onloop::test {
namespace {

class Names : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(Names);

// Nobody has this name. No name server is asked, because a question cannot contain an empty label.
constexpr const char* kNobody = "no-such-host..invalid";
constexpr const char* kNobodysDoor = "no-such-host..invalid:80";

// Every machine has this name, even without /etc/hosts, because inet_aton(3) reads it as an address.
constexpr const char* kLoopback = "0x7f000001";

TEST_P(Names, AreLookedUp) {
  std::vector<Address> found;
  resolve(context(), kLoopback, 80, [&](Outcome<std::vector<Address>> addresses) {
    found = addresses.get();
    context().stop();
  });
  context().run();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found.front().to_string(), "127.0.0.1:80");
}

// Work of the application blocks all threads of the pool, and ends only after the look-up has ended.
TEST_P(Names, AreLookedUpWhileAllThreadsAreBlocked) {
  std::promise<void> looked_up;
  const std::shared_future<void> wait = looked_up.get_future().share();
  Context context(GetParam().make());
  int done = 0;
  int found = 0;
  for (int i = 0; i < 6; ++i) context.run_blocking([wait] { wait.wait(); }, [&](Outcome<void>) { ++done; });
  for (int i = 0; i < 2; ++i) {
    resolve(context, kLoopback, 80, [&](Outcome<std::vector<Address>> addresses) {
      EXPECT_EQ(addresses.get().size(), 1u);
      if (++found == 2) looked_up.set_value();
    });
  }
  const bool reached = static_cast<bool>(run_until(context, [&] { return done == 6; }));
  EXPECT_TRUE(reached);
  if (found < 2) looked_up.set_value();
}

TEST_P(Names, ThatNobodyHasSaySo) {
  Thrown thrown;
  resolve(context(), kNobody, 80, [&](Outcome<std::vector<Address>> addresses) {
    thrown = thrown_by([&] { return addresses.get().size(); });
    context().stop();
  });
  context().run();
  EXPECT_TRUE(thrown.code);
  EXPECT_NE(thrown.words.find("look up no-such-host..invalid: "), std::string::npos) << thrown.words;
}

TEST_P(Names, WithAZeroByteAreRefused) {
  const std::string host("localhost\0evil", 14);
  const Thrown thrown = thrown_by([&] { return resolve_blocking(host, 1); });
  EXPECT_TRUE(is(thrown.code, std::errc::invalid_argument)) << thrown.words;
  EXPECT_NE(thrown.words.find("look up localhost\\0evil: the name has a zero byte in it"), std::string::npos)
      << thrown.words;
}

TEST_P(Names, CanBeConnectedTo) {
  RawListener listener("127.0.0.1:0");
  Context context(GetParam().make());
  Recorder recorder;
  Connection& connection = context.connect(kLoopback + (':' + std::to_string(listener.address.port())), recorder);
  EXPECT_EQ(connection.write("early"), Flow::go);  // as to any address
  EXPECT_EQ(recorder.calls, 0);
  EXPECT_TRUE(run_until(context, [&] { return recorder.opens == 1; }));
  Peer peer = listener.accept();
  EXPECT_TRUE(run_until(context, [&] { return peer.read(), peer.received() == "early"; }));
}

TEST_P(Names, ThatNobodyHasEndTheConnect) {
  Recorder recorder;
  context().connect(kNobodysDoor, recorder);
  EXPECT_TRUE(run_until(context(), [&] { return recorder.closes == 1; }));
  EXPECT_EQ(recorder.opens, 0);
  EXPECT_TRUE(recorder.errors.front());
  EXPECT_EQ(context().statistics().connections, 0u);
}

TEST_P(Names, AConnectMayBeGivenUpWhileItIsLookedUp) {
  Context context(GetParam().make());
  std::unique_lock unanswered{name_server};
  Recorder recorder;
  context.connect(kNobodysDoor, recorder).close();
  EXPECT_TRUE(run_until(context, [&] { return recorder.closes == 1; }));
  EXPECT_TRUE(is(recorder.errors.front(), std::errc::operation_canceled));
  context.connect(kNobodysDoor, recorder, {.timeout = 1ns});
  EXPECT_TRUE(run_until(context, [&] { return recorder.closes == 2; }));
  EXPECT_TRUE(is(recorder.errors.back(), std::errc::timed_out));
  {
    Recorder short_lived;
    context.connect(kNobodysDoor, short_lived);
  }
  unanswered.unlock();
  turns(context);
}

TEST_P(Names, AContextMayGoWhileOneIsLookedUp) {
  Recorder recorder;
  {
    Context context(GetParam().make());
    context.connect(kNobodysDoor, recorder);
  }
  EXPECT_EQ(recorder.calls, 0);
}

TEST_P(Names, AFullWorkerQueueRefusesTheConnect) {
  Context context(GetParam().make(), {.worker_threads = 1, .worker_queue = 0});
  std::promise<void> go;
  std::promise<void> begun;
  context.run_blocking(
      [&, opened = go.get_future().share()] {
        begun.set_value();
        opened.wait();
      },
      [](Outcome<void>) {});
  begun.get_future().wait();
  Recorder recorder;
  const Thrown thrown = thrown_by([&] { return &context.connect(kNobodysDoor, recorder); });
  EXPECT_TRUE(is(thrown.code, std::errc::resource_unavailable_try_again)) << thrown.words;
  go.set_value();
  turns(context);
  EXPECT_EQ(recorder.calls, 0);
  EXPECT_EQ(context.statistics().connections, 0u);
}

class NamesOfTheNetwork : public CleanTest {};

// This is the only test that asks the name servers of this machine, if it has any. The time that they take and the way
// in which they fail are not tested.
TEST_F(NamesOfTheNetwork, ThatNobodyHasSaySo) {
  const Thrown thrown = thrown_by([] { return resolve_blocking("no-such-host.invalid", 80).size(); });
  if (!thrown.code) GTEST_SKIP() << "a name server answers for .invalid, which RFC 6761 forbids";
  EXPECT_TRUE(thrown.words.starts_with("look up no-such-host.invalid: ")) << thrown.words;
}

}  // namespace
}  // namespace onloop::test
