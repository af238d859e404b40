// The options with which a child process is started, and the errors that prevent the start.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
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

/// Gives the options the ids of this process itself. The child is then started in the same way as for another user, but
/// everybody may do it.
SpawnOptions as_oneself(SpawnOptions options) {
  options.uid = ::geteuid();
  options.gid = ::getegid();
  return options;
}

/// A pipe: its end for writing, and the text that comes out of the other end.
struct Pipe {
  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0) throw std::runtime_error("pipe2");
    reading = Fd(ends[0]);
    writing = Fd(ends[1]);
  }
  /// The whole text that was written. Waits until every writer has closed its end.
  std::string text() {
    writing = Fd();
    std::string text;
    std::array<char, 256> buffer{};
    for (ssize_t size; (size = ::read(reading.get(), buffer.data(), buffer.size())) > 0;) {
      text.append(buffer.data(), static_cast<std::size_t>(size));
    }
    return text;
  }
  Fd reading, writing;
};

// The numbers are far apart. The child does not get the descriptors of the parent with numbers between them.
TEST_P(SpawnOptionsOf, FurtherDescriptorsAreGivenUnderTheirNumbers) {
  Context context{GetParam().make()};
  for (const bool forked : {false, true}) {
    Pipe one, two;
    std::vector<Fd> open;
    for (const int at_least : {3, 6, 20, 90}) open.emplace_back(::fcntl(one.reading.get(), F_DUPFD, at_least));
    SpawnOptions options = shell("echo one >&5; echo two >/proc/self/fd/77; ls /proc/$$/fd; true");
    options.descriptors = {{two.writing.get(), 77}, {one.writing.get(), 5}, {one.writing.get(), 7}};
    if (forked) options = as_oneself(std::move(options));
    EXPECT_EQ(output_of(context, std::move(options)), "0\n1\n2\n5\n7\n77\n");
    EXPECT_EQ(one.text(), "one\n");
    EXPECT_EQ(two.text(), "two\n");
  }
}

// Each descriptor gets the number that another one has in the parent. This includes the standard streams.
TEST_P(SpawnOptionsOf, FurtherDescriptorsMayBeSwapped) {
  Context context{GetParam().make()};
  for (const bool forked : {false, true}) {
    Pipe one, two, three;
    const int first = one.writing.get(), second = two.writing.get(), third = three.writing.get();
    const std::string to = "/proc/self/fd/";
    SpawnOptions options =
        shell("echo one >" + to + std::to_string(second) + "; echo two >" + to + std::to_string(third) +
              "; echo three >" + to + std::to_string(first) + "; echo error >&2");
    options.descriptors = {{first, second}, {second, third}, {third, first}};
    options.err = Stdio::descriptor(second);
    if (forked) options = as_oneself(std::move(options));
    EXPECT_EQ(output_of(context, std::move(options)), "");
    EXPECT_EQ(one.text(), "one\n");
    EXPECT_EQ(two.text(), "two\nerror\n");
    EXPECT_EQ(three.text(), "three\n");
  }
}

TEST_P(SpawnOptionsOf, TheProgramIsToldAnotherNameOfItself) {
  Context context{GetParam().make()};
  for (const bool forked : {false, true}) {
    SpawnOptions options = program({"sh", "-c", "echo \"$0\""});
    options.argv0 = "-another name";
    if (forked) options = as_oneself(std::move(options));
    EXPECT_EQ(output_of(context, options), "-another name\n");
    options.argv0 = "";
    EXPECT_EQ(output_of(context, std::move(options)), "\n");
  }
}

std::string status_lines(const std::string& status, const std::vector<std::string>& names) {
  std::string found;
  std::istringstream lines(status);
  for (std::string line; std::getline(lines, line);) {
    for (const std::string& name : names) {
      if (line.starts_with(name + ":")) found += line + "\n";
    }
  }
  return found;
}

TEST_P(SpawnOptionsOf, AnotherUserAndGroup) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  Context context{GetParam().make()};
  const auto ids = [&](std::optional<uid_t> uid, std::optional<gid_t> gid, std::optional<std::vector<gid_t>> groups) {
    SpawnOptions options = program({"cat", "/proc/self/status"});
    options.uid = uid;
    options.gid = gid;
    options.groups = std::move(groups);
    std::string text = status_lines(output_of(context, std::move(options)), {"Uid", "Gid", "Groups", "CapEff"});
    while (text.find(" \n") != text.npos) text.erase(text.find(" \n"), 1);
    return text;
  };
  const std::string no_rights = "CapEff:\t0000000000000000\n";
  EXPECT_EQ(ids(1234, 2345, {}), "Uid:\t1234\t1234\t1234\t1234\nGid:\t2345\t2345\t2345\t2345\nGroups:\t\n" + no_rights);
  EXPECT_EQ(ids(1234, 2345, {{7, 9}}),
            "Uid:\t1234\t1234\t1234\t1234\nGid:\t2345\t2345\t2345\t2345\nGroups:\t7 9\n" + no_rights);
  const std::string group = ids({}, 2345, {});
  EXPECT_EQ(group.find("Uid:\t0\t0\t0\t0\nGid:\t2345\t2345\t2345\t2345\nGroups:\t\n"), 0u) << group;
}

// As in a server with worker threads. The change of user must affect only the child, not the threads of the parent.
TEST_P(SpawnOptionsOf, TheUserChangesForTheChildOnly) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  Context context{GetParam().make()};
  bool done = false;
  const Job job = context.run_blocking([] { return 1; }, [&](const auto&) { done = true; });
  ASSERT_TRUE(run_until(context, [&] { return done; }));
  SpawnOptions options = program({"id", "-u"});
  options.uid = options.gid = 1234;
  EXPECT_EQ(output_of(context, std::move(options)), "1234\n");
  EXPECT_EQ(::getuid(), 0u);
  EXPECT_EQ(::getgid(), 0u);
}

// The rights of the parent decide about the directory. The rights of the child decide about the program.
TEST_P(SpawnOptionsOf, WhatKeepsAnotherUserFromStartingIsSaidAndLeavesNothing) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  const TemporaryDirectory directory;
  ASSERT_EQ(::symlink("/bin/true", directory.file("program").c_str()), 0);
  ASSERT_EQ(::chmod(directory.path().c_str(), 0700), 0);
  Ending ending;
  Context context{GetParam().make()};
  const auto refused = [&](SpawnOptions options) {
    Thrown thrown = thrown_by([&] { return context.spawn(std::move(options), ending.note()); });
    EXPECT_FALSE(has_children());
    return thrown;
  };
  SpawnOptions options = program({directory.file("program")});
  options.uid = options.gid = 1234;
  EXPECT_EQ(refused(options).words, "spawn " + directory.file("program") + ": Permission denied");
  options.arguments = {"/no/such/program"};
  EXPECT_EQ(refused(options).words, "spawn /no/such/program: No such file or directory");
  options.arguments = {"true"};
  options.groups = std::vector<gid_t>(70000, 5);
  EXPECT_EQ(refused(options).words, "spawn true: set the supplementary groups: Invalid argument");
  options.groups.reset();
  options.uid = static_cast<uid_t>(-1);
  EXPECT_EQ(refused(options).words, "spawn true: -1 is no user: Invalid argument");
  turns(context);
  EXPECT_EQ(ending.calls, 0);
}

// This process does not have the right to become another user.
TEST_P(SpawnOptionsOf, AnotherUserNeedsTheRight) {
  EXPECT_TRUE(in_child([] {
    if (::geteuid() == 0 && (::setgid(1234) < 0 || ::setuid(1234) < 0)) throw std::runtime_error("setuid");
    Context context{GetParam().make()};
    EXPECT_EQ(output_of(context, as_oneself(shell("echo me"))), "me\n");
    SpawnOptions options = program({"true"});
    options.uid = 4321;
    const Thrown thrown = thrown_by([&] { return context.spawn(std::move(options), {}); });
    if (!is(thrown.code, std::errc::operation_not_permitted)) throw std::runtime_error(thrown.words);
    if (has_children()) throw std::runtime_error("a child is left");
  }));
}

TEST_P(SpawnOptionsOf, SignalsAreAtTheirDefaultsAndNoneIsBlocked) {
  struct sigaction before {};
  struct sigaction ignored {};
  ignored.sa_handler = SIG_IGN;
  sigset_t blocked, mask;
  sigemptyset(&blocked);
  for (const int number : {SIGUSR1, SIGTERM, SIGRTMAX}) sigaddset(&blocked, number);
  for (const bool forked : {false, true}) {
    std::string status;
    {
      Context context{GetParam().make()};
      const Signal watched = context.on_signal(SIGUSR2, [] { FAIL(); });
      ASSERT_EQ(::sigaction(SIGHUP, &ignored, &before), 0);
      ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &blocked, &mask), 0);
      SpawnOptions options = program({"cat", "/proc/self/status"});
      if (forked) options = as_oneself(std::move(options));
      status = output_of(context, std::move(options));
      ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
      ::sigaction(SIGHUP, &before, nullptr);
    }
    EXPECT_EQ(status_lines(status, {"SigBlk", "SigIgn", "SigCgt"}),
              "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n");
  }
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

// The descriptors of the context and the ends of streams then get these numbers. libuv is an exception: its context is
// made before, because libuv ends the process if it closes a descriptor with such a number.
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
      {std::errc::bad_file_descriptor, "spawn true: descriptor 9999 as the child's number 5: Bad file descriptor",
       [](SpawnOptions& options) {
         options.descriptors = {{9999, 5}};
       }},
      {std::errc::bad_file_descriptor, "spawn true: descriptor -1 as the child's number 5: Bad file descriptor",
       [](SpawnOptions& options) {
         options.descriptors = {{-1, 5}};
       }},
      {std::errc::invalid_argument, "descriptor 0 as the child's number 2: it must be 3 or higher",
       [](SpawnOptions& options) {
         options.descriptors = {{0, 2}};
       }},
      {std::errc::invalid_argument, "descriptor 1 as the child's number 5: the number is given twice",
       [](SpawnOptions& options) {
         options.descriptors = {{1, 5}, {1, 5}};
       }},
      {std::errc::invalid_argument, "descriptor 0 as the child's number 2147483647: it is too high for the limit",
       [](SpawnOptions& options) {
         options.descriptors = {{0, 2147483647}};
       }},
      {std::errc::invalid_argument, "argv0 has a zero byte", [&](SpawnOptions& options) { options.argv0 = zero; }},
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
    quiet.on_error = [](std::error_code, std::string_view) {};  // the lack of a deadline stops nothing
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
