#pragma once
#include <poll.h>

#include <deque>
#include <functional>
#include <memory>
#include <utility>

#include <onloop/conformance.hpp>
#include "support/scripted_loop.hpp"

namespace onloop::conformance {

/// An application with a plain loop of its own. Beside the guest, it has callbacks that are due and one descriptor.
class PlainApplication : public Provider {
 public:
  void call_from_application(std::function<void()> callback) override { due_.push_back(std::move(callback)); }
  void watch_from_application(int fd, std::function<void()> callback) override {
    watched_ = fd;
    on_readable_ = std::move(callback);
  }

 protected:
  [[nodiscard]] bool busy() const { return !due_.empty() || watched_ >= 0; }
  /// The part of the application in one iteration: it calls each callback that was due before the iteration, and serves
  /// its descriptor once.
  void serve_application() {
    for (std::size_t left = due_.size(); left > 0; --left) {
      const auto callback = std::move(due_.front());
      due_.pop_front();
      callback();
    }
    pollfd own{watched_, POLLIN, 0};
    if (watched_ >= 0 && ::poll(&own, 1, 0) == 1) on_readable_();
  }

 private:
  std::deque<std::function<void()>> due_;
  int watched_ = -1;  // belongs to the test; -1 if there is none
  std::function<void()> on_readable_;
};

/// An application that hosts a context by Context::pollable_fd() and Context::dispatch().
class ByDescriptor : public PlainApplication {
 public:
  explicit ByDescriptor(Loop (*make)() noexcept) : make_(make) {}
  Loop loop() override { return make_(); }
  bool application_drives() override { return true; }
  void iterate(Context* context, std::chrono::nanoseconds max_wait) override;
  bool whole_batches() override { return true; }
  std::string exception(std::string_view number) override {
    if (number == "74") return "the application watches the one descriptor itself and is the one to take it out";
    if (number == "65") return "dispatch() is not run(): an application that calls one in the other may";
    return Provider::exception(number);
  }

 private:
  Loop (*make_)() noexcept;
};

/// The cases that cannot run on a scripted loop, because this loop aborts the process when the guest makes a mistake.
inline std::string exception_of_scripted(std::string_view number) {
  return number == "36a" ? "the loop ends the process where a watched descriptor is closed" : "";
}

/// An application whose own loop is a scripted loop.
class ScriptedApplication : public PlainApplication {
 public:
  ScriptedApplication(Hosting hosting, void (*set)(test::Script&)) : hosting_(hosting) { set(script_); }
  Loop loop() override { return hosted(script_.foreign(), hosting_); }
  void iterate(Context*, std::chrono::nanoseconds max_wait) override {
    script_.run_once(busy() ? 0ns : max_wait);
    serve_application();
  }
  int host_objects() override { return script_.attached + script_.live_watches; }
  bool kept_alive() override { return script_.kept_alive(); }
  std::string exception(std::string_view number) override {
    const std::string of_loop = exception_of_scripted(number);
    return of_loop.empty() ? PlainApplication::exception(number) : of_loop;
  }

 private:
  Hosting hosting_;
  test::Script script_;
};

/// A scripted loop as an owned loop.
class Scripted : public Provider {
 public:
  Scripted(Hosting hosting, void (*set)(test::Script&)) : hosting_(hosting) { set(script_); }
  Loop loop() override { return hosted(script_.loop(), hosting_); }
  std::string exception(std::string_view number) override {
    const std::string of_loop = exception_of_scripted(number);
    return of_loop.empty() ? Provider::exception(number) : of_loop;
  }

 private:
  Hosting hosting_;
  test::Script script_;
};

}  // namespace onloop::conformance
