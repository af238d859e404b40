#include "onloop-echo/cutover_coordinator.hpp"

#include <algorithm>
#include <cstdint>
#include <exception>
#include <optional>
#include <utility>

#include "common/command.hpp"

namespace echo {
namespace {

bool has_failed(const Answer& answer) {
  return !answer.error.empty();
}

/// Runs `step` and turns what it throws into an answer. It runs on the thread of the worker.
template <class F>
Answer attempt(F step) {
  Answer answer;
  try {
    answer.moved = step();
  } catch (const std::exception& error) {
    answer.error = error.what();
  }
  return answer;
}

}  // namespace

void CutoverCoordinator::move(Where where, Done done) {
  moves_.push_back({std::move(where), std::move(done)});
  if (moves_.size() == 1) begin();
}

void CutoverCoordinator::begin() {
  std::optional<onloop::Loop> loop;
  try {
    loop = moves_.front().where();
  } catch (const std::exception& error) {
    end({false, error.what()});
    return;
  }
  workers_.ask(
      [loop = *loop](Worker& worker, const WorkerGroup::Reply& reply) {
        reply(attempt([&] { return worker.move_to(loop); }));
      },
      [this](const std::vector<Answer>& answers) { all_have_tried(answers); });
}

void CutoverCoordinator::all_have_tried(const std::vector<Answer>& answers) {
  const auto moved = [](const Answer& answer) { return answer.moved; };
  const bool any_moved = std::any_of(answers.begin(), answers.end(), moved);
  const auto failure = std::find_if(answers.begin(), answers.end(), has_failed);
  if (failure == answers.end()) {
    end({any_moved, {}});
  } else if (any_moved) {
    move_back(failure->error);
  } else {
    end({false, failure->error});
  }
}

void CutoverCoordinator::move_back(const std::string& why) {
  workers_.ask(
      [](Worker& worker, const WorkerGroup::Reply& reply) { reply(attempt([&] { return worker.move_back(); })); },
      [this, why](const std::vector<Answer>& answers) {
        const auto failure = std::find_if(answers.begin(), answers.end(), has_failed);
        const auto stayed = std::count_if(answers.begin(), answers.end(), has_failed);
        if (stayed == 0) return end({false, why});
        end({false, why + "; also " + tools::counted(static_cast<std::uint64_t>(stayed), "worker") + " of " +
                        std::to_string(answers.size()) + " cannot move back: " + failure->error});
      });
}

void CutoverCoordinator::end(const Outcome& outcome) {
  moves_.front().done(outcome);
  moves_.pop_front();
  if (!moves_.empty()) begin();
}

}  // namespace echo
