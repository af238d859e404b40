#include "takeover_session.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

namespace onloop::test {
namespace {

int open_descriptors() {
  int count = 0;
  DIR* directory = ::opendir("/proc/self/fd");
  while (::readdir(directory)) ++count;
  ::closedir(directory);
  return count;
}

}  // namespace

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Session::Session() {
  ::fcntl(socket.socket.get(), F_SETFL, O_NONBLOCK);
  listener.protocol = "traveller";
  listener.sockets = 1;
  fds.push_back(socket.socket.get());
  for (detail::ConnectionRecord& connection : connections) {
    connection.protocol = "traveller";
    auto [ours, theirs] = connected_pair(Kind::unix_pair);
    peers.emplace_back(std::move(theirs));
    fds.push_back(ours.get());
    ends.push_back(std::move(ours));
  }
  connections[0].listener = 0;
  connections[0].state.assign(20, std::byte{'s'});
  connections[1].queued = 100;
  connections[1].paused = true;
  connections[2].closing = connections[2].write_ended = connections[2].fin_sent = true;
  connections[2].clock_ns = 1'000'000'000;
  end = {1, 3};
  build();
}

void Session::build() {
  frames = {frame(Frame::hello, bytes_of(detail::HelloRecord{1})),
            frame(Frame::listener, bytes_of(listener)),
            frame(Frame::connection, bytes_of(connections[0])),
            frame(Frame::connection, bytes_of(connections[1])),
            frame(Frame::data, std::string(60, 'q')),
            frame(Frame::data, std::string(40, 'r')),
            frame(Frame::connection, bytes_of(connections[2])),
            frame(Frame::end, bytes_of(end))};
}

std::string Session::bytes() const {
  std::string all;
  for (const std::string& each : frames) all += each;
  return all;
}

void Importing::SetUp() {
  CleanTest::SetUp();
  context_ = std::make_unique<Context>(native());
  own_protocol_.when_data = echo_back;
  own_ = join(*context_, own_protocol_).peer;
  context_->listen("127.0.0.1:0", own_protocol_);  // from now on, the context holds its reserve descriptor
  turns(*context_, 3);
}

void Importing::TearDown() {
  context_.reset();
  own_.close();
  CleanTest::TearDown();
}

TakeoverResult Importing::import(const std::string& bytes, const std::vector<int>& fds) {
  const int descriptors = open_descriptors();
  const std::size_t connections = context_->statistics().connections;
  std::vector<TakeoverResult> results;
  std::vector<Ref> taken;
  protocol_.when_import = [&](Connection& connection) { taken.push_back(connection.ref()); };
  {
    auto [here, there] = connected_pair(Kind::unix_pair);
    TakeoverOptions options;
    options.protocols.push_back(member("traveller", protocol_));
    import_context(*context_, here.release(), options,
                   [&](const TakeoverResult& result) { results.push_back(result); });
    RawTakeoverChannel channel(std::move(there));
    channel.send(bytes, fds);
    for (int i = 0; i < 4 && results.empty() && !channel.has(Frame::acknowledge); ++i) {
      turns(*context_, 1);
      channel.read();
    }
    channel.send(channel.has(Frame::acknowledge) ? frame(Frame::go) : "");
    channel.finish();
    for (int i = 0; i < 1'000 && results.empty(); ++i) turns(*context_, 1);
  }
  EXPECT_EQ(results.size(), 1u);
  if (results.empty()) return {};
  for (const auto& [name, listener] : results[0].taken) listener->close();
  for (const Ref& each : taken) {
    if (each) each->abort();
  }
  turns(*context_, 3);
  EXPECT_EQ(context_->statistics().connections, connections);
  EXPECT_EQ(open_descriptors(), descriptors) << results[0].reason;
  const std::size_t had = own_.received().size();
  own_.send("own");
  for (int i = 0; i < 1'000 && own_.received().size() < had + 3; ++i) {
    turns(*context_, 1);
    own_.read();
  }
  EXPECT_EQ(own_.received().substr(had), "own");
  return results[0];
}

void Importing::expect_refused(const TakeoverResult& result, const std::string& words) {
  EXPECT_TRUE(is(result.error, std::errc::protocol_error)) << result.error.message();
  EXPECT_NE(result.reason.find(words), std::string::npos) << result.reason;
  EXPECT_EQ(result.reason.find('\n'), std::string::npos) << result.reason;
  EXPECT_LT(result.reason.size(), 300u) << result.reason;
  EXPECT_EQ(result.connections + result.listeners + result.taken.size(), 0u);
}

}  // namespace onloop::test
