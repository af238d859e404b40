// What a child process is started with, and what keeps it from being started.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "children.hpp"
#include "support/scripted_loop.hpp"

namespace onloop::test {
namespace {

class SpawnOptionsOf : public WithChildren<LoopTest> {};
ONLOOP_ON_ALL_LOOPS(SpawnOptionsOf);

SpawnOptions program(std::vector<std::string> arguments) {
  SpawnOptions options;
  options.arguments = std::move(arguments);
  return options;
}

TEST_P(SpawnOptionsOf, TheProgramIsFoundInThePathAndGetsItsArguments) {
  Context context{GetParam().make()};
  EXPECT_EQ(output_of(context, program({"printf", "%s|", "a b", "", "*"})), "a b||*|");
}

TEST_P(SpawnOptionsOf, TheDirectoryIsWhereItStartsAndWhereItsProgramIs) {
  const TemporaryDirectory directory;
  ASSERT_EQ(::symlink("/bin/pwd", directory.file("program").c_str()), 0);
  Context context{GetParam().make()};
  SpawnOptions options = program({"./program"});
  options.directory = directory.path();
  EXPECT_EQ(output_of(context, std::move(options)), directory.path() + "\n");
}

TEST_P(SpawnOptionsOf, TheEnvironmentIsTheParentsOrWhatIsGiven) {
  ASSERT_EQ(::setenv("ONLOOP_TEST_SPAWN", "inherited", 1), 0);
  Context context{GetParam().make()};
  EXPECT_EQ(output_of(context, shell("echo $ONLOOP_TEST_SPAWN")), "inherited\n");
  SpawnOptions options = program({"env"});
  options.environment = {"ONE=1", "TWO=2=2", "EMPTY="};
  EXPECT_EQ(output_of(context, options), "ONE=1\nTWO=2=2\nEMPTY=\n");
  options.environment->clear();
  EXPECT_EQ(output_of(context, std::move(options)), "");
  ::unsetenv("ONLOOP_TEST_SPAWN");
}

// A shell that waits has no descriptor of its own.
TEST_P(SpawnOptionsOf, NoOtherDescriptorReachesTheChild) {
  const RawListener listener("127.0.0.1:0");
  std::vector<Fd> open;
  for (const int at_least : {0, 0, 20, 200, 900}) {
    open.emplace_back(::fcntl(listener.socket.get(), F_DUPFD, at_least));
    ASSERT_GE(open.back().get(), 0);
  }
  Recorder recorder;
  Context context{GetParam().make()};
  const Process other = context.spawn(
      [&] {
        SpawnOptions options = program({"cat"});
        options.in = options.out = options.err = Stdio::stream(recorder);
        return options;
      }(),
      {});
  SpawnOptions options = shell("ls /proc/$$/fd; true");
  options.in = options.err = Stdio::stream(recorder);
  EXPECT_EQ(output_of(context, std::move(options)), "0\n1\n2\n");
}

TEST_P(SpawnOptionsOf, SignalsAreAtTheirDefaultsAndNoneIsBlocked) {
  struct sigaction before {};
  struct sigaction ignored {};
  ignored.sa_handler = SIG_IGN;
  sigset_t blocked, mask;
  sigemptyset(&blocked);
  for (const int number : {SIGUSR1, SIGTERM, SIGRTMAX}) sigaddset(&blocked, number);
  std::string status;
  {
    Context context{GetParam().make()};
    const Signal watched = context.on_signal(SIGUSR2, [] { FAIL(); });
    ASSERT_EQ(::sigaction(SIGHUP, &ignored, &before), 0);
    ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &blocked, &mask), 0);
    status = output_of(context, program({"cat", "/proc/self/status"}));
    ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
    ::sigaction(SIGHUP, &before, nullptr);
  }
  int seen = 0;
  std::istringstream lines(status);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("SigBlk:") && !line.starts_with("SigIgn:") && !line.starts_with("SigCgt:")) continue;
    ++seen;
    EXPECT_EQ(line.substr(line.find('\t') + 1), "0000000000000000") << line;
  }
  EXPECT_EQ(seen, 3);
}

TEST_P(SpawnOptionsOf, ASessionOfItsOwn) {
  Context context{GetParam().make()};
  const auto session = [&](bool own) {
    SpawnOptions options = shell("echo $$ $(cut -d ' ' -f 6 /proc/$$/stat)");
    options.new_session = own;
    std::istringstream text(output_of(context, std::move(options)));
    std::array<pid_t, 2> ids{};
    text >> ids[0] >> ids[1];
    return ids;
  };
  const auto own = session(true);
  EXPECT_EQ(own[0], own[1]);
  EXPECT_EQ(session(false)[1], ::getsid(0));
}

// Each replaces the other: whichever comes first must not overwrite what the second one needs.
TEST_P(SpawnOptionsOf, StandardStreamsMayBeSwapped) {
  EXPECT_TRUE(in_child([] {
    auto [one, first] = connected_pair(Kind::unix_pair);
    auto [two, second] = connected_pair(Kind::unix_pair);
    const std::array<Fd, 2> kept{Fd(::fcntl(1, F_DUPFD_CLOEXEC, 10)), Fd(::fcntl(2, F_DUPFD_CLOEXEC, 10))};
    ::dup2(first.get(), 1);
    ::dup2(second.get(), 2);
    Ending ending;
    Context context{GetParam().make()};
    SpawnOptions options = shell("echo to out; echo to err >&2");
    options.out = Stdio::descriptor(2);
    options.err = Stdio::descriptor(1);
    const Process process = context.spawn(std::move(options), ending.note());
    const auto ended = run_until(context, [&] { return ending.calls == 1; });
    ::dup2(kept[0].get(), 1);
    ::dup2(kept[1].get(), 2);
    EXPECT_TRUE(ended);
    Peer out(std::move(one)), err(std::move(two));
    out.read();
    err.read();
    EXPECT_EQ(out.received(), "to err\n");
    EXPECT_EQ(err.received(), "to out\n");
  }));
}

// The numbers are then those of a context's own descriptors (but for libuv, which ends the process if it closes such a
// one), and of the ends of streams.
TEST_P(SpawnOptionsOf, WithTheStandardStreamsClosedInTheParent) {
  EXPECT_TRUE(in_child([&] {
    std::optional<Context> context;
    if (GetParam().name.starts_with("libuv")) context.emplace(GetParam().make());
    for (const int fd : {0, 1, 2}) ::close(fd);
    if (!context) context.emplace(GetParam().make());
    std::string text = output_of(*context, shell("readlink /proc/$$/fd/0 /proc/$$/fd/2; ls /proc/$$/fd; true"));
    Recorder recorder;
    SpawnOptions options = shell("ls /proc/$$/fd; true");
    options.in = options.err = Stdio::stream(recorder);
    text += output_of(*context, std::move(options));
    if (text != "/dev/null\n/dev/null\n0\n1\n2\n0\n1\n2\n") throw std::runtime_error(text);
  }));
}

struct Refusal {
  std::errc error;
  std::string words;
  std::function<void(SpawnOptions&)> make;
};

TEST_P(SpawnOptionsOf, WhatKeepsItFromStartingIsSaidAndLeavesNothing) {
  const TemporaryDirectory directory;
  Recorder recorder;
  Limits disordered;
  disordered.low_water = disordered.high_water + 1;
  const std::string zero("a\0b", 3);
  const Refusal refusals[] = {
      {std::errc::no_such_file_or_directory, "spawn no-such-program: No such file or directory",
       [](SpawnOptions& options) { options.arguments = {"no-such-program"}; }},
      {std::errc::no_such_file_or_directory, "spawn /no/such/program: No such file or directory",
       [](SpawnOptions& options) { options.arguments = {"/no/such/program"}; }},
      {std::errc::permission_denied, "spawn /etc/passwd: Permission denied",
       [](SpawnOptions& options) { options.arguments = {"/etc/passwd"}; }},
      {std::errc::no_such_file_or_directory, "spawn true in /no/such/directory: No such file or directory",
       [](SpawnOptions& options) { options.directory = "/no/such/directory"; }},
      {std::errc::not_a_directory, "spawn true in /etc/passwd: Not a directory",
       [](SpawnOptions& options) { options.directory = "/etc/passwd"; }},
      {std::errc::invalid_argument, "first of the arguments", [](SpawnOptions& options) { options.arguments.clear(); }},
      {std::errc::invalid_argument, "first of the arguments", [](SpawnOptions& options) { options.arguments = {""}; }},
      {std::errc::invalid_argument, "an argument has a zero byte",
       [&](SpawnOptions& options) { options.arguments.push_back(zero); }},
      {std::errc::invalid_argument, "environment entry has a zero byte",
       [&](SpawnOptions& options) { options.environment = {"A=" + zero}; }},
      {std::errc::invalid_argument, "\"NAME\" is no NAME=value",
       [](SpawnOptions& options) { options.environment = {"NAME"}; }},
      {std::errc::invalid_argument, "the directory has a zero byte",
       [&](SpawnOptions& options) { options.directory = zero; }},
      {std::errc::argument_list_too_long, "spawn true: Argument list too long",
       [](SpawnOptions& options) { options.arguments.emplace_back(1 << 20, 'x'); }},
      {std::errc::bad_file_descriptor, "spawn true: standard output from descriptor 9999: Bad file descriptor",
       [](SpawnOptions& options) { options.out = Stdio::descriptor(9999); }},
      {std::errc::bad_file_descriptor, "standard error from descriptor -1",
       [](SpawnOptions& options) { options.err = Stdio::descriptor(-1); }},
      {std::errc::invalid_argument, "spawn true: standard error: the limits must rise",
       [&](SpawnOptions& options) { options.err = Stdio::stream(recorder, disordered); }},
  };
  Ending ending;
  Context context{GetParam().make()};
  for (const Refusal& refusal : refusals) {
    SpawnOptions options = program({"true"});
    options.in = options.out = Stdio::stream(recorder);
    refusal.make(options);
    const Thrown thrown = thrown_by([&] { return context.spawn(std::move(options), ending.note()); });
    EXPECT_TRUE(is(thrown.code, refusal.error)) << thrown.words;
    EXPECT_NE(thrown.words.find(refusal.words), std::string::npos) << thrown.words;
    EXPECT_FALSE(has_children());
  }
  turns(context);
  EXPECT_EQ(recorder.calls, 0);
  EXPECT_EQ(ending.calls, 0);
  EXPECT_EQ(context.statistics().connections, 0u);
}

TEST_P(SpawnOptionsOf, OutOfDescriptorsNothingRuns) {
  const TemporaryDirectory directory;
  const std::string made = directory.file("made");
  Recorder recorder;
  Context context{GetParam().make()};
  bool started = false;
  for (rlim_t left = 0; left < 20 && !started; ++left) {
    Ending ending;
    SpawnOptions options = program({"touch", made});
    options.in = options.out = Stdio::stream(recorder);
    Process process;
    const Thrown thrown = [&] {
      const DescriptorsLeft limit(left);
      return thrown_by([&] { return process = context.spawn(std::move(options), ending.note()), 0; });
    }();
    started = !thrown.code;
    if (started) {
      ASSERT_TRUE(run_until(context, [&] { return ending.calls == 1; }));
      EXPECT_TRUE(ending.status->success());
    } else {
      EXPECT_TRUE(is(thrown.code, std::errc::too_many_files_open)) << thrown.words;
      EXPECT_EQ(thrown.words.find("spawn touch"), 0u) << thrown.words;
      EXPECT_FALSE(has_children());
      EXPECT_NE(::access(made.c_str(), F_OK), 0) << "it ran with " << left;
    }
  }
  EXPECT_TRUE(started);
}

class SpawnFailing : public WithChildren<CleanTest> {};

// The child runs already when its pidfd can't be watched.
TEST_F(SpawnFailing, AChildThatCantBeWatchedIsEndedAndReaped) {
  std::string words;
  int failures = 0;
  do {
    Script script;
    Recorder recorder;
    ContextOptions quiet;
    quiet.on_error = [](std::error_code, std::string_view) {};  // a deadline that can't be set keeps nothing from going
    Context context{script.loop(), quiet};
    script.fail_at_call = script.fallible_calls + failures;
    SpawnOptions options = endless();
    options.in = Stdio::stream(recorder);
    const Thrown thrown = thrown_by([&] { return context.spawn(std::move(options), {}); });
    if (script.failures == 0) break;
    if (!thrown.code) continue;
    words += thrown.words + "; ";
    EXPECT_FALSE(has_children());
    EXPECT_EQ(context.statistics().connections, 0u);
  } while (++failures < 20);
  EXPECT_EQ(words,
            "spawn sleep: standard input: Cannot allocate memory; "
            "spawn sleep: watch the process: Cannot allocate memory; ");
}

}  // namespace
}  // namespace onloop::test
