#pragma once
// What the two examples with threads have in common: a protocol that is asked for something that takes long to work
// out, and the threads that work it out.
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

/// How many primes are below `limit`, by trial; given up when `stop` asks for it.
inline std::uint64_t count_primes(std::uint64_t limit, const std::stop_token& stop) {
  std::uint64_t count = 0;
  for (std::uint64_t number = 2; number < limit && !stop.stop_requested(); ++number) {
    bool prime = true;
    for (std::uint64_t factor = 2; prime && factor * factor <= number; ++factor) prime = number % factor != 0;
    count += prime;
  }
  return count;
}

/// Threads that take one job after the other. Destroying it drops what has not begun, asks what has to stop, and waits
/// for the threads.
class Workers {
 public:
  using Job = std::function<void(const std::stop_token&)>;

  explicit Workers(int threads) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
  }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;
  ~Workers() {
    for (std::jthread& thread : threads_) thread.request_stop();  // all of them, before the first is waited for
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
  std::vector<std::jthread> threads_;  // gone before what they use
};

/// A client sends a number and a newline, and is answered with how many primes are below it; then its next line is
/// looked at, so that it makes at most one job at a time.
class Questions : public onloop::Protocol {
 public:
  /// `ask` has each one worked out, for answer() to be called on the loop's thread.
  explicit Questions(std::function<void(onloop::Ref, std::uint64_t)> ask) : ask_(std::move(ask)) {}

  void on_open(onloop::Connection& connection) override { connection.emplace_state<std::string>(); }

  void on_data(onloop::Connection& connection, std::span<const std::byte> data) override {
    connection.state<std::string>().append(reinterpret_cast<const char*>(data.data()), data.size());
    serve(connection);
  }

  /// Does nothing if the client has gone meanwhile.
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
