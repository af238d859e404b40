#pragma once
#include <vector>

#include "core/net/acceptor.hpp"
#include "core/net/stream.hpp"
#include "core/takeover/takeover.hpp"

namespace onloop::detail {

/// The side that hands over: freezes, sends, and either hands over or thaws.
class Exporter final : public Takeover {
 public:
  using Takeover::Takeover;

 private:
  enum class Phase { freezing, sending, waiting };
  enum class Answer { none, acknowledgement, served, unknown };

  void on_writable() override;
  void on_frame(const Channel::Frame& frame) override;
  void on_end() override;
  bool on_read_error(std::error_code error) override;
  bool may_fail(std::error_code error, const std::string& reason) override;
  void undo() noexcept override;
  void on_severed() noexcept override;
  void release() noexcept override;

  void freeze();
  void send();
  bool put_next();
  void put_listener(Acceptor& acceptor);
  void put_connection(Stream& stream);
  void put_data();
  [[nodiscard]] std::size_t fds_of_next() const noexcept;
  void check_queued() const;
  [[nodiscard]] bool lost_a_listener() const noexcept;
  [[nodiscard]] Answer answer() noexcept;
  [[nodiscard]] Answer guess() noexcept;
  [[nodiscard]] bool say_go() noexcept;
  void hand_over();
  void retreat();
  [[nodiscard]] bool retreat_later() noexcept;

  Phase phase_ = Phase::freezing;
  std::vector<Held<Acceptor>> acceptors_;
  std::vector<Held<Stream>> streams_;
  std::size_t next_listener_ = 0;            // of acceptors_
  std::vector<Stream*> sent_streams_;        // of them, those whose record is sent
  std::size_t next_ = 0;                     // of streams_
  std::vector<Acceptor*> queued_acceptors_;  // their descriptors are queued, not sent
  std::vector<Stream*> queued_streams_;
  Stream* data_of_ = nullptr;  // is not sent in full yet
  std::size_t data_sent_ = 0;
  EndRecord sent_;
  bool end_sent_ = false;      // so it may be acknowledged
  bool acknowledged_ = false;  // so the other side is the owner, unless it has closed its end or is told to give up
  bool served_ = false;        // by the other side, for certain
  bool deaf_ = false;          // nothing more can come
  int retreats_ = 0;
  std::error_code failure_;  // for which it would go on serving, if it may
  std::string why_;
  Timer again_;
};

}  // namespace onloop::detail
