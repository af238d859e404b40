#pragma once
#include <cstdint>
#include <string>
#include <system_error>

#include "core/runtime/source.hpp"
#include "core/runtime/timer_heap.hpp"
#include "core/runtime/turn_budget.hpp"

namespace onloop::detail {

class Acceptor;
class Net;

/// One listening socket of an Acceptor: it accepts.
class ListeningSocket final : public Source, public TimerNode {
 public:
  ListeningSocket(Net& net, Acceptor& acceptor) noexcept;
  /// Takes the descriptor on success. Throws std::system_error.
  void start(int fd, std::uint32_t interest, const std::string& what);
  [[nodiscard]] std::error_code set_paused(bool paused) noexcept;
  /// Tries to accept again after a while.
  void retry_later() noexcept;
  void sever() noexcept override;
  bool lose_number() noexcept override;
  /// Does not listen any more, and leaves the descriptor open.
  void give_back() noexcept;
  /// Accepts those who wait in the backlog now, whether it is paused or not, and tells the Acceptor when it is done: at
  /// once, with on_open in a later turn, or when the budget is spent, or there is nothing to accept with, in later
  /// turns.
  void drain(TurnBudget& budget);

 private:
  enum class Opening : bool { now, later };
  ~ListeningSocket() override = default;
  void on_ready(std::uint32_t readiness) override;
  void on_due() override;
  void on_deferred() override { on_due(); }
  /// False: there is nobody to accept, or nothing to accept with.
  bool accept_one(Opening opening);
  bool accept_failed(int error) noexcept;
  void report_starved(int error, const char* consequence = "") noexcept;
  [[nodiscard]] bool accepts() const noexcept { return wanted() & ONLOOP_READ || (draining_ && fd() >= 0); }
  [[nodiscard]] std::uint32_t waiting() const noexcept;
  bool end_drain();

  Net& net_;
  Acceptor& acceptor_;
  unsigned failures_ = 0;  // in a row
  bool draining_ = false;
  std::uint32_t to_accept_ = 0;  // while it drains, at most
};

}  // namespace onloop::detail
