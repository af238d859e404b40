#pragma once
#include <vector>

#include "core/net/acceptor.hpp"
#include "core/net/stream.hpp"
#include "core/takeover/takeover.hpp"

namespace onloop::detail {

/// The side that takes over: makes everything, frozen, acknowledges, and serves when it is told to.
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

  [[nodiscard]] const TakeoverOptions::Member& known(const std::string& name) const;
  void take_listener(const ListenerRecord& record);
  void take_connection(const ConnectionRecord& record);
  void take_data(std::span<const std::byte> data);
  void acknowledge(const EndRecord& end);
  void send_acknowledgement();
  void serve_unbidden();
  void serve();

  struct TakenListener {
    Held<Acceptor> acceptor;
    ListenerRecord record;
  };
  bool greeted_ = false;
  bool complete_ = false;      // all is here
  bool acknowledged_ = false;  // all of that word is in the other side's socket
  int failed_reads_ = 0;       // since then, with nobody at the other end
  bool told_unread_ = false;   // to give up
  TakeoverResult result_;      // has all the memory that it needs before that
  bool unbidden_ = false;      // serves as soon as the other side can read that it does
  Timer again_;
  HelloRecord hello_;
  std::vector<TakenListener> listeners_;
  std::vector<Held<Stream>> streams_;
  std::uint64_t data_left_ = 0;  // of the last one
};

}  // namespace onloop::detail
