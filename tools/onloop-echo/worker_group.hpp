#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "onloop-echo/connection_limit.hpp"
#include "onloop-echo/log.hpp"
#include "onloop-echo/options.hpp"
#include "onloop-echo/worker.hpp"

namespace echo {

/// What a worker has answered; which of it means something is known to who has asked.
struct Answer {
  onloop::Statistics statistics;
  std::uint64_t timed_out = 0;
  bool moved = false;
  std::string error;  // text, since it goes from thread to thread; empty: none
};

/// All workers. The first runs on the thread that has made the workers, which is the only one to call it; each other
/// one runs on a thread of its own, and is reached by its Remote alone.
class WorkerGroup {
 public:
  using Reply = std::function<void(Answer)>;
  using Work = std::function<void(Worker&, const Reply&)>;
  using Then = std::function<void(const std::vector<Answer>&)>;

  WorkerGroup(const Options& options, const Log& log);
  WorkerGroup(const WorkerGroup&) = delete;
  WorkerGroup& operator=(const WorkerGroup&) = delete;
  ~WorkerGroup() { stop(); }

  [[nodiscard]] Worker& first() noexcept { return *workers_.front(); }
  [[nodiscard]] const Worker& first() const noexcept { return *workers_.front(); }
  [[nodiscard]] std::size_t size() const noexcept { return workers_.size(); }

  /// All of them listen on that address, or this throws std::runtime_error that says why not and what to do. Before
  /// start().
  void serve(const std::string& address);
  /// Starts the threads of all but the first. One that ends by an exception is told to `failed`, in the first one's
  /// loop. Throws std::system_error if there can't be so many threads.
  void start(std::function<void(const std::string&)> failed);
  /// Has `work` done by each worker on its own thread, which must reply once, then or later; when all have, `then` runs
  /// on the first one's, with the answers in the order of the workers. Never blocks; where there is only one, work()
  /// and, if it replies then, then() are called at once. What work() has captured is copied to other threads.
  void ask(const Work& work, Then then);
  /// Ends the threads, and waits for them; what they are in the middle of does not get its answer.
  void stop();

  /// Of all together; without a thread started, or after stop().
  [[nodiscard]] onloop::Statistics statistics() const;

 private:
  struct Question {
    std::size_t unanswered;
    std::vector<Answer> answers;
    Then then;
  };

  void run(std::size_t index);
  void take(std::uint64_t question, std::size_t index, Answer answer);

  ConnectionLimit connection_limit_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::thread> threads_;
  std::function<void(const std::string&)> failed_;
  std::map<std::uint64_t, Question> questions_;  // of the first thread only: what others hold of one is its number
  std::uint64_t asked_ = 0;
};

}  // namespace echo
