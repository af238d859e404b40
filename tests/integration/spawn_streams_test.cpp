// The standard streams of child processes as connections.
#include <signal.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "children.hpp"

namespace onloop::test {
namespace {

class SpawnStreams : public WithChildren<LoopTest> {};
ONLOOP_ON_ALL_LOOPS(SpawnStreams);

constexpr std::size_t kMebibyte = 1 << 20;

SpawnOptions cat() {
  SpawnOptions options;
  options.arguments = {"cat"};
  return options;
}

TEST_P(SpawnStreams, AMebibyteGoesThroughCatUnderBackpressure) {
  const std::string sent = pattern(kMebibyte);
  std::size_t taken = 0;
  Recorder in, out;
  Ending ending;
  const auto feed = [&](Connection& connection) {
    constexpr std::size_t kPiece = 10'000;
    while (taken < sent.size()) {
      const Flow flow = connection.write(std::string_view(sent).substr(taken, kPiece));
      taken = std::min(taken + kPiece, sent.size());
      if (flow != Flow::go) return;
    }
    connection.shutdown_write();
  };
  in.when_open = in.when_drain = feed;
  Context context{GetParam().make()};
  SpawnOptions options = cat();
  options.in = Stdio::stream(in);
  options.out = Stdio::stream(out);
  const Process process = context.spawn(std::move(options), ending.note());
  ASSERT_TRUE(process.in());
  ASSERT_TRUE(process.out());
  EXPECT_EQ(process.err(), nullptr);
  EXPECT_EQ(in.calls, 0) << "never inside spawn()";
  process.out()->pause_reading();
  ASSERT_TRUE(run_until(context, [&] { return process.in()->queued_bytes() > 0; })) << "cat can't go on";
  turns(context);
  EXPECT_LT(taken, sent.size());
  EXPECT_EQ(out.datas, 0);
  process.out()->resume_reading();
  ASSERT_TRUE(run_until(context, [&] { return ending.calls == 1 && out.closes == 1 && in.closes == 1; }));
  EXPECT_TRUE(ending.status->success());
  EXPECT_TRUE(out.received == sent);
  EXPECT_GT(in.drains, 0);
  EXPECT_FALSE(in.errors[0]);
  EXPECT_FALSE(out.errors[0]);
  EXPECT_EQ(process.in(), nullptr);
  EXPECT_EQ(process.out(), nullptr);
}

TEST_P(SpawnStreams, OneProtocolTellsTheStreamsApartByTheProcess) {
  Recorder recorder;
  Ending ending;
  Process process;
  std::string out, err;
  recorder.when_data = [&](Connection& connection, std::string_view text) {
    EXPECT_TRUE(&connection == process.out() || &connection == process.err());
    (&connection == process.out() ? out : err) += text;
  };
  Context context{GetParam().make()};
  SpawnOptions options = shell("echo to out; echo to err >&2");
  options.out = options.err = Stdio::stream(recorder);
  process = context.spawn(std::move(options), ending.note());
  ASSERT_TRUE(run_until(context, [&] { return ending.calls == 1 && recorder.closes == 2; }));
  EXPECT_EQ(out, "to out\n");
  EXPECT_EQ(err, "to err\n");
}

TEST_P(SpawnStreams, OutputsAreForReadingOnly) {
  Recorder out;
  Ending ending;
  Context context{GetParam().make()};
  SpawnOptions options = shell("cat <&1; exit 5");  // which has an end at once
  options.out = Stdio::stream(out);
  const Process process = context.spawn(std::move(options), ending.note());
  EXPECT_EQ(process.out()->write("text"), Flow::closed);
  ASSERT_TRUE(run_until(context, [&] { return ending.calls == 1 && out.closes == 1; }));
  EXPECT_EQ(ending.status->code, 5);
}

TEST_P(SpawnStreams, WhatAChildDoesNotReadIsLostWithAnError) {
  Recorder in;
  Ending ending;
  Context context{GetParam().make()};
  SpawnOptions options = shell("exit 6");
  options.in = Stdio::stream(in);
  const Process process = context.spawn(std::move(options), ending.note());
  process.in()->write(pattern(kMebibyte));
  ASSERT_TRUE(run_until(context, [&] { return ending.calls == 1 && in.closes == 1; }));
  EXPECT_EQ(ending.status->code, 6);
  EXPECT_TRUE(is(in.errors[0], std::errc::connection_reset) || is(in.errors[0], std::errc::broken_pipe))
      << in.errors[0].message();
}

TEST_P(SpawnStreams, AChildThatWritesWhereNobodyReadsAnyMoreFails) {
  Recorder out;
  Ending ending;
  out.when_data = [](Connection& connection, std::string_view) { connection.abort(); };
  Context context{GetParam().make()};
  SpawnOptions options;
  options.arguments = {"yes"};
  options.err = Stdio::null();
  options.out = Stdio::stream(out);
  const Process process = context.spawn(std::move(options), ending.note());
  ASSERT_TRUE(run_until(context, [&] { return ending.calls == 1; }));
  EXPECT_TRUE(ending.status == ExitStatus{.signal = SIGPIPE} || ending.status == ExitStatus{.code = 1})
      << ending.status->to_string();
}

TEST_P(SpawnStreams, TheEndDoesNotWaitForAProcessThatHoldsTheStreamsOpen) {
  Recorder out;
  Ending ending;
  Context context{GetParam().make()};
  SpawnOptions options = shell("sleep 100000 & echo $!");
  options.out = Stdio::stream(out);
  const Process process = context.spawn(std::move(options), ending.note());
  ASSERT_TRUE(run_until(context, [&] { return ending.calls == 1 && out.received.ends_with('\n'); }));
  turns(context);
  EXPECT_EQ(out.closes, 0);
  EXPECT_TRUE(process.out());
  ASSERT_EQ(::kill(std::stoi(out.received), SIGKILL), 0);
  ASSERT_TRUE(run_until(context, [&] { return out.closes == 1; }));
}

TEST_P(SpawnStreams, GoOnWithoutTheProcess) {
  Recorder recorder;
  Context context{GetParam().make()};
  Ref in;
  {
    SpawnOptions options = cat();
    options.in = options.out = Stdio::stream(recorder);
    const Process process = context.spawn(std::move(options), {});
    in = process.in()->ref();
  }
  in->write("hello");
  ASSERT_TRUE(run_until(context, [&] { return recorder.received == "hello"; }));
  in->close();
  ASSERT_TRUE(run_until(context, [&] { return recorder.closes == 2 && !has_children(); }));
}

TEST_P(SpawnStreams, ADestroyedProtocolEndsThem) {
  Ending ending;
  auto recorder = std::make_unique<Recorder>();
  Context context{GetParam().make()};
  SpawnOptions options = cat();
  options.in = options.out = Stdio::stream(*recorder);
  const Process process = context.spawn(std::move(options), ending.note());
  recorder->when_data = [&](Connection&, std::string_view) { recorder.reset(); };
  process.in()->write("hello");
  ASSERT_TRUE(run_until(context, [&] { return ending.calls == 1; }));
  EXPECT_FALSE(recorder);
  EXPECT_EQ(process.in(), nullptr);
  EXPECT_EQ(process.out(), nullptr);
  EXPECT_TRUE(ending.status->success()) << "it was at its end of file";
}

TEST_P(SpawnStreams, DescriptorsAreGivenWhateverTheirFlagsAndStayTheCallers) {
  auto [ours, theirs] = connected_pair(Kind::unix_pair);
  Peer peer(std::move(ours));
  Ending ending;
  Context context{GetParam().make()};
  SpawnOptions options = shell("cat; echo err >&2");
  options.in = options.out = options.err = Stdio::descriptor(theirs.get());
  const Process process = context.spawn(std::move(options), ending.note());
  peer.send("hello ");
  peer.finish();
  ASSERT_TRUE(run_until(context, [&] { return ending.calls == 1; }));
  peer.read();
  EXPECT_EQ(peer.received(), "hello err\n");
  EXPECT_FALSE(peer.ended());
  theirs.reset();
  peer.read();
  EXPECT_TRUE(peer.ended()) << "no copy is left";
}

TEST_P(SpawnStreams, NullIsEmptyAndTakesAll) {
  Context context{GetParam().make()};
  SpawnOptions options = shell("cat; echo no >&2; readlink /proc/$$/fd/0 /proc/$$/fd/2");
  options.in = options.err = Stdio::null();
  EXPECT_EQ(output_of(context, std::move(options)), "/dev/null\n/dev/null\n");
}

}  // namespace
}  // namespace onloop::test
