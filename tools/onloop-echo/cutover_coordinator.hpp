#pragma once
#include <onloop/loop.hpp>

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "onloop-echo/worker_group.hpp"

namespace echo {

/// Moves all workers to another loop, each worker on its own thread.
///
/// Either all workers move or none does. If one worker cannot move, the others move back. Only if a worker then cannot
/// move back are the workers on different loops, and the error says so.
class CutoverCoordinator {
 public:
  /// Returns the loop to move to. It is called when the move begins. If it throws, the move fails with that error.
  using Where = std::function<onloop::Loop()>;
  struct Outcome {
    bool moved = false;  // false after an error, or if all workers were on that loop already
    std::string error;   // empty if there was no error
  };
  using Done = std::function<void(const Outcome&)>;

  explicit CutoverCoordinator(WorkerGroup& workers) noexcept : workers_(workers) {}

  /// Asks for a move. Moves run one after the other. With one worker, the move is over when this returns.
  ///
  /// @param done  Called on the thread of the first worker when the move is over.
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
  std::deque<Move> moves_;  // the first one is running
};

}  // namespace echo
