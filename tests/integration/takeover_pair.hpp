#pragma once
#include <memory>

#include "drive.hpp"
#include "raw_takeover_channel.hpp"

namespace onloop::test {

/// A Recorder whose connections may go to another context. It notes each export and import.
class Traveller : public Recorder {
 public:
  bool export_state(Connection& connection, std::vector<std::byte>& state) {
    ++calls;
    ++exports;
    const auto hook = when_export;
    return hook ? hook(connection, state) : true;
  }
  void import_state(Connection& connection, std::span<const std::byte> state) {
    ++calls;
    ++imports;
    last = connection.ref();
    states.emplace_back(reinterpret_cast<const char*>(state.data()), state.size());
    if (const auto hook = when_import) hook(connection);
  }

  std::function<bool(Connection&, std::vector<std::byte>&)> when_export;
  std::function<void(Connection&)> when_import;
  int exports = 0, imports = 0;
  std::vector<std::string> states;  ///< the states that import_state() got
};

/// The protocol as a member of TakeoverOptions.
[[nodiscard]] inline TakeoverOptions::Member member(std::string name, Traveller& protocol) {
  return {
      .name = std::move(name),
      .protocol = protocol,
      .export_state = [&protocol](Connection& connection,
                                  auto& state) { return protocol.export_state(connection, state); },
      .import_state = [&protocol](Connection& connection, auto state) { protocol.import_state(connection, state); }};
}

/// A hook for when_data: sends the data back.
inline void echo_back(Connection& connection, std::string_view data) {
  connection.write(data);
}
/// A hook for when_end: leaves the connection open.
inline void stay_open(Connection&) {}

/// Two contexts in this process, `old_` on the loop under test and `next_` on another one, driven turn by turn. By
/// default both know one protocol, under the name "traveller".
class TakeoverTest : public LoopTest {
 protected:
  void SetUp() override;
  void TearDown() override;

  /// Makes turns of both contexts, one after the other, until `done` returns true.
  [[nodiscard]] ::testing::AssertionResult until(const std::function<bool()>& done);
  /// Makes `count` turns of each context that exists. A test uses it to show that nothing more happens.
  void both_turn(int count = 20);
  /// Starts the takeover between the two contexts.
  void start();
  /// Starts only one side: the old context exports, or the next context imports. The test holds the other end of the
  /// socket.
  [[nodiscard]] RawTakeoverChannel start_export();
  [[nodiscard]] RawTakeoverChannel start_import();
  /// Calls start(), and waits until both sides are done without an error.
  [[nodiscard]] ::testing::AssertionResult take_over();
  /// Waits until both sides are done, each with an error and a reason.
  [[nodiscard]] ::testing::AssertionResult both_fail();
  /// An open connection of the old context.
  [[nodiscard]] Line join_old(Limits limits = {}, Kind kind = Kind::tcp);
  /// Sends `text` by `peer`, and waits until it has come back.
  [[nodiscard]] ::testing::AssertionResult echoes(Peer& peer, const std::string& text);
  /// A loop other than the one under test.
  [[nodiscard]] Loop another_loop() const;

  /// Called before each turn of until().
  std::function<void()> before_turn_;
  std::unique_ptr<Context> old_, next_;
  std::unique_ptr<Traveller> old_protocol_, next_protocol_;
  TakeoverOptions old_options_, next_options_;
  std::vector<TakeoverResult> exported_, imported_;
};

}  // namespace onloop::test
