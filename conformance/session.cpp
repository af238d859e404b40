#include "conformance/session.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <utility>

namespace onloop::conformance {

Session::Session(const Loop& loop, std::function<void(Context&)> turn, int quiet)
    : turn_(std::move(turn)), quiet_(quiet), context_(std::make_unique<Context>(loop)) {}

Trace Session::play() {
  for (const char* name : {"a", "b", "c", "d", "e", "f"}) open(name);
  tell("a", "hello");
  tell("a", "echo");
  tell("a", "pause");
  tell("a", "unseen until it resumes");
  happen("a resumes", [this] { lines_.at("a").connection->resume_reading(); });
  tell("a", "tasks");
  tell("a", "timers");
  tell("a", "cancel");
  tell("b", "fill");
  std::size_t filled = 0;
  happen("b is read", [&] {
    for (int i = 0; i < 100 && trace_.back() != "b: drain"; ++i) {
      filled += drain(lines_.at("b").far.get());
      settle();
    }
  });
  filled += drain(lines_.at("b").far.get());
  note("b's peer: " + std::to_string(filled) + " bytes");
  happen("b ends", [this] { ::shutdown(lines_.at("b").far.get(), SHUT_WR); });
  happen("b has gone", [this] { lines_.at("b").far.reset(); });
  tell("c", "echo");
  tell("c", "pause");
  happen("c is reset", [this] { lines_.at("c").far.reset(); });  // while the echo is unread
  happen("c resumes", [this] { lines_.at("c").connection->resume_reading(); });
  tell("a", "abort d");
  tell("e", "shut down");
  tell("e", "after it");
  happen("e ends", [this] { ::shutdown(lines_.at("e").far.get(), SHUT_WR); });
  happen("a connection refused", [this] {
    context_->connect("unix:@onloop-test-where-nobody-listens", *this).emplace_state<std::string>("r");
  });
  tell("f", "destroy the context");
  for (const char* name : {"a", "d", "e", "f"}) note(name + ("'s peer: " + take(lines_.at(name).far.get())));
  return trace_;
}

void Session::open(const std::string& name) {
  Pair pair = socket_pair();
  Connection& connection = context_->adopt(pair.near.release(), *this);
  connection.emplace_state<std::string>(name);
  lines_.emplace(name, Line{std::move(pair.far), &connection});
  settle();
}

void Session::settle() {
  for (int i = 0; i < quiet_ && context_; ++i) {
    moment();
    turn_(*context_);
  }
}

void Session::happen(const std::string& what, const std::function<void()>& stimulus) {
  note("* " + what);
  stimulus();
  settle();
}

void Session::tell(const std::string& name, const std::string& what) {
  happen(name + " is told: " + what, [&] { EXPECT_TRUE(put(lines_.at(name).far.get(), what)); });
}

void Session::moment() {
  if (at_moment && context_) at_moment(*context_);
}

void Session::note(const std::string& what) {
  trace_.push_back(what);
}

void Session::note(Connection& connection, const std::string& what) {
  note(connection.state<std::string>() + ": " + what);
}

std::function<void()> Session::noting(const std::string& what, std::function<void()> then) {
  return [this, what, then = std::move(then)] {
    moment();
    note(what);
    if (then) then();
    moment();
  };
}

void Session::obey(Connection& connection, std::span<const std::byte> data) {
  const std::string told(reinterpret_cast<const char*>(data.data()), data.size());
  note(connection, "data " + told);
  if (told == "echo") {
    note(connection, connection.write(data) == Flow::go ? "go" : "not go");
  } else if (told == "pause") {
    connection.pause_reading();
  } else if (told == "fill") {
    note(connection, connection.write(std::string(std::size_t{2} << 20, 'x')) == Flow::wait ? "wait" : "not wait");
  } else if (told == "tasks") {
    context_->post(noting("task 1", [this] { context_->post(noting("task of a task")); }));
    context_->post(noting("task 2"));
  } else if (told == "timers") {
    timers_.push_back(context_->timer(
        0ns, noting("timer 1", [this] { timers_.push_back(context_->timer(0ns, noting("timer of a timer"))); })));
    timers_.push_back(context_->timer(0ns, noting("timer 2")));
    context_->post(noting("task before the timers"));
  } else if (told == "cancel") {
    const Timer never = context_->timer(0ns, noting("cancelled timer"));
  } else if (told == "abort d") {
    lines_.at("d").connection->abort(std::make_error_code(std::errc::operation_canceled));
    note("aborted");
  } else if (told == "shut down") {
    connection.shutdown_write();
    note(connection, connection.write("late") == Flow::closed ? "closed for writing" : "open for writing");
  } else if (told == "destroy the context") {
    context_.reset();
    note("destroyed");
  }
}

void Session::on_open(Connection& connection) {
  moment();
  note(connection, "open");
  moment();
}

void Session::on_data(Connection& connection, std::span<const std::byte> data) {
  moment();
  obey(connection, data);
  moment();
}

void Session::on_drain(Connection& connection) {
  moment();
  note(connection, "drain");
  moment();
}

void Session::on_end(Connection& connection) {
  moment();
  note(connection, "end");
  connection.write("bye");
  connection.close();
  note("closing");
  moment();
}

void Session::on_close(Connection& connection, std::error_code error) {
  moment();
  note(connection, error ? "close: " + error.message() : "close");
  moment();
}

}  // namespace onloop::conformance
