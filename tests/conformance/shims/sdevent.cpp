// Runs the cases of the kit on the sd-event shim, and tests what is special to sd-event.

#include <onloop/loop_by_name.hpp>
#include <onloop/sdevent.hpp>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>

#include "conformance/application.hpp"
#include "conformance/fixtures.hpp"
#include "conformance/raw_guest.hpp"

namespace onloop::conformance {
namespace {

struct Free {
  void operator()(sd_event* event) const { sd_event_unref(event); }
  void operator()(sd_event_source* source) const { sd_event_source_disable_unref(source); }
};
using Event = std::unique_ptr<sd_event, Free>;
using Source = std::unique_ptr<sd_event_source, Free>;

Event new_event() {
  sd_event* event = nullptr;
  if (const int error = sd_event_new(&event); error < 0) throw std::system_error(-error, std::generic_category());
  return Event{event};
}

/// Runs one iteration. sd_event_run() is not used, because it returns when a signal interrupts it and does not say why
/// it returned.
void iterate_once(sd_event* event, std::chrono::nanoseconds max_wait) {
  const std::uint64_t end = max_wait < 0ns ? UINT64_MAX : monotonic_ns() + static_cast<std::uint64_t>(max_wait.count());
  for (bool interrupted = true; interrupted;) {
    const std::uint64_t now = monotonic_ns();
    const std::uint64_t limit = end == UINT64_MAX ? UINT64_MAX : end > now ? (end - now + 999) / 1000 : 0;
    errno = 0;
    int result = sd_event_prepare(event);
    if (result == 0) result = sd_event_wait(event, limit);
    interrupted = result > 0 && errno == EINTR;
    if (result > 0) result = sd_event_dispatch(event);
    ASSERT_GE(result, 0) << std::strerror(-result);
  }
}

/// An application with an sd-event loop. On this loop it has a timer, a descriptor and idle work of its own.
///
/// If the guest leaves a source behind, the source keeps the loop alive, and the fixture then finds the descriptor of
/// the loop open.
class Application : public Provider {
 public:
  explicit Application(Hosting hosting) : hosting_(hosting) {
    sd_event_source* timer = nullptr;
    const auto on_due = [](sd_event_source*, std::uint64_t, void* self) {
      static_cast<Application*>(self)->call_due();
      return 0;
    };
    sd_event_add_time(event(), &timer, CLOCK_MONOTONIC, 0, 1, on_due, this);
    timer_.reset(timer);
    sd_event_source_set_enabled(timer, SD_EVENT_OFF);
  }

  Loop loop() override { return hosted(sdevent(event()), hosting_); }
  void iterate(Context*, std::chrono::nanoseconds max_wait) override { iterate_once(event(), max_wait); }

  void call_from_application(std::function<void()> callback) override {
    due_.push_back(std::move(callback));
    set_timer();
  }
  void watch_from_application(int fd, std::function<void()> callback) override {
    on_readable_ = std::move(callback);
    watch_.reset();
    if (fd < 0) return;
    sd_event_source* source = nullptr;
    const auto on_io = [](sd_event_source*, int, std::uint32_t, void* self) {
      static_cast<Application*>(self)->on_readable_();
      return 0;
    };
    ASSERT_GE(sd_event_add_io(event(), &source, fd, EPOLLIN, on_io, this), 0);
    watch_.reset(source);
  }

  int idle_levels() override { return static_cast<int>(kIdle.size()); }
  void call_when_idle(int level, std::function<void()> callback) override {
    idle_.reset();
    on_idle_ = std::move(callback);
    if (!on_idle_) return;
    sd_event_source* source = nullptr;
    const auto on_idle = [](sd_event_source*, void* self) {
      static_cast<Application*>(self)->on_idle_();
      return 0;
    };
    ASSERT_GE(sd_event_add_defer(event(), &source, on_idle, this), 0);
    idle_.reset(source);
    sd_event_source_set_priority(source, kIdle.at(static_cast<std::size_t>(level)));
    sd_event_source_set_enabled(source, SD_EVENT_ON);
  }

  /// The number of descriptors in the epoll set of the loop. The sources themselves cannot be counted.
  int host_objects() override {
    std::ifstream info("/proc/self/fdinfo/" + std::to_string(sd_event_get_fd(event())));
    int count = 0;
    for (std::string word; info >> word;) count += word == "tfd:";
    return count;
  }

  [[nodiscard]] sd_event* event() { return event_.get(); }

 private:
  static constexpr std::array<std::int64_t, 3> kIdle{SD_EVENT_PRIORITY_NORMAL + 1, SD_EVENT_PRIORITY_IDLE, INT64_MAX};

  void set_timer() {
    sd_event_source_set_time(timer_.get(), 0);
    sd_event_source_set_enabled(timer_.get(), SD_EVENT_ONESHOT);
  }
  void call_due() {
    const auto callback = std::move(due_.front());
    due_.pop_front();
    if (!due_.empty()) set_timer();
    callback();
  }

  Hosting hosting_;
  Event event_ = new_event();
  Source timer_, watch_, idle_;
  std::deque<std::function<void()>> due_;
  std::function<void()> on_readable_, on_idle_;
};

Loop owned() noexcept {
  return sdevent();
}

const std::vector<ProviderCase> kOps{
    make_case<Owned>("sdevent_owned", Hosting::direct, &owned),
    make_case<Application>("sdevent_foreign", Hosting::direct),
};
const std::vector<ProviderCase> kContexts{
    make_case<Owned>("sdevent_owned", Hosting::direct, &owned),
    make_case<Owned>("sdevent_owned_aggregate", Hosting::aggregate, &owned),
    make_case<Application>("sdevent_foreign", Hosting::direct),
    make_case<Application>("sdevent_foreign_aggregate", Hosting::aggregate),
};

// ---- what is special to sd-event ----

class SdEvent : public test::CleanTest {
 protected:
  void SetUp() override {
    CleanTest::SetUp();
    application_.emplace(Hosting::direct);
  }
  void TearDown() override {
    application_.reset();
    CleanTest::TearDown();
  }
  [[nodiscard]] Application& application() { return *application_; }
  [[nodiscard]] sd_event* event() { return application_->event(); }
  void iterate() { iterate_once(event(), 0ns); }
  /// Iterates without waiting until `done` returns true.
  [[nodiscard]] bool until(const std::function<bool()>& done) {
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (!done()) {
      if (std::chrono::steady_clock::now() > end) return false;
      iterate();
    }
    return true;
  }
  /// Frees the loop of the application with everything on it.
  void free_application() { application_.reset(); }

 private:
  std::optional<Application> application_;
};

std::string words_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::system_error& error) {
    return error.what();
  }
  return {};
}

TEST_F(SdEvent, the_factory_refuses_null_in_words) {
  EXPECT_TRUE(is(error_of([] { static_cast<void>(sdevent(nullptr)); }), std::errc::invalid_argument));
  EXPECT_NE(words_of([] { static_cast<void>(sdevent(nullptr)); }).find("sd-event loop that is null"),
            std::string::npos);
}

TEST_F(SdEvent, is_a_loop_by_name) {
  const Loop loop = loop_by_name("sdevent");
  EXPECT_EQ(loop.name(), "sdevent");
  EXPECT_EQ(loop.hosting(), Hosting::aggregate);
  Context context{loop};
  bool ran = false;
  context.post([&] {
    ran = true;
    context.stop();
  });
  context.run();
  EXPECT_TRUE(ran);
}

TEST_F(SdEvent, the_default_loop_may_be_given_by_its_name) {
  sd_event* of_thread = nullptr;
  ASSERT_GE(sd_event_default(&of_thread), 0);
  const Event held{of_thread};
  Context context{sdevent(SD_EVENT_DEFAULT)};
  bool ran = false;
  context.post([&] { ran = true; });
  for (int i = 0; i < 10 && !ran; ++i) iterate_once(of_thread, 0ns);
  EXPECT_TRUE(ran);
}

TEST_F(SdEvent, a_loop_can_not_be_iterated_within_its_handlers) {
  const Pair pair = socket_pair();
  ASSERT_TRUE(put(pair.far.get()));
  int of_foreign = 0;
  {
    RawGuest guest{application()};
    guest.add(pair.near.get(), ONLOOP_READ, [&](std::uint32_t) { of_foreign = sd_event_run(event(), 0); });
    EXPECT_TRUE(guest.until([&] { return of_foreign != 0; }));
  }
  EXPECT_EQ(of_foreign, -EBUSY);

  struct Nesting {
    onloop_loop* loop = nullptr;
    int in_io = 0;
    int in_deadline = 0;
  } nesting;
  const onloop_ops& ops = onloop_shim_sdevent;
  const onloop_guest guest{.version = ONLOOP_OPS_VERSION,
                           .struct_size = sizeof(onloop_guest),
                           .context = &nesting,
                           .on_ready =
                               [](void* context, std::uint32_t) {
                                 auto& self = *static_cast<Nesting*>(context);
                                 self.in_io = onloop_shim_sdevent.turn(self.loop, 0);
                               },
                           .on_deadline =
                               [](void* context) {
                                 auto& self = *static_cast<Nesting*>(context);
                                 self.in_deadline = onloop_shim_sdevent.turn(self.loop, 0);
                               }};
  onloop_watch* watch = nullptr;
  ASSERT_EQ(ops.attach(&guest, nullptr, &nesting.loop), 0);
  ASSERT_EQ(ops.watch_add(nesting.loop, pair.near.get(), ONLOOP_READ, &nesting, &watch), 0);
  ASSERT_EQ(ops.deadline_set(nesting.loop, 0), 0);
  EXPECT_EQ(ops.turn(nesting.loop, -1), 0);
  ops.watch_remove(nesting.loop, watch);
  ops.detach(nesting.loop);
  EXPECT_EQ(nesting.in_io, -EBUSY);
  EXPECT_EQ(nesting.in_deadline, -EBUSY);
}

// If one poll finds several ready sources, sd-event first calls the source with the highest priority.
TEST_F(SdEvent, a_guest_has_the_priority_that_it_is_given) {
  const Pair of_guest = socket_pair();
  const Pair of_application = socket_pair();
  for (const int priority : {-1, 1, -2'000'000'000, 2'000'000'000}) {
    for (const Hosting hosting : {Hosting::direct, Hosting::aggregate}) {
      std::string order;
      Context context{hosted(sdevent(event()), hosting).priority(priority)};
      const Watch watch = context.watch(of_guest.near.get(), Interest::read, [&](Interest) {
        take(of_guest.near.get());
        order += "g";
      });
      application().watch_from_application(of_application.near.get(), [&] {
        take(of_application.near.get());
        order += "a";
      });
      EXPECT_TRUE(put(of_guest.far.get()));
      EXPECT_TRUE(put(of_application.far.get()));
      EXPECT_TRUE(until([&] { return order.size() == 2; }));
      EXPECT_EQ(order, priority < 0 ? "ga" : "ag") << priority;

      // The same holds for the deadline, if the guest has a deadline in the host.
      order.clear();
      const Timer timer = context.timer(0ns, [&] { order += "g"; });
      EXPECT_TRUE(put(of_application.far.get()));
      EXPECT_TRUE(until([&] { return order.size() == 2; }));
      EXPECT_EQ(order, priority < 0 ? "ga" : "ag") << priority;
    }
  }
  application().watch_from_application(-1, {});
}

TEST_F(SdEvent, a_changed_priority_holds_for_what_is_there_already) {
  const Pair of_guest = socket_pair();
  const Pair of_application = socket_pair();
  struct Guest {
    std::string order;
    int fd;
  } guest{{}, of_guest.near.get()};
  const onloop_guest calls{.version = ONLOOP_OPS_VERSION,
                           .struct_size = sizeof(onloop_guest),
                           .context = &guest,
                           .on_ready =
                               [](void* context, std::uint32_t) {
                                 auto& self = *static_cast<Guest*>(context);
                                 take(self.fd);
                                 self.order += "g";
                               },
                           .on_deadline = [](void* context) { static_cast<Guest*>(context)->order += "d"; }};
  const onloop_ops& ops = onloop_shim_sdevent;
  onloop_loop* loop = nullptr;
  onloop_watch* watch = nullptr;
  ASSERT_EQ(ops.attach(&calls, event(), &loop), 0);
  ASSERT_EQ(ops.watch_add(loop, guest.fd, ONLOOP_READ, &guest, &watch), 0);
  ASSERT_EQ(ops.deadline_set(loop, 1), 0);
  application().watch_from_application(of_application.near.get(), [&] {
    take(of_application.near.get());
    guest.order += "a";
  });
  for (const int priority : {1, -1}) {
    guest.order.clear();
    ASSERT_EQ(ops.deadline_set(loop, 2), 0);
    ASSERT_EQ(ops.priority_set(loop, priority), 0);
    ASSERT_TRUE(put(of_guest.far.get()));
    ASSERT_TRUE(put(of_application.far.get()));
    EXPECT_TRUE(until([&] { return guest.order.size() == 3; }));
    EXPECT_EQ(guest.order.find('a'), priority > 0 ? 0u : 2u) << guest.order;
    ASSERT_EQ(ops.deadline_set(loop, ONLOOP_NO_DEADLINE), 0);
  }
  application().watch_from_application(-1, {});
  ops.watch_remove(loop, watch);
  ops.detach(loop);
}

// A guest that lets others go first must not wait for ever if the application always has something to do.
TEST_F(SdEvent, a_guest_that_rests_comes_back_though_the_application_is_always_busy) {
  const Pair of_guest = socket_pair();
  const Pair of_application = socket_pair();
  ASSERT_TRUE(put(of_application.far.get()));
  RawGuest guest{application()};
  auto& watch = guest.add(of_guest.near.get(), ONLOOP_WRITE);  // always ready
  for (int level = 0; level < application().idle_levels(); ++level) {
    for (int round = 0; round < 5; ++round) {
      int idle = 0;
      application().call_when_idle(level, [&] { ++idle; });
      EXPECT_TRUE(until([&] { return idle > 0; })) << "level " << level;  // so the guest rests
      application().watch_from_application(of_application.near.get(), [] {});
      const int before = watch.calls;
      EXPECT_TRUE(until([&] { return watch.calls > before + 1; })) << "level " << level;
      application().watch_from_application(-1, {});
      application().call_when_idle(level, {});
    }
  }
}

TEST_F(SdEvent, a_deadline_that_is_always_due_does_not_starve_idle_sources) {
  RawGuest guest{application()};
  guest.on_deadline = [&] { guest.deadline_in(0ns); };
  guest.deadline_in(0ns);
  int idle = 0;
  application().call_when_idle(1, [&] { ++idle; });
  EXPECT_TRUE(until([&] { return idle >= 10; }));
  const int before = guest.deadlines;
  EXPECT_TRUE(until([&] { return guest.deadlines > before + 10; }));
  application().call_when_idle(1, {});
}

TEST_F(SdEvent, many_watches_that_are_always_ready_all_get_their_turn_and_let_idle_sources_have_theirs) {
  std::vector<Pair> pairs;
  std::vector<RawGuest::Watch*> watches;
  RawGuest guest{application()};
  for (int i = 0; i < 20; ++i) {
    pairs.push_back(socket_pair());
    watches.push_back(&guest.add(pairs.back().near.get(), ONLOOP_WRITE));
  }
  int idle = 0;
  int seen = 0;
  application().call_when_idle(1, [&] {
    // The limit is a number of calls and not a time, because everything takes longer on a busy machine.
    if (idle++ > 0) {
      EXPECT_LE(guest.calls - seen, 5'000);
    }
    seen = guest.calls;
  });
  EXPECT_TRUE(until([&] { return idle >= 3; }));
  EXPECT_TRUE(until([&] {
    return std::all_of(watches.begin(), watches.end(), [](const auto* watch) { return watch->calls >= 3; });
  }));
  application().call_when_idle(1, {});
}

// The test does these things while the sources of the guest rest at the lowest priority.
TEST_F(SdEvent, a_watch_that_rests_can_be_removed_or_silenced_or_outlived_by_the_loop) {
  enum class Then { remove, silence, detach, detach_inside };
  for (const Then then : {Then::remove, Then::silence, Then::detach, Then::detach_inside}) {
    const Pair one = socket_pair();
    const Pair two = socket_pair();
    RawGuest guest{application()};
    auto& first = guest.add(one.near.get(), ONLOOP_WRITE);
    auto& second = guest.add(two.near.get(), ONLOOP_WRITE);
    int idle = 0;
    application().call_when_idle(1, [&] { ++idle; });
    EXPECT_TRUE(until([&] { return idle > 0; }));
    application().call_when_idle(1, {});
    switch (then) {
      case Then::remove:
        guest.remove(first);
        guest.remove(second);
        break;
      case Then::silence:
        guest.set(first, ONLOOP_NONE);
        guest.set(second, ONLOOP_NONE);
        break;
      case Then::detach:
        guest.detach();
        break;
      case Then::detach_inside:
        second.on_ready = first.on_ready = [&](std::uint32_t) { guest.detach(); };
        EXPECT_TRUE(until([&] { return !guest.attached(); }));
        break;
    }
    guest.expect_silence();
    if (!guest.attached()) iterate();
    if (then != Then::remove && then != Then::silence) continue;
    auto& again = then == Then::silence ? first : guest.add(one.near.get(), ONLOOP_NONE);
    const int before = again.calls;
    guest.set(again, ONLOOP_WRITE);
    EXPECT_TRUE(guest.until([&] { return again.calls > before; }));
  }
}

// ---- many that are ready at once ----

/// Many watches that all become ready at once, with a function that each of them calls.
class Crowd {
 public:
  static constexpr int kSize = 200;

  Crowd(Provider& provider, std::uint32_t interest, std::function<void(Crowd&, std::size_t)> on_ready,
        std::size_t size = kSize)
      : guest{provider} {
    for (std::size_t i = 0; i < size; ++i) {
      pairs.push_back(socket_pair());
      EXPECT_TRUE(put(pairs.back().far.get()));
      watches.push_back(&guest.add(pairs.back().near.get(), interest, [this, i, on_ready](std::uint32_t) {
        ++calls;
        on_ready(*this, i);
      }));
    }
  }
  /// Iterates until this number of calls was made. Returns the number of iterations. Each iteration asks the kernel
  /// once.
  int serve(int count) {
    int iterations = 0;
    for (; calls < count && iterations < 10 * kSize; ++iterations) guest.turn();
    EXPECT_GE(calls, count);
    return iterations;
  }
  void remove(std::size_t i) {
    guest.remove(*watches[i]);
    pairs[i].near.reset();
  }

  std::vector<Pair> pairs;  // must outlive the guest
  std::vector<RawGuest::Watch*> watches;
  int calls = 0;
  RawGuest guest;
};

/// Each provider has a loop of its own. The loop of the fixture also has a guest of another kind.
class SdEventCrowd : public SdEvent {
 protected:
  [[nodiscard]] std::vector<Provider*> providers() { return {&application(), &of_its_own_}; }

 private:
  Owned of_its_own_{Hosting::direct, &owned};
};

// In each iteration, the kernel walks over all ready descriptors. With one iteration for each watch, the cost would be
// the square of the number of watches.
TEST_F(SdEventCrowd, many_watches_that_become_ready_at_once_take_few_iterations) {
  constexpr int kFew = Crowd::kSize * 3 / 4;  // usually a tenth of the number of watches; more on a busy machine
  for (Provider* provider : providers()) {
    Crowd closing(*provider, ONLOOP_READ, [](Crowd& crowd, std::size_t i) { crowd.remove(i); });
    EXPECT_LE(closing.serve(Crowd::kSize), kFew);
    Crowd reading(*provider, ONLOOP_READ, [](Crowd& crowd, std::size_t i) { take(crowd.pairs[i].near.get()); });
    for (int round = 1; round <= 3; ++round) {
      EXPECT_LE(reading.serve(round * Crowd::kSize), kFew);
      EXPECT_EQ(reading.calls, round * Crowd::kSize) << "each once";
      reading.guest.expect_silence();
      for (const Pair& pair : reading.pairs) EXPECT_TRUE(put(pair.far.get()));
    }
  }
}

TEST_F(SdEventCrowd, what_was_not_read_is_announced_again) {
  for (Provider* provider : providers()) {
    Crowd crowd(*provider, ONLOOP_READ | ONLOOP_WRITE, [](Crowd&, std::size_t) {});
    const auto all = [&] {
      return std::all_of(crowd.watches.begin(), crowd.watches.end(), [](const auto* watch) {
        return watch->calls >= 3 && watch->readiness == (ONLOOP_READ | ONLOOP_WRITE);
      });
    };
    EXPECT_TRUE(crowd.guest.until(all));
  }
}

TEST_F(SdEventCrowd, one_of_many_that_are_pending_may_remove_or_silence_the_others_or_detach) {
  enum class Then { remove, renumber, silence, lower, detach };
  constexpr int kLast = Crowd::kSize / 2;
  for (Provider* provider : providers()) {
    for (const Then then : {Then::remove, Then::renumber, Then::silence, Then::lower, Then::detach}) {
      std::vector<Pair> others;
      Crowd crowd(*provider, ONLOOP_READ, [&](Crowd& self, std::size_t) {
        if (self.calls < kLast) return;
        if (then == Then::detach) return self.guest.detach();
        for (std::size_t i = 0; i < Crowd::kSize; ++i) {
          if (then == Then::silence) self.guest.set(*self.watches[i], ONLOOP_NONE);
          if (then == Then::lower) self.guest.set(*self.watches[i], ONLOOP_WRITE);
          if (then == Then::remove || then == Then::renumber) self.remove(i);
        }
        for (std::size_t i = 0; then == Then::renumber && i < Crowd::kSize; ++i) {
          others.push_back(socket_pair());
          self.guest.add(others.back().near.get(), ONLOOP_READ);
        }
      });
      EXPECT_LT(crowd.serve(kLast), kLast) << "none was called early";
      if (then != Then::lower) {
        EXPECT_EQ(crowd.calls, kLast);
        crowd.guest.expect_silence();
        for (int i = 0; i < 12; ++i) iterate();
      }
      if (then != Then::silence && then != Then::lower) continue;
      crowd.calls = -1'000'000;  // from here on, the callback does nothing
      for (auto* watch : crowd.watches) {
        crowd.guest.set(*watch, ONLOOP_READ);
        watch->calls = 0;
      }
      EXPECT_TRUE(crowd.guest.until([&] {
        return std::all_of(crowd.watches.begin(), crowd.watches.end(),
                           [](const auto* watch) { return watch->calls > 0; });
      }));
    }
  }
}

TEST_F(SdEventCrowd, more_than_are_called_in_one_iteration_come_equally_often) {
  constexpr int kRounds = 20;
  constexpr int kMany = 400;
  for (Provider* provider : providers()) {
    Crowd crowd(
        *provider, ONLOOP_READ, [](Crowd&, std::size_t) {}, kMany);
    while (crowd.calls < kRounds * kMany) crowd.guest.turn();
    const auto fewer = [](const auto* one, const auto* other) { return one->calls < other->calls; };
    const auto [least, most] = std::minmax_element(crowd.watches.begin(), crowd.watches.end(), fewer);
    EXPECT_GE((*least)->calls, kRounds / 2);
    EXPECT_LE((*most)->calls, kRounds * 2);
  }
}

// An application that has asked its loop to exit expects only the callbacks for the exit.
TEST_F(SdEventCrowd, nobody_is_called_after_the_application_has_asked_its_loop_to_exit) {
  constexpr int kLast = Crowd::kSize / 2;
  Crowd crowd(application(), ONLOOP_READ, [&](Crowd& self, std::size_t) {
    if (self.calls != kLast) return;
    EXPECT_EQ(sd_event_exit(event(), 5), 0);
  });
  EXPECT_LT(crowd.serve(kLast), kLast);
  EXPECT_EQ(sd_event_loop(event()), 5);
  EXPECT_EQ(crowd.calls, kLast);
}

// The application gets its turns as usual, even if each call takes long, or if there are many calls.
TEST_F(SdEventCrowd, an_application_waits_for_no_more_than_a_turn) {
  const Pair of_application = socket_pair();
  ASSERT_TRUE(put(of_application.far.get()));
  constexpr std::uint64_t kEach = 1'000'000;
  int seen = 0;
  int most = 0;
  {
    Crowd slow(application(), ONLOOP_READ, [](Crowd& crowd, std::size_t i) {
      const std::uint64_t end = monotonic_ns() + kEach;
      while (monotonic_ns() < end) continue;
      crowd.remove(i);
    });
    while (slow.calls < Crowd::kSize) {
      seen = slow.calls;
      iterate();
      most = std::max(most, slow.calls - seen);
    }
    EXPECT_LE(most, 8) << "milliseconds";
  }
  int calls = 0;
  Crowd quick(application(), ONLOOP_READ, [](Crowd&, std::size_t) {});
  application().watch_from_application(of_application.near.get(), [&] { ++calls; });
  EXPECT_TRUE(until([&] { return calls > 20; }));
  EXPECT_LE(quick.calls, (calls + 2) * Crowd::kSize);
  application().watch_from_application(-1, {});
}

// ---- the end of a loop ----

TEST_F(SdEvent, a_loop_that_has_exited_is_refused_in_words) {
  ASSERT_EQ(sd_event_exit(event(), 7), 0);
  EXPECT_EQ(sd_event_loop(event()), 7);
  const auto attach = [&] { const Context context{sdevent(event())}; };
  EXPECT_EQ(error_of(attach).value(), ESTALE);
  EXPECT_NE(words_of(attach).find("attach to the loop \"sdevent\""), std::string::npos);
}

TEST_F(SdEvent, a_guest_can_leave_a_loop_that_has_exited) {
  const Pair pair = socket_pair();
  const int before = application().host_objects();
  {
    RawGuest guest{application()};
    auto& watch = guest.add(pair.near.get(), ONLOOP_READ | ONLOOP_WRITE);
    auto& silent = guest.add(pair.far.get(), ONLOOP_NONE);
    guest.deadline_in(1h);
    ASSERT_EQ(sd_event_exit(event(), 3), 0);
    EXPECT_EQ(sd_event_loop(event()), 3) << "the guest changed how the application's loop ended";
    guest.set(watch, ONLOOP_READ);  // lowering never fails
    guest.set(watch, ONLOOP_NONE);
    guest.deadline_at(ONLOOP_NO_DEADLINE);
    guest.remove(watch);
    guest.remove(silent);
  }
  EXPECT_EQ(application().host_objects(), before);
}

TEST_F(SdEvent, a_guest_holds_the_loop_that_the_application_lets_go) {
  const Pair pair = socket_pair();
  std::optional<Context> context{std::in_place, sdevent(event()).direct()};
  const Watch watch = context->watch(pair.near.get(), Interest::read, [](Interest) {});
  const int descriptor = sd_event_get_fd(event());
  free_application();
  EXPECT_GE(::fcntl(descriptor, F_GETFD), 0);
  context.reset();
  EXPECT_LT(::fcntl(descriptor, F_GETFD), 0) << "something still holds the loop";
}

// ---- what else an application has on its loop ----

TEST_F(SdEvent, the_applications_watchdog_signals_and_exit_handlers_go_on) {
  const Descriptor manager{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  const std::string name = "@onloop-watchdog-" + std::to_string(::getpid());
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path, sizeof address.sun_path);
  address.sun_path[0] = '\0';
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  ASSERT_EQ(::bind(manager.get(), reinterpret_cast<const sockaddr*>(&address), length), 0);
  ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
  ::setenv("WATCHDOG_USEC", "20000", 1);
  ASSERT_GT(sd_event_set_watchdog(event(), 1), 0);

  sigset_t own;
  sigset_t former;
  ::sigemptyset(&own);
  ::sigaddset(&own, SIGUSR1);
  ::pthread_sigmask(SIG_BLOCK, &own, &former);
  int signals = 0;
  sd_event_source* source = nullptr;
  const auto on_signal = [](sd_event_source*, const signalfd_siginfo*, void* count) {
    ++*static_cast<int*>(count);
    return 0;
  };
  ASSERT_GE(sd_event_add_signal(event(), &source, SIGUSR1, on_signal, &signals), 0);
  Source signal{source};

  const auto pings = [&] {
    int count = 0;
    for (std::string text; !(text = take(manager.get())).empty();) count += text == "WATCHDOG=1";
    return count;
  };
  const auto use = [&] {
    int seen = 0;
    const int before = signals;
    ::raise(SIGUSR1);
    EXPECT_TRUE(until([&] { return (seen += pings()) >= 2 && signals == before + 1; }));
  };
  {
    const Pair pair = socket_pair();
    RawGuest guest{application()};
    guest.add(pair.near.get(), ONLOOP_WRITE);  // always ready
    use();
  }
  use();
  EXPECT_GT(sd_event_get_watchdog(event()), 0);
  ASSERT_GE(sd_event_set_watchdog(event(), 0), 0);
  ::unsetenv("NOTIFY_SOCKET");
  ::unsetenv("WATCHDOG_USEC");
  signal.reset();
  ::pthread_sigmask(SIG_SETMASK, &former, nullptr);

  const Context context{sdevent(event())};
  int exits = 0;
  sd_event_source* at_exit = nullptr;
  const auto on_exit = [](sd_event_source*, void* count) {
    ++*static_cast<int*>(count);
    return 0;
  };
  ASSERT_GE(sd_event_add_exit(event(), &at_exit, on_exit, &exits), 0);
  const Source held{at_exit};
  sd_event_exit(event(), 0);
  EXPECT_EQ(sd_event_loop(event()), 0);
  EXPECT_EQ(exits, 1);
}

// ---- an owned loop by its descriptor ----

TEST_F(SdEvent, the_descriptor_of_an_owned_loop_is_readable_while_a_turn_has_something_to_report) {
  for (const Hosting hosting : {Hosting::direct, Hosting::aggregate}) {
    const Pair pair = socket_pair();
    Context context{hosted(sdevent(), hosting)};
    int calls = 0;
    const Watch watch = context.watch(pair.near.get(), Interest::read, [&](Interest) {
      if (!take(pair.near.get()).empty()) ++calls;
    });
    int timers = 0;
    const auto serve = [&](int& count, int expected) {
      pollfd readable{context.pollable_fd(), POLLIN, 0};
      while (count < expected && ::poll(&readable, 1, 10'000) == 1) context.dispatch();
      EXPECT_EQ(count, expected);
    };
    ASSERT_TRUE(put(pair.far.get()));
    serve(calls, 1);
    const Timer timer = context.timer(2ms, [&] { ++timers; });
    serve(timers, 1);
    int tasks = 0;
    context.post([&] { ++tasks; });
    serve(tasks, 1);
    pollfd readable{context.pollable_fd(), POLLIN, 0};
    for (int i = 0; i < 4; ++i) context.dispatch();
    EXPECT_EQ(::poll(&readable, 1, 0), 0) << "nothing is left to report";
  }
}

}  // namespace

ONLOOP_CONFORMANCE_OPS(SdEvent, kOps);
ONLOOP_CONFORMANCE_CONTEXT(SdEvent, kContexts);

}  // namespace onloop::conformance
