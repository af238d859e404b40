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

/// The answer of a worker to a question. Who asked the question knows which members have a meaning.
struct Answer {
  onloop::Statistics statistics;
  std::uint64_t timed_out = 0;
  bool moved = false;
  std::string error;  // empty: no error. It is text because it goes from thread to thread
};

/// All workers.
///
/// The first worker runs on the thread that made the group. Each other worker runs on a thread of its own, and is
/// reached only by its Remote.
///
/// Thread: only the thread that made the group may call it.
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

  /// Makes all workers listen on this address. It must be called before start().
  ///
  /// @throws std::runtime_error that says why they cannot listen and what to do.
  void serve(const onloop::Address& address);
  /// Starts the threads of all workers except the first one.
  ///
  /// @param failed  Called with a message, on the thread of the first worker, when another worker ends by an exception.
  /// @throws std::system_error if a thread cannot be started.
  void start(std::function<void(const std::string&)> failed);
  /// Asks all workers a question. Never blocks.
  ///
  /// With a single worker, work() runs before ask() returns. If work() replies at once, then() also runs before ask()
  /// returns.
  ///
  /// @param work  Runs once for each worker, on the thread of that worker. It must reply once, at once or later. It is
  ///              copied to other threads, with everything that it has captured.
  /// @param then  Runs on the thread of the first worker when all workers have replied. It gets the answers in the
  ///              order of the workers.
  void ask(const Work& work, Then then);
  /// Ends the threads and waits for them. Questions that are still open get no answer.
  void stop();

  /// The statistics of all workers together. It may be called only before start() or after stop().
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
  std::map<std::uint64_t, Question> questions_;  // for the first thread; the others know only a question's number
  std::uint64_t asked_ = 0;
};

}  // namespace echo
