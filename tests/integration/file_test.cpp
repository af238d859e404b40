// Files on the worker pool, and a file streamed into a connection.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <vector>

#include "drive.hpp"

namespace onloop::test {
namespace {

constexpr std::size_t kBig = 12'000'000;  // more than the kernel takes

class Files : public LoopTest {
 protected:
  static void put(const std::string& path, const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
  }
  TemporaryDirectory directory_;
};
ONLOOP_ON_ALL_LOOPS(Files);

TEST_P(Files, AreWrittenReadAndLookedAt) {
  Context context(GetParam().make());
  const std::string path = directory_.file("notes");
  std::string read;
  off_t size = -1;
  write_file(context, path, "long and old", [&](Outcome<void> written) {
    written.get();
    write_file(context, path, "new", [&](Outcome<void> again) {
      again.get();
      read_file(context, path, [&](Outcome<std::string> content) { read = content.get(); });
      stat_file(context, path, [&](Outcome<struct stat> status) { size = status.get().st_size; });
    });
  });
  EXPECT_TRUE(run_until(context, [&] { return !read.empty() && size >= 0; }));
  EXPECT_EQ(read, "new");
  EXPECT_EQ(size, 3);
}

TEST_P(Files, ThatAreNotThereSaySo) {
  Context context(GetParam().make());
  const std::string path = directory_.file("nothing");
  std::vector<Thrown> thrown;
  const auto note = [&](auto outcome) {
    thrown.push_back(thrown_by([&] {
      static_cast<void>(outcome.get());
      return 0;
    }));
  };
  read_file(context, path, note);
  stat_file(context, path, note);
  open_file(context, path, O_RDONLY,
            [&](Outcome<File> file) { thrown.push_back(thrown_by([&] { return file.get().fd(); })); });
  write_file(context, path + "/below", "x", note);
  EXPECT_TRUE(run_until(context, [&] { return thrown.size() == 4; }));
  for (const Thrown& each : thrown) {
    EXPECT_TRUE(is(each.code, std::errc::no_such_file_or_directory)) << each.words;
    EXPECT_NE(each.words.find(path), std::string::npos) << each.words;
  }
}

// For the kernel, the path would end at the zero byte. That is the path of another file.
TEST_P(Files, WithAZeroByteInTheirPathAreRefused) {
  Context context(GetParam().make());
  const std::string there = directory_.file("there");
  write_file_blocking(there, "x");
  const std::string path = there + '\0' + "evil";
  std::vector<Thrown> thrown;
  const auto note = [&](auto outcome) {
    thrown.push_back(thrown_by([&] {
      static_cast<void>(outcome.get());
      return 0;
    }));
  };
  read_file(context, path, note);
  stat_file(context, path, note);
  write_file(context, path, "y", note);
  open_file(context, path, O_RDONLY,
            [&](Outcome<File> file) { thrown.push_back(thrown_by([&] { return file.get().fd(); })); });
  EXPECT_TRUE(run_until(context, [&] { return thrown.size() == 4; }));
  for (const Thrown& each : thrown) {
    EXPECT_TRUE(is(each.code, std::errc::invalid_argument)) << each.words;
    EXPECT_NE(each.words.find(there + "\\0evil: the path has a zero byte in it"), std::string::npos) << each.words;
  }
  EXPECT_EQ(read_file_blocking(there), "x");
}

TEST_P(Files, AreReadAndWrittenAtOffsets) {
  Context context(GetParam().make());
  const std::string path = directory_.file("table");
  std::string got;
  context.run_blocking(
      [path] {
        const File file = File::open(path, O_RDWR | O_CREAT);
        file.write_at(4, std::as_bytes(std::span("efgh", 4)));
        file.write_at(0, std::as_bytes(std::span("abcd", 4)));
        const std::vector<std::byte> middle = file.read_at(2, 4);
        EXPECT_EQ(file.read_at(6, 100).size(), 2u);  // fewer at the end
        EXPECT_TRUE(file.read_at(8, 1).empty());
        EXPECT_EQ(file.status().st_size, 8);
        return std::string(reinterpret_cast<const char*>(middle.data()), middle.size());
      },
      [&](Outcome<std::string> outcome) {
        got = outcome.get();
        context.stop();
      });
  context.run();
  EXPECT_EQ(got, "cdef");
}

// A protocol that counts its other callbacks.
class Quiet : public Protocol {
 public:
  void on_data(Connection&, std::span<const std::byte>) override {}
  void on_drain(Connection&) override { ++drains; }
  void on_close(Connection&, std::error_code) override { ++closes; }
  int drains = 0;
  int closes = 0;
};

class Sending : public Files {
 protected:
  void SetUp() override {
    Files::SetUp();
    context_.emplace(GetParam().make());
    line_.emplace(join(*context_, quiet_, {.high_water = 64 * 1024, .low_water = 16 * 1024}));
  }
  void TearDown() override {
    line_.reset();
    context_.reset();
    Files::TearDown();
  }
  void send(const std::string& path, std::uint64_t offset, std::uint64_t length) {
    send_file(line_->connection, File::open(path), offset, length, [this](std::error_code error) {
      ++ends_;
      error_ = error;
    });
  }
  // Replaces the connection by one with these limits.
  void limit(const Limits& limits) {
    line_->peer.close();
    ASSERT_TRUE(run_until(*context_, [&] { return quiet_.closes == 1; }));
    quiet_.closes = 0;
    line_.emplace(join(*context_, quiet_, limits));
  }
  std::size_t most_queued_ = 0;
  Quiet quiet_;
  std::optional<Context> context_;
  std::optional<Line> line_;
  int ends_ = 0;
  std::error_code error_;
};
ONLOOP_ON_ALL_LOOPS(Sending);

TEST_P(Sending, EveryByteComesUnderBackpressure) {
  const std::string content = pattern(kBig);
  put(directory_.file("big"), content);
  send(directory_.file("big"), 0, content.size());
  EXPECT_EQ(ends_, 0);
  EXPECT_TRUE(run_until(*context_, [&] {
    most_queued_ = std::max(most_queued_, line_->connection.queued_bytes());
    return line_->connection.queued_bytes() > 64 * 1024;  // the peer does not read yet
  }));
  turns(*context_);
  EXPECT_EQ(ends_, 0);
  EXPECT_TRUE(run_until(*context_, [&] {
    most_queued_ = std::max(most_queued_, line_->connection.queued_bytes());
    line_->peer.read();
    return line_->peer.received().size() == content.size() && ends_ > 0;
  }));
  EXPECT_EQ(line_->peer.received(), content);
  EXPECT_EQ(ends_, 1);
  EXPECT_FALSE(error_);
  EXPECT_LE(most_queued_, 64u * 1024 + 128 * 1024);
  EXPECT_GT(quiet_.drains, 0);  // its protocol still gets on_drain
}

TEST_P(Sending, APartOrNothingOfIt) {
  put(directory_.file("letters"), "abcdefgh");
  send(directory_.file("letters"), 2, 4);
  EXPECT_TRUE(run_until(*context_, [&] { return line_->peer.read(), ends_ == 1; }));
  send(directory_.file("letters"), 8, 0);
  EXPECT_TRUE(run_until(*context_, [&] { return line_->peer.read(), ends_ == 2; }));
  EXPECT_FALSE(error_);
  EXPECT_TRUE(run_until(*context_, [&] { return line_->peer.read(), line_->peer.received() == "cdef"; }));
}

TEST_P(Sending, AFileThatIsRemovedIsSentWhole) {
  const std::string content = pattern(1'000'000);
  put(directory_.file("gone"), content);
  send(directory_.file("gone"), 0, content.size());
  std::filesystem::remove(directory_.file("gone"));
  EXPECT_TRUE(
      run_until(*context_, [&] { return line_->peer.read(), line_->peer.received().size() == content.size(); }));
  EXPECT_EQ(line_->peer.received(), content);
}

TEST_P(Sending, AFileThatIsCutShortMidwayIsAnError) {
  const std::string content = pattern(kBig);
  put(directory_.file("cut"), content);
  send(directory_.file("cut"), 0, content.size());
  EXPECT_TRUE(run_until(*context_, [&] { return line_->connection.queued_bytes() > 0; }));
  std::filesystem::resize_file(directory_.file("cut"), 0);
  EXPECT_TRUE(run_until(*context_, [&] { return line_->peer.read(), ends_ == 1; }));
  EXPECT_TRUE(is(error_, std::errc::io_error));
  EXPECT_EQ(quiet_.closes, 0);  // the application decides what to do about the error
}

TEST_P(Sending, AConnectionThatEndsMidwayIsAnError) {
  put(directory_.file("big"), pattern(kBig));
  send(directory_.file("big"), 0, kBig);
  EXPECT_TRUE(run_until(*context_, [&] { return line_->connection.queued_bytes() > 0; }));
  line_->peer.reset();
  EXPECT_TRUE(run_until(*context_, [&] { return ends_ == 1; }));
  EXPECT_TRUE(is(error_, std::errc::connection_aborted)) << error_.message();
}

// The pieces are as small as the limits require. Larger pieces would end the connection.
TEST_P(Sending, SmallLimitsAreKept) {
  limit({.high_water = 20'000, .low_water = 10'000, .max_queued = 30'000});
  const std::string content = pattern(kBig);
  put(directory_.file("big"), content);
  send(directory_.file("big"), 0, content.size());
  EXPECT_TRUE(run_until(*context_, [&] { return line_->connection.queued_bytes() > 0; }));
  turns(*context_);
  EXPECT_EQ(quiet_.closes, 0);
  EXPECT_TRUE(run_until(*context_, [&] {
    most_queued_ = std::max(most_queued_, line_->connection.queued_bytes());
    line_->peer.read();
    return ends_ == 1 && line_->peer.received().size() == content.size();
  }));
  EXPECT_FALSE(error_) << error_.message();
  EXPECT_EQ(line_->peer.received(), content);
  EXPECT_LE(most_queued_, 30'000u);
}

TEST_P(Sending, WhatIsWrittenMeanwhileFitsIn) {
  limit({.high_water = 20'000, .low_water = 10'000, .max_queued = 30'000});
  const std::string content = pattern(kBig);
  put(directory_.file("big"), content);
  send(directory_.file("big"), 0, content.size());
  std::size_t besides = 0;
  EXPECT_TRUE(run_until(*context_, [&] {
    if (quiet_.closes == 0 && line_->connection.queued_bytes() < 25'000 && besides < 100'000) {
      line_->connection.write(std::string(5'000, '-'));
      besides += 5'000;
    }
    line_->peer.read();
    return ends_ == 1 && line_->peer.received().size() == content.size() + besides;
  }));
  EXPECT_FALSE(error_) << error_.message();
  EXPECT_EQ(quiet_.closes, 0);
}

class Drained : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(Drained);

TEST_P(Drained, ComesWhenNoMoreThanTheLowWaterMarkIsQueued) {
  Quiet quiet;
  Line line = join(context(), quiet, {.high_water = kBig, .low_water = 1'000, .max_queued = kBig});
  std::size_t queued = 1;
  int calls = 0;
  const auto note = [&] {
    queued = line.connection.queued_bytes();
    ++calls;
  };
  line.connection.when_drained(note);  // nothing is queued
  EXPECT_EQ(calls, 0);                 // never from within the call
  EXPECT_TRUE(run_until(context(), [&] { return calls == 1; }));
  EXPECT_EQ(queued, 0u);
  EXPECT_TRUE(run_until(context(), [&] { return line.connection.write(pattern(kBig / 2)) == Flow::go; }));
  EXPECT_GT(line.connection.queued_bytes(), 1'000u);
  line.connection.when_drained(note);
  turns(context());
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(run_until(context(), [&] { return line.peer.read(), calls == 2; }));
  EXPECT_LE(queued, 1'000u);
  EXPECT_EQ(quiet.drains, 0);  // write() had never asked to wait
}

TEST_P(Drained, ItsTaskMayOwnTheProtocol) {
  for (const bool by_context : {true, false}) {
    std::optional<Context> context(std::in_place, GetParam().make());
    auto quiet = std::make_shared<Quiet>();
    Quiet& protocol = *quiet;
    Line line = join(*context, protocol, {.high_water = 1'000, .low_water = 100, .max_queued = kBig});
    context->post([&] {
      line.connection.write(pattern(kBig));
      line.connection.when_drained([held = std::move(quiet)] {});
      context->stop();
    });
    context->run();
    if (by_context) {
      context.reset();
    } else {
      line.connection.abort();
      turns(*context);
    }
  }
}

// Dropping the first task drops the next one, and so on, while the context is still clearing its table of tasks.
TEST_P(Drained, ATaskThatOwnsTheProtocolOfTheNextIsDroppedWithTheContext) {
  std::optional<Context> context(std::in_place, GetParam().make());
  std::vector<Line> lines;
  std::shared_ptr<Quiet> next;
  for (int i = 0; i < 5; ++i) {
    auto quiet = std::make_shared<Quiet>();
    lines.push_back(join(*context, *quiet, {.high_water = 1'000, .low_water = 100, .max_queued = kBig}));
    Connection& connection = lines.back().connection;
    EXPECT_TRUE(run_until(*context, [&] { return connection.fd() >= 0; }));
    connection.write(pattern(kBig));
    connection.when_drained([held = std::move(next)] {});
    next = std::move(quiet);
  }
  context->post([held = std::move(next)] {});
  context.reset();
}

TEST_P(Sending, NothingIsToldWhenTheContextGoes) {
  put(directory_.file("big"), pattern(kBig));
  send(directory_.file("big"), 0, kBig);
  EXPECT_TRUE(run_until(*context_, [&] { return line_->connection.queued_bytes() > 0; }));
  context_.reset();
  EXPECT_EQ(ends_, 0);
}

TEST_P(Sending, GoesOnWhereTheLoopIsChanged) {
  const std::string content = pattern(kBig);
  put(directory_.file("big"), content);
  send(directory_.file("big"), 0, content.size());
  EXPECT_TRUE(run_until(*context_, [&] { return line_->connection.queued_bytes() > 0; }));
  context_->move_to(native());
  EXPECT_TRUE(
      run_until(*context_, [&] { return line_->peer.read(), line_->peer.received().size() == content.size(); }));
  EXPECT_EQ(line_->peer.received(), content);
}

}  // namespace
}  // namespace onloop::test
