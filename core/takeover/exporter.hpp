#pragma once
#include <vector>

#include "core/net/acceptor.hpp"
#include "core/net/stream.hpp"
#include "core/takeover/takeover.hpp"

namespace onloop::detail {

/// The exporting side of a takeover. It freezes the listeners and connections that take part, sends them, and waits for
/// the acknowledgement. Then it hands over, which closes its own copies. If the takeover fails, it thaws everything.
class Exporter final : public Takeover {
 public:
  using Takeover::Takeover;

 private:
  /// freezing: nothing is frozen or queued yet. sending: records are being queued and sent. waiting: the end record is
  /// queued or sent.
  enum class Phase { freezing, sending, waiting };
  /// What the other side has sent so far. none: no complete answer, or give_up. acknowledgement: acknowledge. served:
  /// acknowledge and go. unknown: bytes have arrived that can't be read for the moment.
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
  /// Sends what is queued, and queues and sends further records, up to a number of messages in one turn.
  void send();
  bool put_next();
  /// The put_ functions queue one record, or a piece of data.
  void put_listener(Acceptor& acceptor);
  void put_connection(Stream& stream);
  void put_data();
  [[nodiscard]] std::size_t fds_of_next() const noexcept;
  void check_queued() const;
  /// @return True if the application has closed one of the listeners that take part.
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
  std::size_t next_listener_ = 0;            // index of the next of acceptors_ to queue
  std::vector<Stream*> sent_streams_;        // those of streams_ whose record was queued
  std::size_t next_ = 0;                     // index of the next of streams_ to queue
  std::vector<Acceptor*> queued_acceptors_;  // listeners whose descriptors are queued and not sent
  std::vector<Stream*> queued_streams_;      // connections whose descriptors are queued and not sent
  Stream* data_of_ = nullptr;                // the connection whose data is not queued in full
  std::size_t data_sent_ = 0;                // how many bytes of this data are queued
  EndRecord sent_;                           // the end record of what was queued
  bool end_sent_ = false;                    // the end record is sent, so the other side may acknowledge
  bool acknowledged_ = false;  // the other side is the owner, unless it has closed its end or is told to give up
  bool served_ = false;        // the other side has sent go, so it certainly serves
  bool deaf_ = false;          // the receiving side is shut down, so nothing more can arrive
  int retreats_ = 0;           // how often retreat() was tried again with deaf_
  std::error_code failure_;    // why this side wants to go on serving
  std::string why_;            // the same as a message
  Timer again_;                // for the next try of send() or of retreat()
};

}  // namespace onloop::detail
