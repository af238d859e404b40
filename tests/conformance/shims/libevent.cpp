// Runs every case of the kit on the libevent shim, and tests what is special to libevent.

#include <event2/event.h>
#include <event2/thread.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <unistd.h>
#include <onloop/libevent.hpp>
#include <onloop/loop_by_name.hpp>

#include <cerrno>
#include <cstdint>
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

/// Does what evthread_use_pthreads() does. That function is in a separate library of libevent.
///
/// It must run before any base is made. Bases without locks have the flag EVENT_BASE_FLAG_NOLOCK. libevent keeps a few
/// locks until the process ends.
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
  std::vector<const char*> without;  // back ends that must not be used
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

/// An event of the application.
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

/// Runs one iteration. If libevent uses a coarse clock, it may return too early. Then this iterates again.
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

/// An application with a base of its own.
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
    if (number == "95a" && (kind_.flags & EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST)) {
      return "a base with a changelist takes no direct hosting";
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

namespace {

/// Collects the warnings of libevent while it lives, so that they do not go to standard error.
class Warnings {
 public:
  Warnings() {
    text.clear();
    event_set_log_callback([](int, const char* message) { text += message; });
  }
  Warnings(const Warnings&) = delete;
  Warnings& operator=(const Warnings&) = delete;
  ~Warnings() { event_set_log_callback(nullptr); }
  static inline std::string text;
};

class Libevent : public test::CleanTest {};

class LibeventHosting : public test::CleanTestWithParam<Hosting> {
 protected:
  void TearDown() override {
    base_.reset();
    CleanTestWithParam::TearDown();
  }
  const Base& make(const Kind& kind) {
    base_ = make_base(kind);
    return base_;
  }
  [[nodiscard]] Loop loop() const { return hosted(libevent(base_.get()), GetParam()); }
  /// Iterates as an application does, until `done` returns true.
  void iterate_until(const std::function<bool()>& done) const {
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (!done() && std::chrono::steady_clock::now() < end) iterate_base(base_, 10ms);
    EXPECT_TRUE(done()) << "it did not happen within 10 s";
  }

 private:
  Base base_;
};
INSTANTIATE_TEST_SUITE_P(Libevent, LibeventHosting, ::testing::Values(Hosting::direct, Hosting::aggregate),
                         [](const auto& hosting) { return hosting.param == Hosting::direct ? "direct" : "aggregate"; });

/// A guest that calls the slots of the shim itself.
struct Guest {
  static inline int calls = 0;
  std::function<void(std::uint32_t)> on_ready = [](std::uint32_t) { ++calls; };
  onloop_loop* loop = nullptr;

  explicit Guest(event_base* base) {
    calls = 0;
    const onloop_guest up{
        .version = ONLOOP_OPS_VERSION,
        .struct_size = sizeof(onloop_guest),
        .context = this,
        .on_ready = [](void* self, std::uint32_t readiness) { static_cast<Guest*>(self)->on_ready(readiness); },
        .on_deadline = [](void*) {}};
    EXPECT_EQ(onloop_shim_libevent.attach(&up, base, &loop), 0);
  }
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;
  ~Guest() { onloop_shim_libevent.detach(loop); }
  onloop_watch* add(int fd, std::uint32_t interest) {
    onloop_watch* watch = nullptr;
    EXPECT_EQ(onloop_shim_libevent.watch_add(loop, fd, interest, this, &watch), 0);
    return watch;
  }
};

/// The priorities of all events in the base.
std::vector<int> priorities_of(const Base& base) {
  std::vector<int> found;
  event_base_foreach_event(
      base.get(),
      [](const event_base*, const event* each, void* into) {
        static_cast<std::vector<int>*>(into)->push_back(event_get_priority(each));
        return 0;
      },
      &found);
  return found;
}

}  // namespace

TEST_F(Libevent, RefusesANullBaseInWords) {
  EXPECT_TRUE(is(error_of([] { (void)libevent(nullptr); }), std::errc::invalid_argument));
}

TEST_F(Libevent, IsFoundByName) {
  EXPECT_EQ(loop_by_name("libevent").name(), "libevent");
  EXPECT_EQ(loop_by_name("libevent").hosting(), Hosting::aggregate);
}

// libevent would print a warning and return. The shim checks first, so that there is no warning.
TEST_F(Libevent, C65_a_turn_inside_a_turn_is_refused) {
  const Warnings warnings;
  const Pair pair = socket_pair();
  Guest guest{nullptr};
  int refused = 0;
  guest.on_ready = [&](std::uint32_t) { refused = onloop_shim_libevent.turn(guest.loop, 0); };
  onloop_watch* watch = guest.add(pair.near.get(), ONLOOP_WRITE);
  EXPECT_EQ(onloop_shim_libevent.turn(guest.loop, -1), 0);
  EXPECT_EQ(refused, -EBUSY);
  EXPECT_EQ(Warnings::text, "");
  onloop_shim_libevent.watch_remove(guest.loop, watch);
}

// libevent itself would call a due timer after the readable descriptors.
TEST_F(Libevent, ATurnCallsOnDeadlineFirst) {
  struct Order {
    std::string text;
    onloop_loop* loop = nullptr;
    onloop_watch* watch = nullptr;
  };
  for (const bool removes : {false, true}) {
    const Pair pair = socket_pair();
    Order order;
    onloop_guest up{.version = ONLOOP_OPS_VERSION,
                    .struct_size = sizeof(onloop_guest),
                    .context = &order,
                    .on_ready = [](void* own, std::uint32_t) { static_cast<Order*>(own)->text += "ready "; },
                    .on_deadline = [](void* own) { static_cast<Order*>(own)->text += "deadline "; }};
    if (removes) {
      up.on_deadline = [](void* own) {
        auto& [text, loop, watch] = *static_cast<Order*>(own);
        text += "removal ";
        onloop_shim_libevent.watch_remove(loop, watch);
        watch = nullptr;
      };
    }
    ASSERT_EQ(onloop_shim_libevent.attach(&up, nullptr, &order.loop), 0);
    ASSERT_EQ(onloop_shim_libevent.watch_add(order.loop, pair.near.get(), ONLOOP_WRITE, &order, &order.watch), 0);
    ASSERT_EQ(onloop_shim_libevent.deadline_set(order.loop, 0), 0);
    EXPECT_EQ(onloop_shim_libevent.turn(order.loop, -1), 0);
    EXPECT_EQ(order.text, removes ? "removal " : "deadline ready ");
    if (order.watch) onloop_shim_libevent.watch_remove(order.loop, order.watch);
    onloop_shim_libevent.detach(order.loop);
  }
}

TEST_P(LibeventHosting, C65_libevent_refuses_a_loop_inside_a_callback_and_the_guest_goes_on) {
  const Warnings warnings;
  const Base& base = make(kEpoll);
  const Pair pair = socket_pair();
  Context context{loop()};
  int calls = 0;
  const Watch watch = context.watch(pair.near.get(), Interest::read, [&](Interest) {
    take(pair.near.get());
    if (++calls > 1) return;
    EXPECT_EQ(event_base_loop(base.get(), EVLOOP_ONCE), -1);
  });
  put(pair.far.get());
  iterate_until([&] { return calls == 1; });
  EXPECT_NE(Warnings::text.find("reentrant"), std::string::npos) << Warnings::text;
  put(pair.far.get());
  iterate_until([&] { return calls == 2; });
}

TEST_P(LibeventHosting, TheBaseNeverRunsOutOfEventsWhileItHasAContext) {
  const Base& base = make(kEpoll);
  EXPECT_EQ(event_base_loop(base.get(), 0), 1) << "no event";
  Context context{loop()};
  const Timer timer = context.timer(1ms, [&] { event_base_loopbreak(base.get()); });
  EXPECT_EQ(event_base_dispatch(base.get()), 0);
}

TEST_P(LibeventHosting, APriorityThatTheBaseHasNotIsRefused) {
  make(kPriorities);
  for (const int priority : {-1, 3}) {
    EXPECT_TRUE(is(error_of([&] { const Context context{loop().priority(priority)}; }), std::errc::invalid_argument));
  }
  const Context context{loop().priority(2)};
}

TEST_P(LibeventHosting, PriorityDecidesWhoIsServedFirst) {
  const Base& base = make(kPriorities);
  const Pair pair = socket_pair();
  std::string order;
  const auto serve = [&](std::optional<int> priority) {
    order.clear();
    Context context{priority ? loop().priority(*priority) : loop()};
    const Watch watch = context.watch(pair.near.get(), Interest::read, [&](Interest) {
      if (!take(pair.near.get()).empty()) order += "guest ";
    });
    iterate_base(base, 0ns);
    put(pair.far.get());
    Event high(base, pair.far.get(), EV_WRITE, [&] { order += "high "; });
    Event low(base, pair.far.get(), EV_WRITE, [&] { order += "low "; });
    high.priority(0).add();
    low.priority(2).add();
    iterate_until([&] { return order.size() >= 14; });
  };
  serve(std::nullopt);
  EXPECT_EQ(order, "high guest low ");
  serve(2);
  EXPECT_EQ(order.substr(0, 5), "high ");
  serve(0);
  EXPECT_EQ(order.substr(order.size() - 4), "low ");
}

// event_priority_set() fails for an event that is in the queue of the current iteration.
TEST_F(Libevent, PriorityAppliesToAllThatTheGuestHasQueuedOrNot) {
  const Base base = make_base(kPriorities);
  std::vector<Pair> pairs;
  std::vector<onloop_watch*> watches;
  Guest guest{base.get()};
  guest.on_ready = [&](std::uint32_t) {
    if (++Guest::calls > 1) return;
    EXPECT_EQ(onloop_shim_libevent.priority_set(guest.loop, 2), 0);
  };
  for (int i = 0; i < 5; ++i) {
    pairs.push_back(socket_pair());
    watches.push_back(guest.add(pairs.back().near.get(), i < 4 ? ONLOOP_WRITE : ONLOOP_READ));
  }
  onloop_watch* silent = guest.add(pairs.back().far.get(), ONLOOP_NONE);
  EXPECT_EQ(onloop_shim_libevent.deadline_set(guest.loop, monotonic_ns()), 0);
  EXPECT_EQ(priorities_of(base), std::vector<int>(6, 1));
  iterate_base(base, 0ns);
  EXPECT_GE(Guest::calls, 1);
  EXPECT_EQ(onloop_shim_libevent.deadline_set(guest.loop, monotonic_ns() + 1'000'000'000), 0);
  EXPECT_EQ(onloop_shim_libevent.watch_set(guest.loop, silent, ONLOOP_READ), 0);
  EXPECT_EQ(priorities_of(base), std::vector<int>(7, 2));
  iterate_base(base, 0ns);
  EXPECT_GE(Guest::calls, 5);
  watches.push_back(silent);
  for (onloop_watch* watch : watches) onloop_shim_libevent.watch_remove(guest.loop, watch);
}

// It would not be enough if only one watch rested, because other watches of the guest are just as busy.
TEST_P(LibeventHosting, C69_many_busy_watches_do_not_starve_what_has_a_lower_priority) {
  const Base& base = make(kPriorities);
  std::vector<Pair> pairs;
  std::vector<Watch> watches;
  Context context{loop()};
  int busy = 0;
  for (int i = 0; i < 20; ++i) {
    pairs.push_back(socket_pair());
    watches.push_back(context.watch(pairs.back().near.get(), Interest::write, [&](Interest) { ++busy; }));
  }
  Timer timer;
  const std::function<void()> again = [&] {
    ++busy;
    timer = context.timer(0ns, again);
  };
  again();
  int idle = 0;
  std::optional<Event> low;
  low.emplace(base, -1, 0, [&] {
    ++idle;
    low->add_in(0ns);
  });
  low->priority(2).add_in(0ns);
  iterate_until([&] { return idle >= 10; });
  const int before = busy;
  iterate_until([&] { return busy >= before + 100; });
}

// A guest that only waits at the lowest priority would wait for ever for such an application.
TEST_P(LibeventHosting, C70_a_guest_that_rests_is_not_starved_by_an_application_that_does_not) {
  const Base& base = make(kPriorities);
  const Pair pair = socket_pair();
  Context context{loop()};
  int calls = 0;
  const Watch watch = context.watch(pair.near.get(), Interest::write, [&](Interest) { ++calls; });
  int busy = 0;
  std::optional<Event> other;
  other.emplace(base, -1, 0, [&] {
    ++busy;
    other->add_in(0ns);
  });
  other->add_in(0ns);
  for (int rests = 0; rests < 5; ++rests) {  // after each call of the guest, iterate for 6 ms
    const int before = calls;
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (calls == before && std::chrono::steady_clock::now() < end) iterate_base(base, 0ns);
    EXPECT_GT(calls, before);
    for (const auto rest = std::chrono::steady_clock::now() + 6ms; std::chrono::steady_clock::now() < rest;) {
      iterate_base(base, 0ns);
    }
  }
  EXPECT_GT(busy, 0);
}

TEST_F(Libevent, AChangeThatFailsLeavesTheFormerInterest) {
  const Warnings warnings;
  const Base base = make_base(kEpoll);
  Pair pair = socket_pair();
  Guest guest{base.get()};
  onloop_watch* watch = guest.add(pair.near.get(), ONLOOP_READ);
  const int fd = pair.near.get();
  const Descriptor same{::dup(fd)};
  ::close(fd);  // the kernel keeps the registration, but it cannot be changed by this number
  EXPECT_EQ(onloop_shim_libevent.watch_set(guest.loop, watch, ONLOOP_READ | ONLOOP_WRITE), -EBADF);
  ASSERT_EQ(::dup2(same.get(), fd), fd);
  iterate_base(base, 0ns);
  EXPECT_EQ(Guest::calls, 0) << "writable was not to be asked for";
  put(pair.far.get());
  iterate_base(base, 0ns);
  EXPECT_EQ(Guest::calls, 1);
  onloop_shim_libevent.watch_remove(guest.loop, watch);
}

// With a changelist, libevent tells the kernel of a removal only in the next iteration. This is too late for the
// descriptors of a guest.
TEST_F(Libevent, ABaseWithAChangelistRefusesDirectHosting) {
  const Base base = make_base(kChangelist);
  Echo echo;
  Context context{libevent(base.get()).direct()};
  EXPECT_TRUE(is(error_of([&] { context.listen("127.0.0.1:0", echo); }), std::errc::not_supported));
}

TEST_F(Libevent, ABaseWithAChangelistMayLoseOneSetAndGetAnotherUnderItsNumber) {
  const Warnings warnings;
  const Base base = make_base(kChangelist);
  for (int round = 0; round < 5; ++round) {
    const Pair pair = socket_pair();
    int calls = 0;
    Context context{libevent(base.get())};
    const Watch watch = context.watch(pair.near.get(), Interest::read, [&](Interest) {
      take(pair.near.get());
      ++calls;
    });
    put(pair.far.get());
    for (int i = 0; i < 20 && calls == 0; ++i) iterate_base(base, 0ns);
    EXPECT_EQ(calls, 1) << "round " << round;
  }
  iterate_base(base, 0ns);
  EXPECT_EQ(Warnings::text, "");
}

// Without the check in the shim, the process would end, because the C library checks FD_SET.
TEST_F(Libevent, SelectRefusesDescriptorsThatItCanNotHold) {
  const Base base = make_base(kSelect);
  const Pair pair = socket_pair();
  const Descriptor high{::fcntl(pair.near.get(), F_DUPFD_CLOEXEC, FD_SETSIZE)};
  ASSERT_GE(high.get(), FD_SETSIZE) << "needs a limit of open files above " << FD_SETSIZE;
  Context context{libevent(base.get()).direct()};
  EXPECT_TRUE(is(error_of([&] { (void)context.watch(high.get(), Interest::read, [](Interest) {}); }),
                 std::errc::too_many_files_open));
}

namespace {

/// Serves on a base in debug mode. The process must not have made a base before, because event_enable_debug_mode()
/// cannot be called later.
void serve_in_debug_mode(Hosting hosting) {
  event_enable_debug_mode();
  const Base base = make_base(kPriorities);
  const Pair pair = socket_pair();
  ::fcntl(pair.near.get(), F_SETFL, 0);  // blocking, because an epoll set is blocking, too
  int calls = 0;
  {
    Context context{hosted(libevent(base.get()), hosting)};
    Watch watch = context.watch(pair.near.get(), Interest::read, [&](Interest) {
      if (++calls < 3) return;
      watch = {};
    });
    const Timer timer = context.timer(1ms, [&] {
      put(pair.far.get());
      watch.set(Interest::both);
    });
    for (int i = 0; i < 1000 && calls < 3; ++i) iterate_base(base, 1ms);
  }
  ::_exit(calls >= 3 && ::fcntl(pair.near.get(), F_GETFL) == O_RDWR ? 0 : 1);
}

}  // namespace

TEST_P(LibeventHosting, ServesInLibeventsDebugMode) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // the program is started again for this test
  EXPECT_EXIT(serve_in_debug_mode(GetParam()), ::testing::ExitedWithCode(0), "");
}

namespace {

/// True if the base of the application works in a forked child: the event of the application comes, no event of the
/// guest comes, and the base sleeps.
bool works_and_sleeps(const Base& base) {
  const Pair pair = socket_pair();
  int calls = 0;
  Event own(base, pair.near.get(), EV_READ, [&] { ++calls; });
  own.add();
  put(pair.far.get());
  iterate_base(base, 1s);
  int turns = 0;
  for (const auto end = std::chrono::steady_clock::now() + 30ms; std::chrono::steady_clock::now() < end; ++turns) {
    iterate_base(base, 30ms);
  }
  EXPECT_LE(turns, 2) << "it spins";
  EXPECT_EQ(event_base_get_num_events(base.get(), EVENT_BASE_COUNT_ADDED), 0) << "something of the guest's is left";
  return calls == 1;
}

}  // namespace

// The child shares the epoll set with its parent. The parent keeps the descriptors open and readable.
TEST_P(LibeventHosting, C84_the_child_may_go_on_with_the_base_whenever_it_calls_event_reinit) {
  const Warnings warnings;
  const Base& base = make(kEpoll);
  const Pair pair = socket_pair();
  auto context = std::make_unique<Context>(loop());
  int calls = 0;
  const Watch watch = context->watch(pair.near.get(), Interest::read, [&](Interest) {
    take(pair.near.get());
    ++calls;
  });
  const Timer timer = context->every(1h, [] {});
  iterate_base(base, 0ns);
  put(pair.far.get());
  for (const bool before : {true, false}) {
    EXPECT_EQ(in_child([&] {
                if (!before) context.reset();
                EXPECT_EQ(event_reinit(base.get()), 0) << Warnings::text;
                context.reset();
                return works_and_sleeps(base);
              }),
              "");
  }
  EXPECT_EQ(in_child([&] {
              EXPECT_EQ(event_reinit(base.get()), 0);
              context->after_fork(loop());
              iterate_until([&] { return calls == 1; });
              context.reset();
              return works_and_sleeps(base);
            }),
            "");
  EXPECT_EQ(calls, 0);
  put(pair.far.get());
  iterate_until([&] { return calls == 1; });
  EXPECT_EQ(Warnings::text, "");
}

// Without descriptors, event_reinit() would end the process. So the shim removes no event from the base, and each event
// removes itself when it is called.
TEST_F(Libevent, C84_a_child_that_is_out_of_descriptors_leaves_the_parent_alone) {
  const Base base = make_base(kEpoll);
  const Pair pair = socket_pair();
  Guest guest{base.get()};
  onloop_watch* watch = guest.add(pair.near.get(), ONLOOP_READ);
  put(pair.far.get());
  EXPECT_EQ(in_child([&] {
              rlimit former{};
              ::getrlimit(RLIMIT_NOFILE, &former);
              const rlimit none{0, former.rlim_max};
              ::setrlimit(RLIMIT_NOFILE, &none);
              onloop_shim_libevent.abandon(guest.loop);
              onloop_shim_libevent.watch_remove(guest.loop, watch);
              onloop_shim_libevent.detach(guest.loop);
              ::setrlimit(RLIMIT_NOFILE, &former);
              EXPECT_EQ(event_reinit(base.get()), 0);
              EXPECT_EQ(event_base_get_num_events(base.get(), EVENT_BASE_COUNT_ADDED), 1);
              iterate_base(base, 0ns);
              EXPECT_EQ(Guest::calls, 0);
              return works_and_sleeps(base);
            }),
            "");
  iterate_base(base, 0ns);
  EXPECT_EQ(Guest::calls, 1);
  onloop_shim_libevent.watch_remove(guest.loop, watch);
}

TEST_P(LibeventHosting, ABaseMayGoToAnotherThread) {
  make(kLocked);
  Context context{loop()};
  context.release_thread();
  bool done = false;
  std::thread([&] {
    const Timer timer = context.timer(1ms, [&] { done = true; });
    iterate_until([&] { return done; });
    context.release_thread();
  }).join();
  EXPECT_TRUE(done);
}

}  // namespace onloop::conformance
