// Files on the worker pool, and a file streamed into a connection.
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

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

// A protocol that counts what it is told besides.
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
    return line_->connection.queued_bytes() > 0;  // the peer does not read yet
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
  EXPECT_GT(quiet_.drains, 0);  // its protocol is told as ever
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
  EXPECT_EQ(quiet_.closes, 0);  // what to do about it is the application's
}

TEST_P(Sending, AConnectionThatEndsMidwayIsAnError) {
  put(directory_.file("big"), pattern(kBig));
  send(directory_.file("big"), 0, kBig);
  EXPECT_TRUE(run_until(*context_, [&] { return line_->connection.queued_bytes() > 0; }));
  line_->peer.reset();
  EXPECT_TRUE(run_until(*context_, [&] { return ends_ == 1; }));
  EXPECT_TRUE(is(error_, std::errc::connection_aborted)) << error_.message();
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
