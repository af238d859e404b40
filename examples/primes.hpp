#pragma once
// The common parts of the two examples with threads: a protocol that asks for a long calculation, and the threads that
// do the calculation.
#include <onloop/onloop.hpp>

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <queue>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace example {

/// Counts the primes below `limit` by trial division. It stops early when `stop` requests it.
inline std::uint64_t count_primes(std::uint64_t limit, const std::stop_token& stop) {
  std::uint64_t count = 0;
  for (std::uint64_t number = 2; number < limit && !stop.stop_requested(); ++number) {
    bool prime = true;
    for (std::uint64_t factor = 2; prime && factor * factor <= number; ++factor) prime = number % factor != 0;
    count += prime;
  }
  return count;
}

/// Threads that do one job after the other. The destructor drops the jobs that have not begun, requests the others to
/// stop, and waits for the threads.
class Workers {
 public:
  using Job = std::function<void(const std::stop_token&)>;

  explicit Workers(int threads) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
  }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;
  ~Workers() {
    // Asks all threads to stop before the destructor of the vector waits for the first one.
    for (std::jthread& thread : threads_) thread.request_stop();
  }

  void give(Job job) {
    {
      const std::lock_guard lock(mutex_);
      jobs_.push(std::move(job));
    }
    there_is_one_.notify_one();
  }

 private:
  void work(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (there_is_one_.wait(lock, stop, [this] { return !jobs_.empty(); }) && !stop.stop_requested()) {
      const Job job = std::move(jobs_.front());
      jobs_.pop();
      lock.unlock();
      job(stop);
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable_any there_is_one_;
  std::queue<Job> jobs_;
  std::vector<std::jthread> threads_;  // last, so that they are joined before the other members are destroyed
};

/// A client sends a number and a newline. The answer is how many primes are below the number. Only then the next line
/// is read, so a client has at most one job at a time.
class Questions : public onloop::Protocol {
 public:
  /// @param ask Starts the calculation for one question. Its result must be given to answer() on the loop's thread.
  explicit Questions(std::function<void(onloop::Ref, std::uint64_t)> ask) : ask_(std::move(ask)) {}

  void on_open(onloop::Connection& connection) override { connection.emplace_state<std::string>(); }

  void on_data(onloop::Connection& connection, std::span<const std::byte> data) override {
    connection.state<std::string>().append(reinterpret_cast<const char*>(data.data()), data.size());
    serve(connection);
  }

  /// Sends the answer. Does nothing if the client has left meanwhile.
  void answer(const onloop::Ref& asker, std::uint64_t primes) {
    onloop::Connection* const connection = asker.get();
    if (connection == nullptr) return;
    connection->write(std::to_string(primes) + "\n");
    serve(*connection);
  }

 private:
  void serve(onloop::Connection& connection) {
    auto& input = connection.state<std::string>();
    const std::size_t end = input.find('\n');
    if (end == std::string::npos && input.size() <= kLongestLine) {
      connection.resume_reading();
      return;
    }
    std::uint64_t limit = 0;
    const auto [rest, error] = std::from_chars(input.data(), input.data() + std::min(end, input.size()), limit);
    if (end == std::string::npos || error != std::errc{} || rest != input.data() + end) {
      connection.write("a line is one number\n");
      connection.close();
      return;
    }
    input.erase(0, end + 1);
    connection.pause_reading();
    ask_(connection.ref(), limit);
  }

  static constexpr std::size_t kLongestLine = 100;
  const std::function<void(onloop::Ref, std::uint64_t)> ask_;
};

}  // namespace example
