// What belongs to a connection: its typed state, its protocol, and the weak references to it.
#include <memory>
#include <stdexcept>
#include <thread>
#include <typeinfo>

#include "drive.hpp"

namespace onloop::test {
namespace {

class State : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(State);
class Reference : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(Reference);

// Counts the objects that exist.
struct Counted {
  explicit Counted(int& living_now, int number_given = 0) : living(living_now), number(number_given) { ++living; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --living; }
  int& living;
  int number;
};

TEST_P(State, IsMadeInPlaceAndFoundByItsType) {
  int living = 0;
  Recorder recorder;
  Context context{GetParam().make()};
  Line line = join(context, recorder);
  Counted& made = line.connection.emplace_state<Counted>(living, 7);
  EXPECT_EQ(&line.connection.state<Counted>(), &made);
  EXPECT_EQ(made.number, 7);
}

struct Session {
  std::string name;
  int requests = 0;
};

TEST_P(State, MayBeAnAggregate) {
  Line line = join(context(), recorder_);
  EXPECT_EQ(line.connection.emplace_state<Session>("guest", 3).requests, 3);
  EXPECT_EQ(line.connection.state<Session>().name, "guest");
  EXPECT_EQ(line.connection.emplace_state<Session>("another").requests, 0);
  EXPECT_EQ(line.connection.emplace_state<Session>().name, "");
}

TEST_P(State, OfAnotherTypeOrNoneIsABadCast) {
  Line line = join(context(), recorder_);
  EXPECT_THROW(line.connection.state<int>(), std::bad_cast);
  line.connection.emplace_state<int>(5);
  EXPECT_THROW(line.connection.state<unsigned>(), std::bad_cast);
  EXPECT_EQ(line.connection.state<int>(), 5);
}

TEST_P(State, OfAnotherTypeOrNoneIsNotFound) {
  Connection& connection = join(context(), recorder_).connection;
  EXPECT_EQ(connection.find_state<int>(), nullptr);
  int& state = connection.emplace_state<int>(7);
  EXPECT_EQ(connection.find_state<int>(), &state);
  EXPECT_EQ(connection.find_state<unsigned>(), nullptr);
}

TEST_P(State, ReplacedDestroysTheFormer) {
  int living = 0;
  Recorder recorder;
  Context context{GetParam().make()};
  Line line = join(context, recorder);
  line.connection.emplace_state<Counted>(living, 1);
  line.connection.emplace_state<Counted>(living, 2);
  EXPECT_EQ(living, 1);
  EXPECT_EQ(line.connection.state<Counted>().number, 2);
  line.connection.emplace_state<int>(3);
  EXPECT_EQ(living, 0);
}

TEST_P(State, WhoseConstructorThrowsLeavesTheFormer) {
  struct Throws {
    Throws() { throw std::runtime_error("no"); }
  };
  Recorder recorder;
  Context context{GetParam().make()};
  Line line = join(context, recorder);
  line.connection.emplace_state<int>(5);
  EXPECT_THROW(line.connection.emplace_state<Throws>(), std::runtime_error);
  EXPECT_EQ(line.connection.state<int>(), 5);
}

TEST_P(State, LivesThroughOnCloseAndNoLongerEvenIfARefIsHeld) {
  int living = 0;
  int number_in_close = 0;
  Recorder recorder;
  recorder.when_close = [&](Connection& connection, std::error_code) {
    number_in_close = connection.state<Counted>().number;
  };
  Context context{GetParam().make()};
  Line line = join(context, recorder);
  const Ref held = line.connection.ref();
  line.connection.emplace_state<Counted>(living, 9);
  line.peer.close();
  ASSERT_TRUE(run_until(context, [&] { return recorder.closes == 1; }));
  EXPECT_EQ(number_in_close, 9);
  EXPECT_EQ(living, 0);
}

TEST_P(State, IsDestroyedWithTheContext) {
  int living = 0;
  Recorder recorder;
  {
    Context context{GetParam().make()};
    join(context, recorder).connection.emplace_state<Counted>(living);
    ASSERT_EQ(living, 1);
  }
  EXPECT_EQ(living, 0);
}

TEST_P(State, IsDestroyedWithTheProtocol) {
  int living = 0;
  Context context{GetParam().make()};
  {
    Recorder recorder;
    join(context, recorder).connection.emplace_state<Counted>(living);
  }
  turns(context);
  EXPECT_EQ(living, 0);
}

TEST_P(State, StaysWhenTheProtocolIsSetInsideOnData) {
  Recorder greeter;
  Recorder worker;
  greeter.when_data = [&](Connection& connection, std::string_view) { connection.set_protocol(worker); };
  Context context{GetParam().make()};
  Line line = join(context, greeter);
  line.connection.emplace_state<int>(5);
  line.peer.send("hello");
  ASSERT_TRUE(run_until(context, [&] { return greeter.received == "hello"; }));
  line.peer.send("work");
  ASSERT_TRUE(run_until(context, [&] { return worker.received == "work"; }));
  EXPECT_EQ(line.connection.state<int>(), 5);
  line.peer.close();
  ASSERT_TRUE(run_until(context, [&] { return worker.closes == 1; }));
  EXPECT_EQ(worker.opens, 0) << "it gets no on_open";
  EXPECT_EQ(worker.ends, 1);
  EXPECT_EQ(greeter.datas, 1);
  EXPECT_EQ(greeter.ends + greeter.closes, 0);
}

TEST_P(State, AfterSetProtocolTheFormerProtocolMayGo) {
  Recorder worker;
  Context context{GetParam().make()};
  Line line = [&] {
    Recorder greeter;
    Line made = join(context, greeter);
    turns(context);
    made.connection.set_protocol(worker);
    return made;
  }();
  line.peer.send("work");
  EXPECT_TRUE(run_until(context, [&] { return worker.received == "work"; }));
  EXPECT_EQ(worker.closes, 0);
}

TEST_P(State, AfterSetProtocolTheNewProtocolSeversWhenItGoes) {
  Recorder greeter;
  Context context{GetParam().make()};
  Line line = join(context, greeter);
  turns(context);
  const Ref ref = line.connection.ref();
  {
    Recorder worker;
    line.connection.set_protocol(worker);
  }
  EXPECT_EQ(ref.get(), nullptr);
  EXPECT_TRUE(run_until(context, [&] { return line.peer.read(), line.peer.over(); }));
  EXPECT_EQ(greeter.closes, 0) << "silently";
}

TEST_P(Reference, IsTheConnectionUntilOnCloseHasReturned) {
  Line line = join(context(), recorder_);
  const Ref ref = line.connection.ref();
  const Ref copy = ref;
  EXPECT_EQ(ref.get(), &line.connection);
  EXPECT_TRUE(copy);
  EXPECT_EQ(copy->fd(), line.connection.fd());
  line.peer.close();
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes == 1; }));
  EXPECT_EQ(ref.get(), nullptr);
  EXPECT_FALSE(copy);
}

TEST_P(Reference, CopiesAndMovesAreReferencesOfTheirOwn) {
  Line line = join(context(), recorder_);
  Ref first = line.connection.ref();
  Ref second = first;
  const Ref third = std::move(first);
  EXPECT_EQ(third.get(), &line.connection);
  second = third;
  EXPECT_EQ(second.get(), &line.connection);
  second = Ref{};
  EXPECT_EQ(second.get(), nullptr);
  EXPECT_EQ(third.get(), &line.connection);
}

TEST_P(Reference, IsNullOnceTheConnectionWasSevered) {
  Context context{GetParam().make()};
  Ref ref;
  {
    Recorder recorder;
    ref = join(context, recorder).connection.ref();
    EXPECT_TRUE(ref);
  }
  EXPECT_FALSE(ref);
}

TEST_P(Reference, IsNullBeyondItsContext) {
  Recorder recorder;
  Ref ref;
  {
    Context context{GetParam().make()};
    ref = join(context, recorder).connection.ref();
    EXPECT_TRUE(ref);
  }
  EXPECT_EQ(ref.get(), nullptr);
  EXPECT_EQ(recorder.closes, 0);
}

TEST_P(Reference, MayBeCopiedAndDestroyedOnAnyThread) {
  Line line = join(context(), recorder_);
  turns(context());
  std::thread elsewhere([ref = line.connection.ref()]() mutable {
    for (int i = 0; i < 1000; ++i) {
      Ref copy = ref;
      Ref moved = std::move(copy);
      ref = moved;
    }
  });
  line.peer.close();
  EXPECT_TRUE(run_until(context(), [&] { return recorder_.closes == 1; }));
  elsewhere.join();
}

TEST_P(Reference, OfAGoneContextMayBeDestroyedOnAnotherThread) {
  Recorder recorder;
  auto ref = std::make_unique<Ref>();
  {
    Context context{GetParam().make()};
    *ref = join(context, recorder).connection.ref();
  }
  std::thread([last = std::move(ref)]() mutable { last.reset(); }).join();
}

}  // namespace
}  // namespace onloop::test
