// Several watches of one descriptor in one context, and descriptors that are closed while they are watched.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <utility>
#include <vector>

#include "drive.hpp"
#include "pipe.hpp"

namespace onloop::test {
namespace {

// ---- several of one descriptor ----

class SeveralWatches : public LoopTest {
 protected:
  SeveralWatches() {
    auto [near, far] = connected_pair(Kind::unix_pair);
    ours = std::move(near);
    peer = Peer(std::move(far));
  }
  Fd ours;
  Peer peer;
};
ONLOOP_ON_ALL_LOOPS(SeveralWatches);

TEST_P(SeveralWatches, OneADirection) {
  Context context{GetParam().make()};
  int reads = 0;
  int writes = 0;
  const Watch reader = context.watch(ours.get(), Interest::read, [&](Interest ready) {
    EXPECT_EQ(ready, Interest::read);
    char byte = 0;
    reads += ::recv(ours.get(), &byte, 1, MSG_DONTWAIT) == 1;
  });
  Watch writer = context.watch(ours.get(), Interest::write, [&](Interest ready) {
    EXPECT_EQ(ready, Interest::write);
    ++writes;
  });
  ASSERT_TRUE(run_until(context, [&] { return writes > 0; }));
  EXPECT_EQ(reads, 0);
  writer.set_interest(Interest::none);
  const int before = writes;
  peer.send("x");
  ASSERT_TRUE(run_until(context, [&] { return reads == 1; }));
  EXPECT_EQ(writes, before) << "each has its own interest";
}

TEST_P(SeveralWatches, TheSameDirectionTwiceInTheirOrder) {
  Context context{GetParam().make()};
  std::string calls;
  const Watch first = context.watch(ours.get(), Interest::read, [&](Interest) { calls += '1'; });
  const Watch second = context.watch(ours.get(), Interest::read, [&](Interest) { calls += '2'; });
  const Watch third = context.watch(ours.get(), Interest::read, [&](Interest) { calls += '3'; });
  peer.send("x");
  ASSERT_TRUE(run_until(context, [&] { return calls.size() >= 6; }));
  EXPECT_EQ(calls.substr(0, 6), "123123");
}

TEST_P(SeveralWatches, TheOthersGoOnWithoutTheFirst) {
  Context context{GetParam().make()};
  int calls = 0;
  int calls_of_first = 0;
  const auto owned = std::make_shared<int>(0);
  Watch first = context.watch(ours.get(), Interest::read, [&, owned](Interest) { ++calls_of_first; });
  Watch second = context.watch(ours.get(), Interest::read, [&](Interest) { ++calls; });
  Watch third = context.watch(ours.get(), Interest::read, [&](Interest) { ++calls; });
  first = {};
  EXPECT_EQ(owned.use_count(), 1) << "what the callback owns goes with its handle";
  peer.send("x");
  ASSERT_TRUE(run_until(context, [&] { return calls >= 2; }));
  second.cancel();
  const int before = calls;
  ASSERT_TRUE(run_until(context, [&] { return calls > before; }));
  third.cancel();
  EXPECT_FALSE(third.active());
  const int after = calls;
  turns(context);
  EXPECT_EQ(calls, after);
  EXPECT_EQ(calls_of_first, 0);
  const Watch again = context.watch(ours.get(), Interest::read, [&](Interest) { ++calls; });
  EXPECT_TRUE(run_until(context, [&] { return calls > after; }));
}

// Each watch destroys each other watch, in every order.
TEST_P(SeveralWatches, EachMayBeDestroyedInTheCallbackOfEach) {
  constexpr std::size_t kWatches = 3;
  for (std::size_t actor = 0; actor < kWatches; ++actor) {
    for (unsigned victims = 1; victims < 1u << kWatches; ++victims) {
      SCOPED_TRACE(std::to_string(actor) + " ends " + std::to_string(victims));
      Context context{GetParam().make()};
      std::vector<Watch> watches(kWatches);
      std::vector<int> calls(kWatches, 0);
      std::vector<int> late(kWatches, 0);
      bool acted = false;
      for (std::size_t i = 0; i < kWatches; ++i) {
        watches[i] =
            context.watch(ours.get(), Interest::both, [&, i, kept = std::make_unique<std::size_t>(i)](Interest) {
              ++calls[i];
              if (acted && (victims >> i & 1u)) ++late[i];
              if (acted || i != actor) return;
              acted = true;
              for (std::size_t each = 0; each < kWatches; ++each) {
                if (victims >> each & 1u) watches[each] = {};
              }
              EXPECT_EQ(*kept, i) << "the callable lives until it returns";
            });
      }
      peer.send("x");
      ASSERT_TRUE(run_until(context, [&] { return acted; }));
      calls.assign(kWatches, 0);
      turns(context);
      for (std::size_t i = 0; i < kWatches; ++i) {
        EXPECT_EQ(late[i], 0) << i;
        if (victims >> i & 1u) {
          EXPECT_EQ(calls[i], 0) << i;
        } else if (!GetParam().scripted) {
          EXPECT_GT(calls[i], 0) << i;
        }
      }
    }
  }
}

TEST_P(SeveralWatches, OneThatReplacesItselfIsNotCalledForEver) {
  Context context{GetParam().make()};
  int calls = 0;
  int turns_seen = 0;
  Watch watch;
  Function<void()> renew;
  renew = [&] {
    watch = context.watch(ours.get(), Interest::write, [&](Interest) {
      ++calls;
      renew();
    });
  };
  renew();
  Timer each = context.every(1ms, [&] { ++turns_seen; });
  EXPECT_TRUE(run_until(context, [&] { return calls >= 3 && turns_seen >= 3; }));
}

TEST_P(SeveralWatches, TheContextMayBeDestroyedInAnyCallback) {
  for (const int last : {1, 2, 3}) {
    auto context = std::make_unique<Context>(GetParam().make());
    int calls = 0;
    bool gone = false;
    const auto callback = [&](Interest) {
      EXPECT_FALSE(gone);
      if (++calls != last) return;
      gone = true;
      context.reset();
    };
    Watch first = context->watch(ours.get(), Interest::write, callback);
    Watch second = context->watch(ours.get(), Interest::write, callback);
    Watch third = context->watch(ours.get(), Interest::write, callback);
    context->run();
    EXPECT_TRUE(gone);
    for (const Watch* watch : {&first, &second, &third}) EXPECT_FALSE(watch->active());
  }
}

TEST_P(SeveralWatches, MoveAlongToAnotherLoop) {
  Context context{native()};
  int reads = 0;
  int writes = 0;
  Watch reader = context.watch(ours.get(), Interest::read, [&](Interest) {
    char byte = 0;
    reads += ::recv(ours.get(), &byte, 1, MSG_DONTWAIT) == 1;
  });
  Watch writer = context.watch(ours.get(), Interest::write, [&](Interest) { ++writes; });
  context.move_to(GetParam().make());
  peer.send("x");
  EXPECT_TRUE(run_until(context, [&] { return reads == 1 && writes > 0; }));
}

// ---- closed while it is watched ----

class StaleWatch : public LoopTest {
 protected:
  ContextOptions options() {
    ContextOptions made;
    made.on_error = [this](std::error_code code, std::string_view what) {
      errors.push_back(code);
      words.emplace_back(what);
    };
    return made;
  }
  /// Closes `old`. The file that `make` then opens gets its number.
  template <class Make>
  static Fd take_number(Fd& old, Make&& make) {
    const int number = old.get();
    Fd made = make();
    old.reset();
    EXPECT_EQ(::fcntl(made.get(), F_DUPFD_CLOEXEC, number), number);
    return Fd(number);
  }
  void expect_reported_once(Context& context, int number) {
    ASSERT_TRUE(run_until(context, [&] { return !errors.empty(); }));
    turns(context);
    ASSERT_EQ(errors.size(), 1u) << words[1];
    EXPECT_TRUE(is(errors[0], std::errc::bad_file_descriptor)) << errors[0].message();
    EXPECT_NE(words[0].find("descriptor " + std::to_string(number) + " "), std::string::npos) << words[0];
  }
  std::vector<std::error_code> errors;
  std::vector<std::string> words;
};
ONLOOP_ON_LOOPS(StaleWatch, friendly_loops());  // a scripted loop aborts if a watched descriptor is closed

TEST_P(StaleWatch, GivesWayToANewWatchOfItsNumber) {
  Context context{GetParam().make(), options()};
  Pipe old;
  Pipe fresh;
  Watch stale = context.watch(old.in.get(), Interest::read, [](Interest) { ADD_FAILURE(); });
  turns(context);
  const int number = old.in.get();
  Fd in = take_number(old.in, [&] { return std::move(fresh.in); });
  fresh.in = std::move(in);
  int calls = 0;
  const Watch watch = context.watch(number, Interest::read, [&](Interest) { calls += !fresh.take().empty(); });
  EXPECT_FALSE(stale.active());
  EXPECT_TRUE(errors.empty()) << "never inside watch()";
  fresh.put();
  ASSERT_TRUE(run_until(context, [&] { return calls == 1; }));
  expect_reported_once(context, number);
  stale.cancel();
  stale = {};
  fresh.put();
  EXPECT_TRUE(run_until(context, [&] { return calls == 2; }));
}

// All eventfds have one inode.
TEST_P(StaleWatch, IsDistinguishedFromAnotherFileOfTheSameInode) {
  Context context{GetParam().make(), options()};
  const auto make = [] { return Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); };
  Fd event = make();
  const int number = event.get();
  Watch stale = context.watch(number, Interest::read, [](Interest) { ADD_FAILURE(); });
  Watch joined = context.watch(number, Interest::read, [](Interest) { ADD_FAILURE(); });
  turns(context);
  EXPECT_TRUE(joined.active() && errors.empty());
  event = take_number(event, make);
  int calls = 0;
  const Watch watch = context.watch(number, Interest::read, [&](Interest) {
    eventfd_t count = 0;
    calls += ::eventfd_read(number, &count) == 0;
  });
  EXPECT_FALSE(stale.active());
  EXPECT_FALSE(joined.active());
  ::eventfd_write(number, 1);
  ASSERT_TRUE(run_until(context, [&] { return calls == 1; }));
  expect_reported_once(context, number);
}

// The file of the stale watch is still open elsewhere. So it stays in the epoll set, under a number that belongs to
// another file.
TEST_P(StaleWatch, OfAFileThatIsStillOpenGivesWay) {
  if (GetParam().name == "sdevent_direct") GTEST_SKIP() << "its README says why";
  Context context{GetParam().make(), options()};
  Pipe old;
  const Fd elsewhere(::fcntl(old.in.get(), F_DUPFD_CLOEXEC, 0));
  Pipe fresh;
  int spurious = 0;
  Watch stale = context.watch(old.in.get(), Interest::read, [](Interest) { ADD_FAILURE(); });
  turns(context);
  const int number = old.in.get();
  Fd in = take_number(old.in, [&] { return std::move(fresh.in); });
  fresh.in = std::move(in);
  int calls = 0;
  const Watch watch = context.watch(number, Interest::read, [&](Interest) {
    if (fresh.take().empty()) {
      ++spurious;
    } else {
      ++calls;
    }
  });
  old.put();
  fresh.put();
  ASSERT_TRUE(run_until(context, [&] { return calls == 1; }));
  expect_reported_once(context, number);
}

TEST_P(StaleWatch, GivesWayToAnAcceptedConnection) {
  Echo echo;
  Recorder recorder;
  Context context{GetParam().make(), options()};
  const Address address = context.listen("127.0.0.1:0", recorder).address();
  Peer peer;
  Pipe pipe;
  Watch stale = context.watch(pipe.in.get(), Interest::read, [](Interest) {});  // poll(2) reports a closed descriptor
  turns(context);
  const int number = pipe.in.get();
  std::vector<Fd> fill;  // so that the number is the lowest that is free
  while (fill.empty() || fill.back().get() < number) fill.emplace_back(::fcntl(number, F_DUPFD_CLOEXEC, 0));
  peer = Peer::connect_to(address);
  pipe.in.reset();
  ASSERT_TRUE(run_until(context, [&] { return recorder.opens == 1; }));
  ASSERT_EQ(recorder.last->fd(), number);
  EXPECT_FALSE(stale.active());
  recorder.last->set_protocol(echo);
  peer.send("hello");
  EXPECT_TRUE(run_until(context, [&] { return peer.read(), peer.received() == "hello"; }));
  expect_reported_once(context, number);
}

TEST_P(StaleWatch, GivesWayToAnAdoptedSocket) {
  Echo echo;
  Context context{GetParam().make(), options()};
  Pipe pipe;
  Watch stale = context.watch(pipe.in.get(), Interest::read, [](Interest) { ADD_FAILURE(); });
  turns(context);
  const int number = pipe.in.get();
  auto [ours, theirs] = connected_pair(Kind::tcp);
  Peer peer(std::move(theirs));
  Fd socket = take_number(pipe.in, [&, &ours = ours] { return std::move(ours); });
  context.adopt(socket.release(), echo);
  EXPECT_FALSE(stale.active());
  peer.send("hello");
  EXPECT_TRUE(run_until(context, [&] { return peer.read(), peer.received() == "hello"; }));
  expect_reported_once(context, number);
}

TEST_P(StaleWatch, AWatchedSocketThatIsOpenIsNotAdopted) {
  Echo echo;
  Context context{GetParam().make(), options()};
  auto [ours, theirs] = connected_pair(Kind::tcp);
  const Watch watch = context.watch(ours.get(), Interest::read, [](Interest) {});
  const Thrown thrown = thrown_by([&, &ours = ours]() -> Connection& { return context.adopt(ours.get(), echo); });
  EXPECT_TRUE(is(thrown.code, std::errc::file_exists)) << thrown.words;
  EXPECT_TRUE(watch.active());
}

TEST_P(StaleWatch, AConnectionWhoseSocketWasClosedEndsWhenItsNumberIsGivenOut) {
  Recorder recorder;
  Echo echo;
  Context context{GetParam().make(), options()};
  const Address address = context.listen("127.0.0.1:0", echo).address();
  Line line = join(context, recorder);
  ASSERT_TRUE(run_until(context, [&] { return recorder.opens == 1; }));
  const int number = line.connection.fd();
  std::vector<Fd> fill;
  while (fill.empty() || fill.back().get() < number) fill.emplace_back(::fcntl(number, F_DUPFD_CLOEXEC, 0));
  Peer peer = Peer::connect_to(address);
  ::close(number);
  ASSERT_TRUE(run_until(context, [&] { return recorder.closes == 1; }));
  EXPECT_TRUE(is(recorder.errors[0], std::errc::bad_file_descriptor)) << recorder.errors[0].message();
  peer.send("hello");
  EXPECT_TRUE(run_until(context, [&] { return peer.read(), peer.received() == "hello"; })) << "the new one is served";
}

// A forked child shares what the context has noted of its files.
TEST_P(StaleWatch, IsNotAWatchThatAForkedChildHasEnded) {
  Context context{GetParam().make(), options()};
  const Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  Watch first = context.watch(event.get(), Interest::read, [](Interest) {});
  EXPECT_TRUE(in_child([&] { first = {}; }));
  const Watch second = context.watch(event.get(), Interest::read, [](Interest) {});
  EXPECT_TRUE(first.active());
  turns(context);
  EXPECT_TRUE(errors.empty());
}

TEST_P(StaleWatch, IsNotALiveWatchInAForkedChildThatGoesOn) {
  Context context{GetParam().make(), options()};
  const Fd one(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const Fd two(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const Watch first = context.watch(one.get(), Interest::read, [](Interest) {});
  const Watch second = context.watch(two.get(), Interest::read, [](Interest) {});
  EXPECT_TRUE(in_child([&] {
    context.after_fork(GetParam().make());
    const Watch third = context.watch(two.get(), Interest::read, [](Interest) {});
    const Watch fourth = context.watch(one.get(), Interest::read, [](Interest) {});
    EXPECT_TRUE(first.active() && second.active() && third.active() && fourth.active());
    turns(context);
    EXPECT_TRUE(errors.empty());
  }));
}

TEST_P(StaleWatch, AListenerWhoseSocketWasClosedDrainsAtOnce) {
  Recorder recorder;
  Recorder other;
  Context context{GetParam().make(), options()};
  const RawListener raw("127.0.0.1:0");
  RawListener closed("127.0.0.1:0");  // without a copy: see OfAFileThatIsStillOpenGivesWay
  const int number = closed.socket.get();
  Listener& listener = context.listen("fd:" + std::to_string(number), recorder);
  turns(context);
  std::vector<Fd> fill;  // so that the number is the lowest that is free
  while (fill.empty() || fill.back().get() < number) fill.emplace_back(::fcntl(raw.socket.get(), F_DUPFD_CLOEXEC, 0));
  closed.socket.reset();
  const Connection& connection = context.connect(raw.address, other);
  ASSERT_EQ(connection.fd(), number);
  expect_reported_once(context, number);
  bool done = false;
  Listener* const one[] = {&listener};
  context.drain(one, 1h, [&] { done = true; });
  EXPECT_TRUE(run_until(context, [&] { return done; }));
}

TEST_P(StaleWatch, EndsQuietlyByItsHandle) {
  Context context{GetParam().make(), options()};
  Pipe old;
  Watch stale = context.watch(old.in.get(), Interest::read, [](Interest) {});
  turns(context);
  old.in.reset();
  stale.set_interest(Interest::none);
  stale = {};
  turns(context);
  EXPECT_TRUE(errors.empty());
}

}  // namespace
}  // namespace onloop::test
