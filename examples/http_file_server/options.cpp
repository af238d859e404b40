#include "options.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <map>

namespace http {
namespace {

constexpr int kExitRunTime = 1;
constexpr int kExitUsage = 2;
constexpr double kLongestTimeout = 24 * 60 * 60;

void declare_loop(CLI::App& app, Options& options) {
  const std::map<std::string, onloop::Hosting> hostings{{"direct", onloop::Hosting::direct},
                                                        {"aggregate", onloop::Hosting::aggregate}};
  app.add_option("--loop", options.loop, "Run on this event loop. Default: native")->option_text("NAME");
  app.add_option_function<std::string>(
         "--hosting", [&options, hostings](const std::string& name) { options.hosting = hostings.at(name); },
         "The loop watches each descriptor (direct), or one for all (aggregate). Default: that of the loop")
      ->check(CLI::IsMember(hostings))
      ->option_text("direct|aggregate");
  app.add_option("--workers", options.context.worker_threads, "Threads that read files. Default: 4")
      ->check(CLI::Range(1, 1024))
      ->option_text("N");
  app.add_option("--queue", options.context.worker_queue,
                 "Requests that may wait for a thread. Further requests get 503. Default: 1024")
      ->check(CLI::Range(1, 1'000'000))
      ->option_text("N");
}

}  // namespace

int run_server(Kind kind, int argc, const char* const* argv, const std::function<void(const Options&)>& serve) {
  const std::string name = std::filesystem::path(argv[0]).filename();
  try {
    Options options;
    CLI::App app{"Serves the files below a directory by HTTP.", name};
    app.add_option("ROOT", options.root, "The directory")->required();
    app.add_option_function<std::string>(
           "--listen", [&options](const std::string& text) { options.listen = onloop::Address::parse(text); },
           "Default: 127.0.0.1:0, a port that is free")
        ->option_text("ADDRESS");
    app.add_option_function<double>(
           "--timeout",
           [&options](double seconds) {
             options.timeout = std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9));
           },
           "Longest time for a request to arrive, and longest time without any byte. Default: 30")
        ->check(CLI::Range(0.001, kLongestTimeout))
        ->option_text("SECONDS");
    if (kind == Kind::with_loop) declare_loop(app, options);
    try {
      app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      if (error.get_exit_code() == 0) return app.exit(error);  // --help
      std::fprintf(stderr, "%s: %s (see --help)\n", name.c_str(), error.what());
      return kExitUsage;
    }
    serve(options);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", name.c_str(), error.what());
    return kExitRunTime;
  }
}

void say_listening(const onloop::Address& address, const std::string& name) {
  std::printf("listening on %s (%s)\n", address.to_string().c_str(), name.c_str());
  std::fflush(stdout);
}

}  // namespace http
