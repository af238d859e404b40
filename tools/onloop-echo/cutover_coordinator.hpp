#pragma once
#include <onloop/loop.hpp>

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "onloop-echo/worker_group.hpp"

namespace echo {

/// Moves the whole workers to another loop, each worker on its own thread: all, or none where that can be had.
class CutoverCoordinator {
 public:
  /// Where to; called when it is this move's turn, and may throw what the move then fails with.
  using Where = std::function<onloop::Loop()>;
  struct Outcome {
    bool moved = false;  // not if they were there already
    std::string error;   // empty: none
  };
  using Done = std::function<void(const Outcome&)>;

  explicit CutoverCoordinator(WorkerGroup& workers) noexcept : workers_(workers) {}

  /// One after the other; with one worker it is over when this returns. `done` is called on the first one's thread.
  void move(Where where, Done done);

 private:
  struct Move {
    Where where;
    Done done;
  };

  void begin();
  void all_have_tried(const std::vector<Answer>& answers);
  void move_back(const std::string& why);
  void end(const Outcome& outcome);

  WorkerGroup& workers_;
  std::deque<Move> moves_;  // the first one is under way
};

}  // namespace echo
