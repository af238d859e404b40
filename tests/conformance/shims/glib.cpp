// Runs every case of the kit on the GLib shim, and tests what is special to GLib.

#include <glib-unix.h>
#include <onloop/glib.hpp>
#include <onloop/loop_by_name.hpp>

#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "conformance/application.hpp"
#include "conformance/fixtures.hpp"

namespace onloop::conformance {
namespace {

Loop own_glib() noexcept {
  return glib();
}

/// A GSource that calls a function as long as this object lives.
class Source {
 public:
  Source() = default;
  Source(GMainContext* main, GSource* source, int priority, std::function<void()> callback)
      : callback_(std::make_unique<std::function<void()>>(std::move(callback))), source_(source) {
    g_source_set_priority(source, priority);
    g_source_set_callback(source, reinterpret_cast<GSourceFunc>(+[](void* function) -> gboolean {
                            (*static_cast<std::function<void()>*>(function))();
                            return G_SOURCE_CONTINUE;
                          }),
                          callback_.get(), nullptr);
    g_source_attach(source, main);
  }
  Source(Source&& other) noexcept
      : callback_(std::move(other.callback_)), source_(std::exchange(other.source_, nullptr)) {}
  Source& operator=(Source&& other) noexcept {
    std::swap(callback_, other.callback_);
    std::swap(source_, other.source_);
    return *this;
  }
  ~Source() {
    if (!source_) return;
    g_source_destroy(source_);
    g_source_unref(source_);
  }

 private:
  std::unique_ptr<std::function<void()>> callback_;
  GSource* source_ = nullptr;
};

GSource* descriptor_source(int fd, std::function<void()>* callback) {
  GSource* source = g_unix_fd_source_new(fd, G_IO_IN);
  g_source_set_callback(
      source,
      reinterpret_cast<GSourceFunc>(reinterpret_cast<void (*)()>(+[](int, GIOCondition, void* function) -> gboolean {
        (*static_cast<std::function<void()>*>(function))();
        return G_SOURCE_CONTINUE;
      })),
      callback, nullptr);
  return source;
}

/// An application with a main context of its own.
class GlibApplication : public Provider {
 public:
  explicit GlibApplication(Hosting hosting) : hosting_(hosting) {}
  ~GlibApplication() override {
    due_.clear();
    idle_ = {};
    watch_from_application(-1, {});
    g_main_context_unref(main_);
  }

  Loop loop() override { return hosted(glib(main_), hosting_); }

  void iterate(Context*, std::chrono::nanoseconds max_wait) override {
    Source limit;
    if (max_wait > 0ns) {
      const auto wait = std::chrono::ceil<std::chrono::milliseconds>(max_wait);
      limit = Source(main_, g_timeout_source_new(static_cast<unsigned>(wait.count())), G_PRIORITY_DEFAULT, [] {});
    }
    g_main_context_iteration(main_, max_wait != 0ns);
    std::erase_if(due_, [](const auto& once) { return once->done; });
  }

  void call_from_application(std::function<void()> callback) override {
    auto once = std::make_unique<Once>();
    once->source =
        Source(main_, g_timeout_source_new(0), G_PRIORITY_DEFAULT, [own = once.get(), callback = std::move(callback)] {
          if (!std::exchange(own->done, true)) callback();
        });
    due_.push_back(std::move(once));
  }

  void watch_from_application(int fd, std::function<void()> callback) override {
    if (watch_) {
      g_source_destroy(watch_);
      g_source_unref(std::exchange(watch_, nullptr));
    }
    on_readable_ = std::move(callback);
    if (fd < 0) return;
    watch_ = descriptor_source(fd, &on_readable_);
    g_source_attach(watch_, main_);
  }

  std::string exception(std::string_view number) override {
    if (number == "68") return "the wait is the application's: g_main_context_iteration() returns after a signal";
    return Provider::exception(number);
  }

  int idle_levels() override { return 2; }
  void call_when_idle(int level, std::function<void()> callback) override {
    constexpr std::array<int, 2> kRedrawAndIdle{G_PRIORITY_HIGH_IDLE + 20, G_PRIORITY_DEFAULT_IDLE};
    idle_ = {};
    if (callback) {
      idle_ = Source(main_, g_idle_source_new(), kRedrawAndIdle.at(static_cast<std::size_t>(level)), callback);
    }
  }

  /// The number of sources and of polled descriptors.
  int host_objects() override {
    constexpr unsigned kMoreThanWereMade = 200;
    int objects = 0;
    for (unsigned id = 1; id < kMoreThanWereMade; ++id) objects += g_main_context_find_source_by_id(main_, id) ? 1 : 0;
    std::array<GPollFD, 64> polled{};
    int timeout = 0;
    int priority = 0;
    EXPECT_TRUE(g_main_context_acquire(main_));
    g_main_context_prepare(main_, &priority);
    objects += g_main_context_query(main_, priority, &timeout, polled.data(), static_cast<int>(polled.size()));
    g_main_context_release(main_);
    return objects;
  }

 private:
  struct Once {
    bool done = false;
    Source source;
  };

  Hosting hosting_;
  GMainContext* const main_ = g_main_context_new();
  std::vector<std::unique_ptr<Once>> due_;
  GSource* watch_ = nullptr;
  std::function<void()> on_readable_;
  Source idle_;
};

const std::vector<ProviderCase> kOps{
    make_case<Owned>("glib_owned", Hosting::direct, &own_glib),
    make_case<GlibApplication>("glib_foreign", Hosting::direct),
};

const std::vector<ProviderCase> kContexts{
    make_case<Owned>("glib_owned_direct", Hosting::direct, &own_glib),
    make_case<Owned>("glib_owned_aggregate", Hosting::aggregate, &own_glib),
    make_case<GlibApplication>("glib_foreign_direct", Hosting::direct),
    make_case<GlibApplication>("glib_foreign_aggregate", Hosting::aggregate),
};

}  // namespace

ONLOOP_CONFORMANCE_OPS(Glib, kOps);
ONLOOP_CONFORMANCE_CONTEXT(Glib, kContexts);

// ---- what is special to GLib ----

namespace {

struct MainContext {
  GMainContext* const get = g_main_context_new();
  MainContext() = default;
  MainContext(const MainContext&) = delete;
  MainContext& operator=(const MainContext&) = delete;
  ~MainContext() { g_main_context_unref(get); }
  void iterate_until(const std::function<bool()>& done) const {
    Source guard(get, g_timeout_source_new(10'000), G_PRIORITY_HIGH,
                 [] { ADD_FAILURE() << "it did not happen within 10 s"; });
    while (!done() && !::testing::Test::HasFailure()) g_main_context_iteration(get, TRUE);
  }
};

class GlibHosting : public test::CleanTestWithParam<Hosting> {
 protected:
  void SetUp() override {
    CleanTestWithParam::SetUp();
    main_.emplace();
  }
  void TearDown() override {
    main_.reset();
    CleanTestWithParam::TearDown();
  }
  [[nodiscard]] Loop loop() const { return hosted(glib(main_->get), GetParam()); }

  std::optional<MainContext> main_;
};
INSTANTIATE_TEST_SUITE_P(Glib, GlibHosting, ::testing::Values(Hosting::direct, Hosting::aggregate),
                         [](const auto& hosting) { return hosting.param == Hosting::direct ? "direct" : "aggregate"; });

}  // namespace

TEST(Glib, RefusesANullMainContextInWords) {
  EXPECT_TRUE(is(error_of([] { (void)glib(nullptr); }), std::errc::invalid_argument));
}

TEST(Glib, IsFoundByName) {
  EXPECT_EQ(loop_by_name("glib").name(), "glib");
  EXPECT_EQ(loop_by_name("glib").hosting(), Hosting::aggregate);
}

TEST_P(GlibHosting, C65_a_main_loop_inside_a_callback_goes_on_serving) {
  std::string order;
  const Pair one = socket_pair();
  const Pair two = socket_pair();
  Context context{loop()};
  bool other = false;
  const Watch first = context.watch(one.near.get(), Interest::read, [&](Interest) {
    take(one.near.get());
    order += "(";
    other = false;
    put(two.far.get());
    put(one.far.get());  // this watch is in its callback; its next call comes after the callback has ended
    main_->iterate_until([&] { return other; });
    order += ")";
  });
  const Watch second = context.watch(two.near.get(), Interest::read, [&](Interest) {
    take(two.near.get());
    order += "2";
    other = true;
  });
  put(one.far.get());
  main_->iterate_until([&] { return order.size() >= 6; });
  EXPECT_EQ(order.substr(0, 6), "(2)(2)");
}

TEST_P(GlibHosting, C65_timers_and_tasks_go_on_inside_a_callback) {
  Context context{loop()};
  int done = 0;
  const Timer outer = context.timer(0ns, [&] {
    const Timer inner = context.timer(1ms, [&] { ++done; });
    context.post([&] { ++done; });
    main_->iterate_until([&] { return done == 2; });
    ++done;
  });
  main_->iterate_until([&] { return done == 3; });
}

TEST_P(GlibHosting, C65_the_context_is_destroyed_by_a_main_loop_inside_its_callback) {
  const Pair pair = socket_pair();
  auto context = std::make_unique<Context>(loop());
  bool over = false;
  Source destroyer;
  Watch watch = context->watch(pair.near.get(), Interest::read, [&](Interest) {
    destroyer = Source(main_->get, g_timeout_source_new(0), G_PRIORITY_DEFAULT, [&] { context.reset(); });
    main_->iterate_until([&] { return !context; });
    over = true;
  });
  put(pair.far.get());
  main_->iterate_until([&] { return over; });
  destroyer = {};
}

// After the move, the frames of the old main loop are still on the stack, and the application continues to iterate the
// old loop.
TEST_P(GlibHosting, C90_moved_by_a_main_loop_inside_its_callback_and_back) {
  const MainContext other;
  const Pair pair = socket_pair();
  Context context{loop()};
  for (const Loop& next : {native(), native().aggregate(), hosted(glib(other.get), GetParam())}) {
    std::string order;
    const Timer outer = context.timer(0ns, [&] {
      order += "(";
      bool moved = false;
      const Timer inner = context.timer(0ns, [&] {
        context.move_to(next);
        moved = true;
        order += "moved";
      });
      main_->iterate_until([&] { return moved; });
      for (int i = 0; i < 5; ++i) g_main_context_iteration(main_->get, FALSE);
      order += ")";
    });
    const Watch watch = context.watch(pair.near.get(), Interest::read, [&](Interest) {
      if (!take(pair.near.get()).empty()) order += "read";
    });
    main_->iterate_until([&] { return order.ends_with(")"); });
    EXPECT_EQ(order, "(moved)");
    ASSERT_TRUE(put(pair.far.get()));
    for (int i = 0; i < 5; ++i) g_main_context_iteration(main_->get, FALSE);
    EXPECT_EQ(order, "(moved)") << "the main loop that was left still serves";
    if (next.foreign()) {
      other.iterate_until([&] { return order.ends_with("read"); });
    } else {
      for (int i = 0; i < 100 && !order.ends_with("read"); ++i) context.dispatch();
    }
    EXPECT_EQ(order, "(moved)read");
    context.move_to(loop());
  }
}

// Inside the callback that moved the context, the application iterates the new loop.
TEST_P(GlibHosting, C90_served_by_the_next_main_loop_while_the_last_ones_callback_lasts) {
  const MainContext other;
  Context context{loop()};
  int served = 0;
  const Timer timer = context.timer(0ns, [&] {
    context.move_to(hosted(glib(other.get), GetParam()));
    context.post([&] { ++served; });
    other.iterate_until([&] { return served == 1; });
    context.move_to(loop());
    context.post([&] { ++served; });
    main_->iterate_until([&] { return served == 2; });
    ++served;
  });
  main_->iterate_until([&] { return served == 3; });
  const Timer after = context.timer(1ms, [&] { ++served; });
  main_->iterate_until([&] { return served == 4; });
}

TEST_P(GlibHosting, C66_asking_whether_something_is_pending_loses_nothing) {
  const Pair pair = socket_pair();
  Context context{loop()};
  int reads = 0;
  const Watch watch = context.watch(pair.near.get(), Interest::read, [&](Interest) {
    take(pair.near.get());
    ++reads;
  });
  while (g_main_context_pending(main_->get)) g_main_context_iteration(main_->get, FALSE);
  put(pair.far.get());
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(g_main_context_pending(main_->get));
  EXPECT_EQ(reads, 0);
  g_main_context_iteration(main_->get, FALSE);
  EXPECT_EQ(reads, 1);
  const Timer timer = context.timer(0ns, [&] { ++reads; });
  main_->iterate_until([&] {
    g_main_context_pending(main_->get);
    return reads == 2;
  });
}

TEST_P(GlibHosting, PriorityDecidesWhoIsServedFirst) {
  const Pair pair = socket_pair();
  std::string order;
  const auto serve = [&](int priority) {
    order.clear();
    Context context{loop().priority(priority)};
    const Watch watch = context.watch(pair.near.get(), Interest::read, [&](Interest) {
      if (!take(pair.near.get()).empty()) order += "guest ";
    });
    while (g_main_context_iteration(main_->get, FALSE)) {
    }
    put(pair.far.get());
    const Source application(main_->get, g_timeout_source_new(0), G_PRIORITY_DEFAULT, [&] {
      if (order.find("application") == std::string::npos) order += "application ";
    });
    for (int i = 0; i < 10; ++i) g_main_context_iteration(main_->get, FALSE);
  };
  serve(G_PRIORITY_HIGH);
  EXPECT_EQ(order, "guest application ");
  serve(G_PRIORITY_LOW);
  EXPECT_EQ(order, "application ") << "a busy application of higher priority keeps it waiting, as asked for";
}

TEST_P(GlibHosting, AMainLoopMayGoToAnotherThread) {
  Context context{loop()};
  context.release_thread();
  bool done = false;
  std::thread([&] {
    const Timer timer = context.timer(1ms, [&] { done = true; });
    main_->iterate_until([&] { return done; });
    context.release_thread();
  }).join();
  EXPECT_TRUE(done);
}

}  // namespace onloop::conformance
