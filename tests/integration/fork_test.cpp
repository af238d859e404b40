// fork(): what a child may do with its copy of a context, and that the parent never notices.
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <stdexcept>

#include "drive.hpp"

namespace onloop::test {
namespace {

class Forked : public LoopTest {};
ONLOOP_ON_ALL_LOOPS(Forked);

// A context with one of everything, which counts what it serves.
struct Everything {
  explicit Everything(const LoopCase& loop) {
    ContextOptions options;
    options.on_wake = [this] { ++woken; };
    context.emplace(loop.make(), options);
    unix_listener = &context->listen("unix:" + directory.file("socket"), echo);
    tcp_listener = &context->listen("127.0.0.1:0", echo);
    line.emplace(join(*context, recorder));
    int ends[2] = {-1, -1};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) throw std::runtime_error("socketpair");
    watched = Fd(ends[0]);
    prod = Fd(ends[1]);
    watch = context->watch(watched.get(), Interest::read, [this](Interest) {
      char byte;
      prods += ::recv(watched.get(), &byte, 1, MSG_DONTWAIT) == 1;
    });
    ticking = context->every(1ms, [this] { ++ticks; });
    turns(*context);  // all is registered with the kernel
    context->release_thread();
  }

  // Everything is served, by this process.
  void expect_to_work() {
    const int prods_before = prods;
    const int ticks_before = ticks;
    const int woken_before = woken;
    const std::size_t received_before = recorder.received.size();
    Peer over_unix = Peer::connect_to(unix_listener->address());
    Peer over_tcp = Peer::connect_to(tcp_listener->address());
    over_unix.send("unix");
    over_tcp.send("tcp");
    line->peer.send("line");
    ASSERT_EQ(::send(prod.get(), "x", 1, 0), 1);
    context->remote().wake();
    bool posted = false;
    EXPECT_TRUE(context->remote().post([&] { posted = true; }));
    EXPECT_TRUE(run_until(*context,
                          [&] {
                            over_unix.read();
                            over_tcp.read();
                            return over_unix.received() == "unix" && over_tcp.received() == "tcp" && posted &&
                                   prods > prods_before && recorder.received.size() >= received_before + 4 &&
                                   ticks > ticks_before && woken > woken_before;
                          }))
        << over_unix.received() << ' ' << over_tcp.received() << ' ' << recorder.received << " posted " << posted
        << " prods " << prods << " ticks " << ticks << " woken " << woken;
    EXPECT_EQ(recorder.closes, 0);
  }

  TemporaryDirectory directory;
  Echo echo;
  Recorder recorder;
  std::optional<Context> context;
  Listener* unix_listener = nullptr;
  Listener* tcp_listener = nullptr;
  std::optional<Line> line;
  Fd watched, prod;
  Watch watch;
  Timer ticking;
  int prods = 0;
  int ticks = 0;
  int woken = 0;
};

TEST_P(Forked, AChildThatDoesNothingDisturbsNothing) {
  Everything all(GetParam());
  EXPECT_TRUE(in_child([] {}));
  all.expect_to_work();
}

TEST_P(Forked, AChildThatDestroysItsCopyDisturbsNothing) {
  Everything all(GetParam());
  EXPECT_TRUE(in_child([&] {
    all.context.reset();
    EXPECT_EQ(::access(all.directory.file("socket").c_str(), F_OK), 0) << "the socket's file is the parent's";
    EXPECT_FALSE(all.ticking.active());
    EXPECT_FALSE(all.watch.active());
    EXPECT_EQ(all.recorder.closes, 0);
  }));
  EXPECT_EQ(::access(all.directory.file("socket").c_str(), F_OK), 0);
  all.line->peer.read();
  EXPECT_FALSE(all.line->peer.over()) << "the connection is the parent's";
  all.expect_to_work();
}

TEST_P(Forked, AChildServesEverythingAfterAfterFork) {
  Everything all(GetParam());
  EXPECT_TRUE(in_child([&] {
    all.context->after_fork(GetParam().make());
    all.expect_to_work();
  }));
  all.expect_to_work();
}

TEST_P(Forked, AChildMayGoOnToAnotherKindOfLoop) {
  Everything all(GetParam());
  for (const Loop& loop : {native(), native_poll()}) {
    EXPECT_TRUE(in_child([&] {
      all.context->after_fork(loop);
      EXPECT_EQ(all.context->loop().name(), loop.name());
      all.expect_to_work();
      all.context.reset();
      EXPECT_EQ(::access(all.directory.file("socket").c_str(), F_OK), 0) << "the socket's file is the parent's";
    }));
  }
  all.expect_to_work();
}

TEST_P(Forked, WhatTheChildDoesWithItsLoopIsNotSeenByTheParents) {
  Everything all(GetParam());
  EXPECT_TRUE(in_child([&] {
    all.context->after_fork(GetParam().make());
    all.watch.cancel();
    all.ticking.cancel();
    all.line->connection.pause_reading();
    all.unix_listener->pause();
    all.tcp_listener->close();
    turns(*all.context);
  }));
  all.expect_to_work();
}

// Members are destroyed in this order: the watch before its context. The removal of the watch in the child once
// silenced the watch of the parent.
TEST_P(Forked, HandlesThatGoBeforeTheirContextInTheChildAreNotSeenByTheParent) {
  Everything all(GetParam());
  EXPECT_TRUE(in_child([&] {
    all.watch = {};
    all.ticking = {};
    all.tcp_listener->close();
    all.context.reset();
  }));
  all.expect_to_work();
}

TEST_P(Forked, ARemoteInTheChildHasNoEffectUntilAfterFork) {
  Everything all(GetParam());
  const Remote remote = all.context->remote();
  EXPECT_TRUE(in_child([&] {
    remote.wake();
    remote.post([&] { ++all.prods; });
    all.context->after_fork(GetParam().make());
    remote.wake();
    bool posted = false;
    EXPECT_TRUE(remote.post([&] { posted = true; }));
    EXPECT_TRUE(run_until(*all.context, [&] { return posted && all.woken > 0; }));
  }));
  turns(*all.context);
  EXPECT_EQ(all.woken, 0) << "the child woke its parent";
  EXPECT_EQ(all.prods, 0);
  all.expect_to_work();
}

// This happens if the init process of a container starts a helper in another container: both have the pid 1. The child
// once took itself for its parent, and silenced the parent when it destroyed its copy.
TEST_P(Forked, AChildWithThePidOfItsParentIsAChild) {
  const auto enter_namespace = [] {
    if (::unshare(CLONE_NEWPID) != 0) throw std::runtime_error("unshare");
  };
  if (!in_child(enter_namespace)) GTEST_SKIP() << "no new PID namespace may be made here";
  for (const bool goes_on : {false, true}) {
    EXPECT_TRUE(in_child([&] {
      enter_namespace();
      EXPECT_TRUE(in_child([&] {
        ASSERT_EQ(::getpid(), 1);
        Everything all(GetParam());
        const Signal signal = all.context->on_signal(SIGUSR1, [] {});
        all.context->release_thread();
        enter_namespace();
        EXPECT_TRUE(in_child([&] {
          ASSERT_EQ(::getpid(), 1);
          all.context->remote().wake();
          ::raise(SIGUSR1);
          if (goes_on) {
            all.context->after_fork(GetParam().make());
            all.expect_to_work();
          }
          all.context.reset();
          EXPECT_EQ(::access(all.directory.file("socket").c_str(), F_OK), 0) << "the socket's file is the parent's";
        }));
        turns(*all.context);
        EXPECT_EQ(all.woken, 0) << "the child woke its parent";
        all.expect_to_work();
      }));
    }));
  }
}

// No handler of pthread_atfork() runs.
TEST_P(Forked, AChildOfABareCloneIsAChild) {
  Everything all(GetParam());
  const auto child = static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  ASSERT_GE(child, 0);
  if (child == 0) {
    all.context->remote().wake();
    all.context.reset();
    ::_exit(::access(all.directory.file("socket").c_str(), F_OK) == 0 ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  turns(*all.context);
  EXPECT_EQ(all.woken, 0) << "the child woke its parent";
  all.expect_to_work();
}

TEST_P(Forked, AChildMayBeForkedFromACallback) {
  Everything all(GetParam());
  bool forked = false;
  all.context->post([&] {
    EXPECT_TRUE(in_child([&] {
      all.context->after_fork(GetParam().make());
      bool ran = false;
      all.context->post([&] { ran = true; });
      EXPECT_FALSE(ran);
    }));
    forked = true;
  });
  EXPECT_TRUE(run_until(*all.context, [&] { return forked; }));
  all.expect_to_work();
}

}  // namespace
}  // namespace onloop::test
