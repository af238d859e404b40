// The libevent shim under every case of the kit, and what is special to libevent.

#include <event2/event.h>
#include <event2/thread.h>
#include <fcntl.h>
#include <sys/select.h>
#include <unistd.h>
#include <onloop/libevent.hpp>

#include <array>
#include <cerrno>
#include <cstring>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "conformance/application.hpp"
#include "conformance/fixtures.hpp"

namespace onloop::conformance {
namespace {

Loop own_libevent() noexcept {
  return libevent();
}

struct Free {
  void operator()(event* made) const { event_free(made); }
  void operator()(event_base* made) const { event_base_free(made); }
  void operator()(event_config* made) const { event_config_free(made); }
};
using Base = std::unique_ptr<event_base, Free>;

/// What evthread_use_pthreads() does, which is in a library of its own. Before any base is made; those that are not to
/// have locks say so by EVENT_BASE_FLAG_NOLOCK. libevent keeps a few locks for the process.
class Locks {
 public:
  Locks() {
    evthread_lock_callbacks calls{};
    calls.lock_api_version = EVTHREAD_LOCK_API_VERSION;
    calls.supported_locktypes = EVTHREAD_LOCKTYPE_RECURSIVE;
    calls.alloc = [](unsigned) -> void* { return new std::recursive_mutex; };
    calls.free = [](void* lock, unsigned) { delete static_cast<std::recursive_mutex*>(lock); };
    calls.lock = [](unsigned, void* lock) {
      static_cast<std::recursive_mutex*>(lock)->lock();
      return 0;
    };
    calls.unlock = [](unsigned, void* lock) {
      static_cast<std::recursive_mutex*>(lock)->unlock();
      return 0;
    };
    evthread_set_lock_callbacks(&calls);
    evthread_set_id_callback([] { return static_cast<unsigned long>(::pthread_self()); });
  }
  Locks(const Locks&) = delete;
  Locks& operator=(const Locks&) = delete;
  ~Locks() { libevent_global_shutdown(); }
};
const Locks kLocks;

/// The kinds of bases that an application may have.
struct Kind {
  std::vector<const char*> without;  // back ends, so that another is taken
  int flags = EVENT_BASE_FLAG_NOLOCK;
  int priorities = 1;
};
const Kind kEpoll{{}};
const Kind kPoll{{"epoll"}};
const Kind kSelect{{"epoll", "poll"}};
const Kind kPrecise{{}, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_PRECISE_TIMER};
const Kind kPriorities{{}, EVENT_BASE_FLAG_NOLOCK, 3};
const Kind kLocked{{}, 0, 3};
const Kind kChangelist{{}, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST};

Base make_base(const Kind& kind) {
  const std::unique_ptr<event_config, Free> config{event_config_new()};
  for (const char* method : kind.without) event_config_avoid_method(config.get(), method);
  event_config_set_flag(config.get(), kind.flags);
  Base base{event_base_new_with_config(config.get())};
  event_base_priority_init(base.get(), kind.priorities);
  return base;
}

/// An event of the application's.
class Event {
 public:
  Event(const Base& base, int fd, short events, std::function<void()> callback)
      : callback_(std::move(callback)), event_(event_new(base.get(), fd, events, call, this)) {}
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  Event& add() {
    event_add(event_.get(), nullptr);
    return *this;
  }
  Event& add_in(std::chrono::nanoseconds time) {
    const auto wait = std::chrono::ceil<std::chrono::microseconds>(time).count();
    const timeval in{wait / 1'000'000, static_cast<suseconds_t>(wait % 1'000'000)};
    event_add(event_.get(), &in);
    return *this;
  }
  Event& priority(int priority) {
    EXPECT_EQ(event_priority_set(event_.get(), priority), 0);
    return *this;
  }

 private:
  static void call(evutil_socket_t, short, void* own) { static_cast<Event*>(own)->callback_(); }
  std::function<void()> callback_;
  std::unique_ptr<event, Free> event_;
};

/// One iteration. libevent returns early where its clock is coarse.
void iterate_base(const Base& base, std::chrono::nanoseconds max_wait) {
  const auto end = std::chrono::steady_clock::now() + max_wait;
  bool early = false;
  Event limit(base, -1, 0, [&] { early = std::chrono::steady_clock::now() < end; });
  do {
    early = false;
    if (max_wait > 0ns) limit.add_in(end - std::chrono::steady_clock::now());
    event_base_loop(base.get(), EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY | (max_wait == 0ns ? EVLOOP_NONBLOCK : 0));
  } while (early);
}

/// An application on a base of its own.
class LibeventApplication : public Provider {
 public:
  LibeventApplication(Hosting hosting, const Kind* kind) : hosting_(hosting), kind_(*kind), base_(make_base(kind_)) {}

  Loop loop() override { return hosted(libevent(base_.get()), hosting_); }

  void iterate(Context*, std::chrono::nanoseconds max_wait) override {
    iterate_base(base_, max_wait);
    due_.remove_if([](const Once& once) { return once.done; });
  }

  void call_from_application(std::function<void()> callback) override {
    Once& once = due_.emplace_back();
    once.event.emplace(base_, -1, 0, [&once, callback = std::move(callback)] {
      once.done = true;
      callback();
    });
    once.event->add_in(0ns);
  }

  void watch_from_application(int fd, std::function<void()> callback) override {
    watch_.reset();
    if (fd >= 0) watch_.emplace(base_, fd, EV_READ | EV_PERSIST, std::move(callback)).add();
  }

  int idle_levels() override { return kind_.priorities - 1 - kind_.priorities / 2; }
  void call_when_idle(int level, std::function<void()> callback) override {
    idle_.reset();
    if (!callback) return;
    idle_.emplace(base_, -1, 0, [this, callback = std::move(callback)] {
      idle_->add_in(0ns);
      callback();
    });
    idle_->priority(kind_.priorities / 2 + 1 + level).add_in(0ns);
  }

  int host_objects() override { return event_base_get_num_events(base_.get(), EVENT_BASE_COUNT_ADDED); }

  std::string exception(std::string_view number) override {
    const bool thousands = number == "71" || number == "72" || number == "73";
    if (thousands && std::strcmp(event_base_get_method(base_.get()), "select") == 0) {
      return "select(2) takes no descriptor from FD_SETSIZE on, and the case opens thousands";
    }
    return Provider::exception(number);
  }

 private:
  struct Once {
    bool done = false;
    std::optional<Event> event;
  };

  Hosting hosting_;
  const Kind& kind_;
  Base base_;
  std::list<Once> due_;
  std::optional<Event> watch_;
  std::optional<Event> idle_;
};

const std::vector<ProviderCase> kOps{
    make_case<Owned>("libevent_owned", Hosting::direct, &own_libevent),
    make_case<LibeventApplication>("libevent_epoll", Hosting::direct, &kEpoll),
    make_case<LibeventApplication>("libevent_poll", Hosting::direct, &kPoll),
    make_case<LibeventApplication>("libevent_select", Hosting::direct, &kSelect),
    make_case<LibeventApplication>("libevent_precise", Hosting::direct, &kPrecise),
    make_case<LibeventApplication>("libevent_priorities", Hosting::direct, &kPriorities),
    make_case<LibeventApplication>("libevent_locked", Hosting::direct, &kLocked),
};

const std::vector<ProviderCase> kContexts{
    make_case<Owned>("libevent_owned_direct", Hosting::direct, &own_libevent),
    make_case<Owned>("libevent_owned_aggregate", Hosting::aggregate, &own_libevent),
    make_case<LibeventApplication>("libevent_epoll_direct", Hosting::direct, &kEpoll),
    make_case<LibeventApplication>("libevent_epoll_aggregate", Hosting::aggregate, &kEpoll),
    make_case<LibeventApplication>("libevent_poll_direct", Hosting::direct, &kPoll),
    make_case<LibeventApplication>("libevent_poll_aggregate", Hosting::aggregate, &kPoll),
    make_case<LibeventApplication>("libevent_select_direct", Hosting::direct, &kSelect),
    make_case<LibeventApplication>("libevent_select_aggregate", Hosting::aggregate, &kSelect),
    make_case<LibeventApplication>("libevent_precise_direct", Hosting::direct, &kPrecise),
    make_case<LibeventApplication>("libevent_precise_aggregate", Hosting::aggregate, &kPrecise),
    make_case<LibeventApplication>("libevent_priorities_direct", Hosting::direct, &kPriorities),
    make_case<LibeventApplication>("libevent_priorities_aggregate", Hosting::aggregate, &kPriorities),
    make_case<LibeventApplication>("libevent_locked_direct", Hosting::direct, &kLocked),
    make_case<LibeventApplication>("libevent_locked_aggregate", Hosting::aggregate, &kLocked),
    make_case<LibeventApplication>("libevent_changelist_aggregate", Hosting::aggregate, &kChangelist),
};

}  // namespace

ONLOOP_CONFORMANCE_OPS(Libevent, kOps);
ONLOOP_CONFORMANCE_CONTEXT(Libevent, kContexts);

// ---- what is special to libevent ----

TEST(Libevent, RefusesANullBaseInWords) {
  EXPECT_TRUE(is(error_of([] { (void)libevent(nullptr); }), std::errc::invalid_argument));
}

TEST(Libevent, IsFoundByName) {
  EXPECT_EQ(loop_by_name("libevent").name(), "libevent");
  EXPECT_EQ(loop_by_name("libevent").hosting(), Hosting::aggregate);
}

}  // namespace onloop::conformance
