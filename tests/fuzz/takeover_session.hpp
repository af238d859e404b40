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

/// What an exporting side may send: frames, and the descriptors that go with them. Valid as it is made: a listener and
/// three connections, of which one is silent, one has something queued, and one is being closed.
struct Session {
  Session();
  [[nodiscard]] std::string bytes() const;

  detail::ListenerRecord listener;
  detail::ConnectionRecord connections[3];
  detail::EndRecord end;
  std::vector<std::string> frames;  ///< made of the records by build()
  void build();

  RawListener socket{"127.0.0.1:0"};
  std::vector<Peer> peers;  ///< the other ends of the connections
  std::vector<Fd> ends;     ///< the connections
  std::vector<int> fds;     ///< of the listener and the connections
};

/// A context that takes over what sessions say. It has a connection of its own, that has to survive all of it.
class Importing : public CleanTest {
 protected:
  void SetUp() override;
  void TearDown() override;

  /// Sends it all, to the end; if it is acknowledged, also the word. Returns what became of it; then nothing of it is
  /// left in the context, no descriptor either.
  TakeoverResult import(const std::string& bytes, const std::vector<int>& fds);
  TakeoverResult import(const Session& session) { return import(session.bytes(), session.fds); }
  /// It was refused, with EPROTO and these words among one line.
  void expect_refused(const TakeoverResult& result, const std::string& words);

  Traveller protocol_;
  std::unique_ptr<Context> context_;

 private:
  Traveller own_protocol_;
  Peer own_;
};

}  // namespace onloop::test
