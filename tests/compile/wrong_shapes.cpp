// Each macro below makes a program with a callback of a wrong shape. The comment after the macro is the sentence that
// the compiler must print. Without a macro, the same calls have the right shape, and the program compiles.
#include <onloop/coroutine.hpp>
#include <onloop/onloop.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <utility>

using namespace std::chrono_literals;

void right(onloop::Context& context) {
  auto owned = [pointer = std::make_unique<int>(1)] { (void)*pointer; };
  auto watch = context.watch(0, onloop::Interest::read, [](onloop::Interest) {});
  auto generic = context.watch(0, onloop::Interest::read, [](auto) {});
  auto timer = context.timer(1ms, [] {});
  auto every = context.every(1ms, std::move(owned));
  auto none = context.every(1ms, {});
  auto signal = context.on_signal(1, [] {});
  context.post([] { return 7; });
  context.post(onloop::Task{});
  context.remote().post([] {});
  auto process = context.spawn({.arguments = {"true"}}, [](onloop::ExitStatus) {});
  auto silent = context.spawn({.arguments = {"true"}}, {});
  context.run_blocking([] { return 7; }, [](onloop::Outcome<int>) {});
  context.run_blocking([](std::stop_token) {}, [](auto) {});
  onloop::co::spawn(context, []() -> onloop::co::Async<> { co_return; });
}

void wrong(onloop::Context& context) {
  const std::unique_ptr<int> pointer;
#if defined(WATCH)  // Context::watch takes a callable with one parameter, an onloop::Interest
  auto watch = context.watch(0, onloop::Interest::read, [] {});
#elif defined(WATCH_TEXT)     // Context::watch takes a callable with one parameter, an onloop::Interest
  auto watch = context.watch(0, onloop::Interest::read, [](std::string) {});
#elif defined(TIMER)          // Context::timer takes a callable without parameters
  auto timer = context.timer(1ms, [](int) {});
#elif defined(EVERY)          // Context::every takes a callable without parameters
  auto timer = context.every(1ms, [](onloop::Timer&) {});
#elif defined(SIGNAL)         // Context::on_signal takes a callable without parameters
  auto signal = context.on_signal(1, [](int) {});
#elif defined(POST)           // Context::post takes a callable without parameters
  context.post([](int) {});
#elif defined(POST_COPIED)    // One that can't be copied has to be moved in
  const auto task = [owned = std::make_unique<int>(1)] { (void)owned; };
  context.post(task);
#elif defined(REMOTE_POST)    // Remote::post takes a callable without parameters
  context.remote().post([](int) {});
#elif defined(SPAWN)          // Context::spawn takes a callable with one parameter, an onloop::ExitStatus
  auto process = context.spawn({.arguments = {"true"}}, [](std::string) {});
#elif defined(BLOCKING_WORK)  // Context::run_blocking takes as its work a callable without parameters
  context.run_blocking([](int) {}, [](onloop::Outcome<void>) {});
#elif defined(BLOCKING_DONE)  // Context::run_blocking takes at the end a callable with one parameter
  context.run_blocking([] { return 7; }, [](int) {});
#elif defined(CO_SPAWN)       // onloop::co::spawn takes a callable without parameters that gives an onloop::co::Async<>
  onloop::co::spawn(context, [] { return 7; });
#endif
  (void)context;
}
