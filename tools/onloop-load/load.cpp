#include "onloop-load/load.hpp"

#include <onloop/loop_by_name.hpp>

#include <cstdio>
#include <utility>

#include "common/command.hpp"

namespace load {
namespace {

using namespace std::chrono_literals;

// If no byte comes back on any connection for this number of seconds, the server counts as dead. The first number is
// for the time of measuring. The second one is for the end, when only the last answers are missing.
constexpr unsigned kPatience = 30;
constexpr unsigned kLastPatience = 5;

onloop::ConnectOptions connect_options(const Options& options) {
  onloop::ConnectOptions connect;
  connect.timeout = options.connect_timeout;
  // The default would be a deadlock. The server stops reading until the client has read what the server sent, and the
  // client would stop reading until the server has read.
  connect.limits.pause_reading_when_full = false;
  connect.limits.high_water = 4 * Pattern::kPiece;
  connect.limits.low_water = Pattern::kPiece;
  return connect;
}

}  // namespace

Load::Load(const Options& options)
    : options_(options),
      signals_({SIGINT, SIGTERM}),
      context_(onloop::loop_by_name(options.loop)),
      opening_(context_, options.address, connect_options(options)) {
  for (std::size_t number = 0; number < options.idle; ++number) {
    idle_.push_back(std::make_unique<IdleClient>(*this, number));
  }
  for (std::size_t number = 0; number < options.connections; ++number) {
    active_.push_back(std::make_unique<ActiveClient>(*this, number));
  }
}

Report Load::run() {
  signal_watch_ = context_.watch(signals_.fd(), onloop::Interest::read, [this](onloop::Interest) {
    while (signals_.next()) interrupt();
  });
  each_second_ = context_.every(1s, [this] { each_second(); });
  std::vector<onloop::Protocol*> protocols;
  for (const auto& client : idle_) protocols.push_back(client.get());
  for (const auto& client : active_) protocols.push_back(client.get());
  opening_.start(std::move(protocols), [this] { start(); });
  context_.run();
  return std::move(report_);
}

void Load::start() {
  if (phase_ == Phase::over) return;
  seconds_ = 0;
  budget_ = options_.messages.value_or(UINT64_MAX);
  if (options_.warmup.count() > 0) {
    phase_ = Phase::warming_up;
    phase_end_ = context_.timer(options_.warmup, [this] { begin_measuring(); });
  } else {
    begin_measuring();
  }
  for (const auto& client : active_) client->start();
}

void Load::begin_measuring() {
  phase_ = Phase::measuring;
  if (!options_.messages) phase_end_ = context_.timer(options_.duration, [this] { end_measuring(); });
  latency_.clear();
  messages_before_ = messages_;
  bytes_before_ = bytes_;
  began_ = now();
}

void Load::end_measuring() {
  report_.measured = true;
  report_.seconds = static_cast<double>(now() - began_) * 1e-9;
  report_.messages = messages_ - messages_before_;
  report_.bytes = bytes_ - bytes_before_;
  report_.latency = latency_;
  phase_ = Phase::finishing;
  budget_ = 0;
  silent_seconds_ = 0;
  if (in_flight_ == 0) finish();
}

void Load::finish() {
  if (phase_ == Phase::over) return;
  if (phase_ == Phase::measuring) end_measuring();
  phase_ = Phase::over;
  context_.stop();
}

void Load::interrupt() {
  report_.interrupted = true;
  if (phase_ == Phase::opening) {
    fail("interrupted with " + std::to_string(opening_.open()) + " of " +
         tools::counted(opening_.wanted(), "connection") + " open");
  } else if (phase_ == Phase::warming_up) {
    fail("interrupted during the warm-up");
  }
  finish();
}

void Load::fail(const std::string& what) {
  if (report_.errors++ == 0) report_.first_error = what;
}

void Load::not_opened(Client& client, std::error_code error) {
  if (phase_ == Phase::over) return;
  const bool backlog_full = error == std::errc::resource_unavailable_try_again;
  if (backlog_full && opening_.again(client)) return;
  std::string hint;
  if (error == std::errc::connection_refused || error == std::errc::no_such_file_or_directory) {
    hint = " (is the server running there?)";
  } else if (error == std::errc::timed_out || backlog_full) {
    hint = " (after " + tools::seconds_text(options_.connect_timeout) + " s; --connect-timeout changes this time)";
  } else if (error == std::errc::address_not_available) {
    hint = " (no local port is free: open fewer connections)";
  }
  fail("connect to " + options_.address + ": " + error.message() + hint);
  finish();
}

void Load::lost(const std::string& what, std::size_t in_flight) {
  if (phase_ == Phase::over) return;
  fail(what);
  in_flight_ -= in_flight;
  // A client that may send always has a message in flight. So if no message is in flight, no active client is left, or
  // no client may send any more.
  if (phase_ == Phase::opening || (in_flight_ == 0 && !active_.empty())) finish();
}

void Load::each_second() {
  ++seconds_;
  silent_seconds_ = in_flight_ != 0 && bytes_ == bytes_then_ ? silent_seconds_ + 1 : 0;
  if (silent_seconds_ >= (phase_ == Phase::finishing ? kLastPatience : kPatience)) {
    fail("no byte came back for " + tools::counted(silent_seconds_, "second") + ", with " +
         tools::counted(in_flight_, "message") + " in flight");
    finish();
  } else if (options_.progress) {
    say_progress();
  }
  messages_then_ = messages_;
  bytes_then_ = bytes_;
}

void Load::say_progress() {
  if (phase_ == Phase::opening) {
    tools::print_line("onloop-load", std::to_string(opening_.open()) + " of " +
                                         tools::counted(opening_.wanted(), "connection") + " open");
    return;
  }
  char line[160];
  std::snprintf(line, sizeof line, "%u s%s: %llu messages/s, %.1f MB/s each way", seconds_,
                phase_ == Phase::warming_up ? " (warming up)" : "",
                static_cast<unsigned long long>(messages_ - messages_then_),
                static_cast<double>(bytes_ - bytes_then_) * 1e-6);
  tools::print_line("onloop-load", line);
}

}  // namespace load
