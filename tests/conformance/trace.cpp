// The same session, event by event, on the loop under test and on the native poll loop, which serves as oracle.

#include <sys/socket.h>

#include <map>

#include "conformance/fixtures.hpp"

namespace onloop::conformance {
namespace {

/// What happened, in order: "a: data hello", "timer".
using Trace = std::vector<std::string>;

/// Connections that do what they are told, timers and tasks, in one context. The stimuli come one by one, each when the
/// last has had its effect, so that the order of events is the library's and not the kernel's. UNIX sockets, whose
/// bytes, ends and resets are there when the call that causes them returns.
class ToldWhatToDo : public Protocol {
 public:
  /// `turn` is one iteration of the loop, which does not wait.
  ToldWhatToDo(const Loop& loop, std::function<void(Context&)> turn)
      : turn_(std::move(turn)), context_(std::make_unique<Context>(loop)) {}

  Trace play() {
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
    happen("b is read", [this] {
      for (int i = 0; i < 100 && trace_.back() != "b: drain"; ++i) {
        drain(lines_.at("b").far.get());
        settle();
      }
    });
    happen("b ends", [this] { ::shutdown(lines_.at("b").far.get(), SHUT_WR); });
    happen("b has gone", [this] { lines_.at("b").far.close(); });
    tell("c", "echo");
    tell("c", "pause");
    happen("c is reset", [this] { lines_.at("c").far.close(); });  // with the echo unread
    happen("c resumes", [this] { lines_.at("c").connection->resume_reading(); });
    tell("a", "abort d");
    tell("e", "shut down");
    tell("e", "after it");
    happen("e ends", [this] { ::shutdown(lines_.at("e").far.get(), SHUT_WR); });
    happen("a connection refused", [this] {
      context_->connect("unix:@onloop-test-where-nobody-listens", *this).emplace_state<std::string>("r");
    });
    tell("f", "destroy the context");
    return trace_;
  }

 private:
  struct Line {
    Descriptor far;
    Connection* connection;
  };

  void open(const std::string& name) {
    Pair pair = socket_pair();
    Connection& connection = context_->adopt(pair.near.release(), *this);
    connection.emplace_state<std::string>(name);
    lines_.emplace(name, Line{std::move(pair.far), &connection});
    settle();
  }
  /// Until nothing more can happen, also on a loop that serves one event in each iteration, and those late.
  void settle() {
    for (int i = 0; i < 40 && context_; ++i) turn_(*context_);
  }
  void happen(const std::string& what, const std::function<void()>& stimulus) {
    trace_.push_back("* " + what);
    stimulus();
    settle();
  }
  void tell(const std::string& name, const std::string& what) {
    happen(name + " is told: " + what, [&] { EXPECT_TRUE(put(lines_.at(name).far.get(), what)); });
  }

  void note(Connection& connection, const std::string& what) {
    trace_.push_back(connection.state<std::string>() + ": " + what);
  }
  void on_open(Connection& connection) override { note(connection, "open"); }
  void on_data(Connection& connection, std::span<const std::byte> data) override {
    const std::string told(reinterpret_cast<const char*>(data.data()), data.size());
    note(connection, "data " + told);
    if (told == "echo") {
      note(connection, connection.write(data) == Flow::go ? "go" : "not go");
    } else if (told == "pause") {
      connection.pause_reading();
    } else if (told == "fill") {
      note(connection, connection.write(std::string(std::size_t{8} << 20, 'x')) == Flow::wait ? "wait" : "not wait");
    } else if (told == "tasks") {
      context_->post([this] {
        trace_.emplace_back("task 1");
        context_->post([this] { trace_.emplace_back("task of a task"); });
      });
      context_->post([this] { trace_.emplace_back("task 2"); });
    } else if (told == "timers") {
      timers_.push_back(context_->timer(0ns, [this] {
        trace_.emplace_back("timer 1");
        timers_.push_back(context_->timer(0ns, [this] { trace_.emplace_back("timer of a timer"); }));
      }));
      timers_.push_back(context_->timer(0ns, [this] { trace_.emplace_back("timer 2"); }));
      context_->post([this] { trace_.emplace_back("task before the timers"); });
    } else if (told == "cancel") {
      const Timer never = context_->timer(0ns, [this] { trace_.emplace_back("cancelled timer"); });
    } else if (told == "abort d") {
      lines_.at("d").connection->abort(std::make_error_code(std::errc::operation_canceled));
      trace_.emplace_back("aborted");
    } else if (told == "shut down") {
      connection.shutdown_write();
      note(connection, connection.write("late") == Flow::closed ? "closed for writing" : "open for writing");
    } else if (told == "destroy the context") {
      context_.reset();
      trace_.emplace_back("destroyed");
    }
  }
  void on_drain(Connection& connection) override { note(connection, "drain"); }
  void on_end(Connection& connection) override {
    note(connection, "end");
    connection.write("bye");
    connection.close();
    trace_.emplace_back("closing");
  }
  void on_close(Connection& connection, std::error_code error) override {
    note(connection, error ? "close: " + error.message() : "close");
  }

  std::function<void(Context&)> turn_;
  std::unique_ptr<Context> context_;
  std::map<std::string, Line> lines_;
  std::vector<Timer> timers_;
  Trace trace_;
};

}  // namespace

TEST_P(OnContext, C86_the_same_events_in_the_same_order_as_on_the_native_poll_loop) {
  ToldWhatToDo oracle{native_poll(), [](Context& context) { context.dispatch(); }};
  ToldWhatToDo under_test{loop(), [this](Context& context) { turns(context, 1); }};
  const Trace expected = oracle.play();
  EXPECT_EQ(expected.back(), "destroyed");
  EXPECT_EQ(under_test.play(), expected);
}

}  // namespace onloop::conformance
