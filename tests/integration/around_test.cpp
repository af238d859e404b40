// ContextOptions::around holds something around every callback.
#include <unistd.h>

#include <map>
#include <memory>

#include "drive.hpp"

namespace onloop::test {
namespace {

class Around : public LoopTest {};
ONLOOP_ON_ALL_LOOPS(Around);

// Counts how deep the calls of around are.
struct Held {
  ContextOptions options() {
    ContextOptions made;
    made.around = [this](const std::function<void()>& batch) {
      ++batches;
      ++depth;
      batch();
      --depth;
    };
    return made;
  }
  int depth = 0;
  int batches = 0;
};

TEST_P(Around, IsHeldOnceInEveryKindOfCallback) {
  Held held;
  std::map<std::string, int> depths;
  const auto note = [&](const char* name) {
    const auto found = depths.emplace(name, held.depth).first;
    if (found->second == 1) found->second = held.depth;  // once wrong, it stays wrong
  };
  Recorder recorder;
  recorder.when_accept = [&](const Address&) { return note("on_accept"), true; };
  recorder.when_open = [&](Connection& connection) {
    note("on_open");
    while (connection.write(pattern(100'000)) != Flow::wait) {
    }
  };
  recorder.when_data = [&](Connection&, std::string_view) { note("on_data"); };
  recorder.when_drain = [&](Connection&) { note("on_drain"); };
  recorder.when_end = [&](Connection& connection) {
    note("on_end");
    connection.close();
  };
  recorder.when_close = [&](Connection&, std::error_code) { note("on_close"); };
  ContextOptions options = held.options();
  options.on_wake = [&] { note("on_wake"); };
  Context context{GetParam().make(), options};
  const Listener& listener = context.listen("127.0.0.1:0", recorder);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const Fd in(ends[0]);
  const Fd out(ends[1]);
  const Watch watch = context.watch(out.get(), Interest::write, [&](Interest) { note("watch"); });
  const Timer timer = context.timer(1ms, [&] { note("timer"); });
  const Timer repeated = context.every(1ms, [&] { note("every"); });
  context.post([&] { note("post"); });
  context.remote().post([&] { note("Remote::post"); });
  context.remote().wake();
  Peer peer = Peer::connect_to(listener.address());
  peer.send("data");
  ASSERT_TRUE(run_until(context, [&] {
    peer.read();
    if (depths.count("on_drain") != 0 && depths.count("on_data") != 0 && !peer.over()) peer.finish();
    return depths.size() == 12;
  }));
  for (const auto& [name, depth] : depths) EXPECT_EQ(depth, 1) << name;
  EXPECT_EQ(held.depth, 0);
}

TEST_P(Around, OfAContextThatIsDestroyedInsideReturnsAllTheSame) {
  Held held;
  auto context = std::make_unique<Context>(GetParam().make(), held.options());
  bool destroyed = false;
  context->post([&] {
    context.reset();
    destroyed = true;
  });
  const Timer guard = context->timer(10s, [&] { context->stop(); });
  context->run();
  EXPECT_TRUE(destroyed);
  EXPECT_EQ(held.depth, 0);
}

TEST_P(Around, LetsAnExceptionPassToRun) {
  int left = 0;
  ContextOptions options;
  options.around = [&](const std::function<void()>& batch) {
    struct Leave {
      int& count;
      ~Leave() { ++count; }
    } const leave{left};
    batch();
  };
  Context context{GetParam().make(), options};
  context.post([] { throw std::runtime_error("no"); });
  EXPECT_THROW(context.run(), std::runtime_error);
  EXPECT_GE(left, 1);
  bool ran = false;
  context.post([&] { ran = true; });
  EXPECT_TRUE(run_until(context, [&] { return ran; }));
}

TEST_P(Around, IsNotHeldInsideTheApplicationsOwnCalls) {
  Held held;
  Recorder recorder;
  Context context{GetParam().make(), held.options()};
  Line line = join(context, recorder);
  line.connection.write("text");
  line.connection.close();
  EXPECT_EQ(held.batches, 0) << "no callback comes from inside a call";
}

}  // namespace
}  // namespace onloop::test
