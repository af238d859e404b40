#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/takeover/record.hpp"
#include "integration/takeover_pair.hpp"

namespace onloop::test {

[[nodiscard]] std::string text_of(const std::vector<std::byte>& bytes);
template <class Record>
[[nodiscard]] std::string bytes_of(const Record& record) {
  return text_of(detail::to_bytes(record));
}

/// What an exporting side may send: frames and the descriptors that go with them.
///
/// A new session is valid. It has a listener and three connections: one is silent, one has queued bytes, and one is
/// being closed.
struct Session {
  Session();
  [[nodiscard]] std::string bytes() const;

  detail::ListenerRecord listener;
  detail::ConnectionRecord connections[3];
  detail::EndRecord end;
  std::vector<std::string> frames;  ///< build() makes them from the records
  void build();

  RawListener socket{"127.0.0.1:0"};
  std::vector<Peer> peers;  ///< the other ends of the connections
  std::vector<Fd> ends;     ///< the connections
  std::vector<int> fds;     ///< the descriptors of the listener and the connections
};

/// A context that takes over sessions. It also has a connection of its own, which must survive every takeover.
class Importing : public CleanTest {
 protected:
  void SetUp() override;
  void TearDown() override;

  /// Sends these bytes and descriptors to the context. If the context acknowledges, sends `go`, too. Then ends the
  /// stream.
  ///
  /// @return The result. When this returns, nothing of the session is left in the context, not even a descriptor.
  TakeoverResult import(const std::string& bytes, const std::vector<int>& fds);
  TakeoverResult import(const Session& session) { return import(session.bytes(), session.fds); }
  /// Expects that the session was refused with EPROTO and a reason of one line that has these words.
  void expect_refused(const TakeoverResult& result, const std::string& words);

  Traveller protocol_;
  std::unique_ptr<Context> context_;

 private:
  Traveller own_protocol_;
  Peer own_;
};

}  // namespace onloop::test
