// Signals that others watch, too: hosts by their own means, handlers of the application, and a second copy of onloop.
// They begin and end in every order. Everybody who watches is told, and the signal does not kill the process as long as
// anybody watches it.
#include <dlfcn.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#ifdef ONLOOP_TEST_GLIB
#include <glib-unix.h>
#endif
#ifdef ONLOOP_TEST_LIBEVENT
#include <event2/event.h>
#endif
#ifdef ONLOOP_TEST_LIBUV
#include <uv.h>
#endif

#include "drive.hpp"

namespace onloop::test {
namespace {

/// Somebody else who watches SIGUSR1.
class Other {
 public:
  virtual ~Other() = default;
  virtual void begin() = 0;
  virtual void end() = 0;
  /// Lets its loop do what is due. True if the signal was told since the last call.
  virtual bool told() = 0;
};

#ifdef ONLOOP_TEST_GLIB
class ByGlib : public Other {
 public:
  void begin() override {
    source_ = g_unix_signal_source_new(SIGUSR1);
    const GSourceFunc call = [](void* told) -> gboolean {
      *static_cast<bool*>(told) = true;
      return G_SOURCE_CONTINUE;
    };
    g_source_set_callback(source_, call, &told_, nullptr);
    g_source_attach(source_, main_);
  }
  void end() override {
    g_source_destroy(source_);
    g_source_unref(source_);
  }
  // A thread of GLib passes the signal on.
  bool told() override {
    for (int i = 0; i < 200 && !told_; ++i) {
      g_main_context_iteration(main_, FALSE);
      ::usleep(1000);
    }
    return std::exchange(told_, false);
  }

 private:
  GMainContext* main_ = g_main_context_new();
  GSource* source_ = nullptr;
  bool told_ = false;
};
#endif

#ifdef ONLOOP_TEST_LIBEVENT
class ByLibevent : public Other {
 public:
  void begin() override {
    const auto call = [](evutil_socket_t, short, void* told) { *static_cast<bool*>(told) = true; };
    event_ = evsignal_new(base_, SIGUSR1, call, &told_);
    event_add(event_, nullptr);
  }
  void end() override { event_free(event_); }
  bool told() override {
    event_base_loop(base_, EVLOOP_NONBLOCK);
    return std::exchange(told_, false);
  }

 private:
  event_base* base_ = event_base_new();
  event* event_ = nullptr;
  bool told_ = false;
};
#endif

#ifdef ONLOOP_TEST_LIBUV
class ByLibuv : public Other {
 public:
  ByLibuv() {
    uv_loop_init(&loop_);
    uv_signal_init(&loop_, &signal_);
    signal_.data = &told_;
  }
  void begin() override {
    uv_signal_start(
        &signal_, [](uv_signal_t* signal, int) { *static_cast<bool*>(signal->data) = true; }, SIGUSR1);
  }
  void end() override { uv_signal_stop(&signal_); }
  bool told() override {
    uv_run(&loop_, UV_RUN_NOWAIT);
    return std::exchange(told_, false);
  }

 private:
  uv_loop_t loop_{};
  uv_signal_t signal_{};
  bool told_ = false;
};
#endif

/// A handler that calls its predecessor, if that is a function. At its end it restores the predecessor.
class Chaining : public Other {
 public:
  void begin() override {
    struct sigaction action {};
    action.sa_flags = SA_SIGINFO;
    action.sa_sigaction = [](int number, siginfo_t* info, void* context) {
      told_ = true;
      if (former_.sa_flags & SA_SIGINFO) {
        former_.sa_sigaction(number, info, context);
      } else if (former_.sa_handler != SIG_DFL && former_.sa_handler != SIG_IGN) {
        former_.sa_handler(number);
      }
    };
    sigaction(SIGUSR1, nullptr, &former_);
    sigaction(SIGUSR1, &action, nullptr);
  }
  void end() override { sigaction(SIGUSR1, &former_, nullptr); }
  bool told() override { return std::exchange(told_, 0) != 0; }

 private:
  static inline volatile sig_atomic_t told_ = 0;
  static inline struct sigaction former_ {};
};

class Copy : public Other {
 public:
  Copy() : library_(::dlopen(ONLOOP_TEST_COPY, RTLD_NOW | RTLD_LOCAL)) {
    if (!library_) throw std::runtime_error(::dlerror());
  }
  void begin() override { call<void (*)(int)>("copy_begin")(SIGUSR1); }
  void end() override { call<void (*)()>("copy_end")(); }
  bool told() override {
    call<void (*)()>("copy_look")();
    return call<bool (*)()>("copy_told")();
  }

 private:
  template <class F>
  F call(const char* name) {
    return reinterpret_cast<F>(::dlsym(library_, name));
  }
  void* library_;
};

struct Kind {
  const char* name;
  std::unique_ptr<Other> (*make)();
};
template <class T>
std::unique_ptr<Other> make() {
  return std::make_unique<T>();
}
constexpr Kind kKinds[] = {
#ifdef ONLOOP_TEST_GLIB
    {"GLib", make<ByGlib>},
#endif
#ifdef ONLOOP_TEST_LIBEVENT
    {"libevent", make<ByLibevent>},
#endif
#ifdef ONLOOP_TEST_LIBUV
    {"libuv", make<ByLibuv>},
#endif
    {"a second copy", make<Copy>},
};

constexpr std::array<std::string_view, 6> kOrders{"OoXx", "XxOo", "OXox", "OXxo", "XOox", "XOxo"};

/// A context that watches the signal, and another watcher.
class Both {
 public:
  Both(const Loop& loop, std::unique_ptr<Other> other) : context_(loop), other_(std::move(other)) {}

  void step(char step) {
    switch (step) {
      case 'O':
        signal_ = context_.on_signal(SIGUSR1, [this] { ++came_; });
        break;
      case 'o':
        signal_.cancel();
        break;
      case 'X':
        other_->begin();
        other_watches_ = true;
        break;
      default:
        other_->end();
        other_watches_ = false;
    }
    go_on();
  }

  /// Makes a turn in which a timer is due. In such a turn, the context checks its handlers.
  void go_on() {
    bool fired = false;
    const Timer timer = context_.timer(0ns, [&] { fired = true; });
    EXPECT_TRUE(run_until(context_, [&] { return fired; }));
  }

  void expect_all_to_be_told() {
    if (!signal_.active() && !other_watches_) return;
    came_ = 0;
    raise(SIGUSR1);
    EXPECT_EQ(other_watches_ && other_->told(), other_watches_);
    if (signal_.active()) {
      EXPECT_TRUE(run_until(context_, [&] { return came_ > 0; }));
    }
    go_on();
    EXPECT_EQ(came_, signal_.active() ? 1 : 0);
  }

 private:
  Context context_;
  std::unique_ptr<Other> other_;
  Signal signal_;
  bool other_watches_ = false;
  int came_ = 0;
};

class SignalChains : public LoopTest {};
ONLOOP_ON_ALL_LOOPS(SignalChains);

/// True if the signal kills a process in this state. The process is a forked copy, without the other threads.
bool is_deadly() {
  const pid_t child = ::fork();
  if (child == 0) {
    raise(SIGUSR1);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1;
}

TEST_P(SignalChains, EachIsToldInEveryOrderOfBeginningAndEnding) {
  for (const Kind& kind : kKinds) {
    for (const std::string_view order : kOrders) {
      EXPECT_TRUE(in_child([&] {
        Both both(GetParam().make(), kind.make());
        for (const char step : order) {
          SCOPED_TRACE(step);
          both.step(step);
          both.expect_all_to_be_told();
          both.expect_all_to_be_told();
        }
        both.go_on();
        EXPECT_TRUE(is_deadly()) << "nobody watches any more";
      })) << kind.name
          << " in the order " << order;
    }
  }
}

TEST_P(SignalChains, EachIsToldThoughTheyComeAndGoAgainAndAgain) {
  for (const Kind& kind : kKinds) {
    EXPECT_TRUE(in_child([&] {
      Both both(GetParam().make(), kind.make());
      for (const char step : std::string_view("OXxXoOxXxoXOxXoOoOox")) {
        SCOPED_TRACE(step);
        both.step(step);
        both.expect_all_to_be_told();
      }
      both.go_on();
      EXPECT_TRUE(is_deadly()) << "nobody watches any more";
    })) << kind.name;
  }
}

// Our handler once did the default action, which nobody had asked for. The handler above ours calls its predecessor.
// Without our handler, it would have found no predecessor.
TEST_P(SignalChains, AHandlerAboveThatCallsItsPredecessorSurvivesTheEndOfTheWatch) {
  for (const std::string_view order : kOrders) {
    EXPECT_TRUE(in_child([&] {
      Both both(GetParam().make(), std::make_unique<Chaining>());
      for (const char step : order) {
        if (order == "XOxo" && step == 'x') break;  // the handler would restore its predecessor and so remove ours
        both.step(step);
        both.expect_all_to_be_told();
      }
    })) << order;
  }
}

// Many handlers come and go. The chain does not grow without end, and nobody is told twice.
TEST_P(SignalChains, AChainOfManyHandlersHasAnEnd) {
  EXPECT_TRUE(in_child([&] {
    static int calls;
    static std::vector<struct sigaction> formers;
    calls = 0;
    formers.clear();
    Context context{GetParam().make()};
    int came = 0;
    const Signal signal = context.on_signal(SIGUSR1, [&] { ++came; });
    constexpr int kHandlers = 12;
    for (int i = 0; i < kHandlers; ++i) {
      struct sigaction action {};
      action.sa_handler = i % 2 ? [](int) { calls = calls + 1; } : [](int) { calls = calls + 100; };
      sigaction(SIGUSR1, &action, nullptr);
      turns(context, 2);
      bool fired = false;
      const Timer timer = context.timer(0ns, [&] { fired = true; });
      ASSERT_TRUE(run_until(context, [&] { return fired; }));
    }
    raise(SIGUSR1);
    EXPECT_GT(calls, 0);
    turns(context);
    EXPECT_LE(came, 1);
  }));
}

}  // namespace
}  // namespace onloop::test
