#pragma once
#include <memory>

#include "drive.hpp"
#include "takeover_wire.hpp"

namespace onloop::test {

/// A Recorder that may go to another context, and notes when it does.
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
  std::vector<std::string> states;  ///< that import_state got
};

/// As a part of TakeoverOptions.
[[nodiscard]] inline TakeoverOptions::Member member(std::string name, Traveller& protocol) {
  return {
      .name = std::move(name),
      .protocol = protocol,
      .export_state = [&protocol](Connection& connection,
                                  auto& state) { return protocol.export_state(connection, state); },
      .import_state = [&protocol](Connection& connection, auto state) { protocol.import_state(connection, state); }};
}

/// For when_data: answers with what has come.
inline void echo_back(Connection& connection, std::string_view data) {
  connection.write(data);
}
/// For when_end: leaves the connection open.
inline void stay_open(Connection&) {}

/// Two contexts in this process, `old_` on the loop under test and `next_` on another one, driven turn by turn. By
/// default both know one protocol, under the name "traveller".
class TakeoverTest : public LoopTest {
 protected:
  void SetUp() override;
  void TearDown() override;

  /// Turns of both, one after the other, until `done`.
  [[nodiscard]] ::testing::AssertionResult until(const std::function<bool()>& done);
  /// So many turns of each that is there: to show that nothing (more) happens.
  void both_turn(int count = 20);
  /// The two begin, joined by a socket.
  void start();
  /// The old context exports to a socket that the test holds; likewise the next one imports.
  [[nodiscard]] Wire start_export();
  [[nodiscard]] Wire start_import();
  /// start(), until both are done without an error.
  [[nodiscard]] ::testing::AssertionResult take_over();
  /// Until both are done, each with an error and its reason.
  [[nodiscard]] ::testing::AssertionResult both_fail();
  /// A connection of the old context's, opened.
  [[nodiscard]] Line join_old(Limits limits = {}, Kind kind = Kind::tcp);
  /// Until `peer` has got `text` back, which it sends.
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
