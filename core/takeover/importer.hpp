#pragma once
#include <onloop/descriptor.hpp>

#include <vector>

#include "core/net/acceptor.hpp"
#include "core/net/stream.hpp"
#include "core/takeover/takeover.hpp"

namespace onloop::detail {

/// The importing side of a takeover. It makes the listeners and connections from the records, frozen. When everything
/// has arrived, it acknowledges. It serves the connections when the exporter sends go.
class Importer final : public Takeover {
 public:
  using Takeover::Takeover;

 private:
  void on_frame(const Channel::Frame& frame) override;
  void on_end() override;
  void on_writable() override { send_acknowledgement(); }
  bool on_read_error(std::error_code error) override;
  bool may_fail(std::error_code error, const std::string& reason) override;
  void undo() noexcept override;
  void release() noexcept override;

  /// @return The protocol that takes part under this name.
  /// @throws std::system_error with EPROTONOSUPPORT if there is none.
  [[nodiscard]] const TakeoverOptions::Member& known(const std::string& name) const;
  /// The next descriptor that has come, which must be a listening stream socket.
  [[nodiscard]] Descriptor take_listening_socket();
  void take_listener(const ListenerRecord& record);
  void take_connection(const ConnectionRecord& record);
  void take_data(std::span<const std::byte> data);
  void acknowledge(const EndRecord& end);
  void send_acknowledgement();
  void serve_unbidden();
  /// The takeover has succeeded: thaws all listeners and connections.
  void serve();

  struct TakenListener {
    Held<Acceptor> acceptor;
    ListenerRecord record;
  };
  bool greeted_ = false;       // hello has arrived
  bool complete_ = false;      // end has arrived, so everything is here
  bool acknowledged_ = false;  // all of acknowledge is in the socket of the other side
  int failed_reads_ = 0;       // how often reading has failed since then, while the other side had closed its end
  bool told_unread_ = false;   // the other side has sent give_up, which can't be read
  TakeoverResult result_;      // its memory is reserved before the acknowledgement
  bool unbidden_ = false;      // serves as soon as all of go is in the socket of the other side
  Timer again_;                // for serve_unbidden(), or for the rest of the acknowledgement
  HelloRecord hello_;
  std::vector<TakenListener> listeners_;
  std::vector<Held<Stream>> streams_;
  std::uint64_t data_left_ = 0;  // data bytes that are still to come for the last of streams_
};

}  // namespace onloop::detail
