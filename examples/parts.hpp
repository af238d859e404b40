#pragma once
// The common parts of these example applications: a measurement of how punctual a timer is, and commands on standard
// input. They do not depend on the loop. Nothing here is needed to use onloop.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace example {

/// Measures the application's own timer in its callback: how often it ran, and how late.
class Ticks {
 public:
  static constexpr std::chrono::milliseconds kPeriod{10};

  /// Must be called at the beginning of the timer's callback.
  void tick() {
    const auto now = std::chrono::steady_clock::now();
    worst_ = std::max(worst_, std::chrono::duration_cast<std::chrono::microseconds>(now - last_ - kPeriod));
    last_ = now;
    ++count_;
  }
  [[nodiscard]] unsigned long count() const { return count_; }
  /// @return The greatest lateness since the last call: how much longer than one period it took from one tick to the
  /// next.
  [[nodiscard]] std::chrono::microseconds take_worst_lateness() {
    return std::exchange(worst_, std::chrono::microseconds{0});
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  std::chrono::microseconds worst_{0};
  unsigned long count_ = 0;
};

/// Writes a line to standard output and flushes it.
inline void say(const std::string& line) {
  std::puts(line.c_str());
  std::fflush(stdout);
}

/// Prints the answer of an application to the command `status`.
inline void say_status(Ticks& ticks, unsigned long idle_callbacks, bool service, std::size_t connections) {
  say("ticks=" + std::to_string(ticks.count()) + " worst_lateness_us=" +
      std::to_string(ticks.take_worst_lateness().count()) + " service=" + (service ? "on" : "off") +
      " connections=" + std::to_string(connections) + " idle_callbacks=" + std::to_string(idle_callbacks));
}

/// Reads commands, one in each line. The application calls read() whenever its loop reports the descriptor as readable.
class Commands {
 public:
  using Command = std::function<void()>;
  Commands(Command start, Command stop, Command status)
      : start_(std::move(start)), stop_(std::move(stop)), status_(std::move(status)) {}

  /// Reads once and executes the commands that have come. It prints an error and does not throw it, since a callback of
  /// a C library must not throw.
  ///
  /// @return False at the end of the file.
  bool read(int fd) noexcept {
    char buffer[512];
    const ssize_t count = ::read(fd, buffer, sizeof buffer);
    if (count == 0) return false;
    if (count > 0) text_.append(buffer, static_cast<std::size_t>(count));
    for (std::size_t end; (end = text_.find('\n')) != std::string::npos; text_.erase(0, end + 1)) {
      carry_out(std::string_view{text_}.substr(0, end));
    }
    return true;
  }

 private:
  void carry_out(std::string_view command) try {
    if (command == "start") {
      start_();
    } else if (command == "stop") {
      stop_();
    } else if (command == "status") {
      status_();
    } else {
      say("unknown command; there are: start, stop, status");
    }
  } catch (const std::exception& error) {
    say(std::string("error: ") + error.what());
  }

  Command start_, stop_, status_;
  std::string text_;
};

}  // namespace example
