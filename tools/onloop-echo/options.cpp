#include "onloop-echo/options.hpp"

#include <onloop/onloop.hpp>

#include <system_error>

#include "common/command.hpp"
#include "onloop-echo/control_path.hpp"
#include "onloop-echo/loops.hpp"

namespace echo {
namespace {

constexpr std::uint64_t kMostWorkers = 256;

constexpr char kFooter[] =
    "Addresses: 127.0.0.1:8080, [::1]:8080, localhost:8080 (IPv4 and IPv6),\n"
    "  unix:/run/echo.sock, unix:@name, fd:3 or fd:NAME (a listening socket that the\n"
    "  service manager passes in). Port 0 takes a free one.\n"
    "Signals: SIGINT and SIGTERM stop listening and wait for open connections to\n"
    "  end; a second one stops at once. SIGUSR1 prints statistics. SIGUSR2 moves the\n"
    "  server with all its connections to the next available event loop.\n"
    "Control: onloop-echo ctl PATH COMMAND...; see onloop-echo ctl --help.\n"
    "systemd: use Type=notify, with or without socket activation.\n"
    "Exit status: 0 stopped on request, 1 error at run time, 2 wrong command line.";

/// What the command line says and Options does not have.
struct Flags {
  std::vector<std::string> listen;
  bool list_loops = false;
  bool quiet = false;
  bool verbose = false;
};

onloop::Hosting to_hosting(const std::string& name) {
  if (const auto hosting = hosting_of(name)) return *hosting;
  throw tools::UsageError("--hosting must be direct or aggregate, not \"" + name + "\"");
}

// Describes all options of the command line. They are stored in `options` and `flags`.
void declare(CLI::App& app, Options& options, Flags& flags) {
  using tools::add_value;
  using tools::to_count;
  using tools::to_seconds;
  app.set_help_flag("-h,--help", "Print this and exit");
  app.set_version_flag("--version", "onloop-echo " ONLOOP_VERSION, "Print the version and exit");
  app.add_option("--listen", flags.listen,
                 "Listen on this address; may be given several times.\nDefault: 127.0.0.1:8080")
      ->type_name("ADDRESS")
      ->option_text("ADDRESS")
      ->allow_extra_args(false);
  add_value(app, "--loop", "NAME", "Run on this event loop. Default: native",
            [&options](const std::string& name) { options.loop = name; });
  add_value(app, "--hosting", "direct|aggregate",
            "direct: the loop watches each descriptor; aggregate:\n"
            "it watches one for all. Default: aggregate, but\ndirect for native loops",
            [&options](const std::string& name) { options.hosting = to_hosting(name); });
  add_value(
      app, "--workers", "N",
      "Serve on N threads, each with a loop of its own; the\nkernel spreads new connections over them. Default: 1",
      [&options](const std::string& text) { options.workers = to_count("--workers", text, 1, kMostWorkers); });
  app.add_flag("--list-loops", flags.list_loops,
               "List the event loops, what each is and whether it is\navailable, and exit");
  add_value(app, "--max-connections", "N", "Turn new clients away while N are connected.\nDefault: no limit",
            [&options](const std::string& text) {
              options.max_connections = to_count("--max-connections", text, 1, SIZE_MAX);
            });
  add_value(app, "--idle-timeout", "SECONDS", "Close a connection after this time without a byte.\nDefault: 0, never",
            [&options](const std::string& text) { options.idle_timeout = to_seconds("--idle-timeout", text); });
  add_value(app, "--drain-timeout", "SECONDS",
            "When told to stop, wait at most this time for\nconnections to end. Default: 5",
            [&options](const std::string& text) { options.drain_timeout = to_seconds("--drain-timeout", text); });
  add_value(app, "--stats", "SECONDS",
            "Print statistics at this interval and at the end, on\n"
            "standard error: one JSON object per line.\nDefault: 0, never",
            [&options](const std::string& text) { options.stats_period = to_seconds("--stats", text); });
  add_value(app, "--control", "PATH", "Accept commands of the same user on a UNIX socket at\nthis path. Default: none",
            [&options](const std::string& path) { options.control = control_address(path); });
  add_value(app, "--takeover", "PATH",
            "Take over the addresses and the live connections of\nthe server with this --control, which then exits.\n"
            "--listen and --control add to what that server had",
            [&options](const std::string& path) {
              static_cast<void>(control_address(path));
              options.takeover = path;
            });
  app.add_flag("--replace-stale", options.replace_stale, "Remove the file of a UNIX socket of a dead server");
  app.add_flag("--quiet", flags.quiet, "Log errors only");
  app.add_flag("--verbose", flags.verbose, "Log the start and end of each connection, too");
}

std::vector<onloop::Address> to_addresses(const std::vector<std::string>& texts) {
  std::vector<onloop::Address> addresses;
  try {
    for (const std::string& text : texts) addresses.push_back(onloop::Address::parse(text));
  } catch (const std::system_error& error) {
    throw tools::UsageError(error);
  }
  return addresses;
}

// Several workers share an address by SO_REUSEPORT, which works only for ports.
void check_workers(const Options& options) {
  if (options.workers == 1) return;
  if (!options.takeover.empty()) throw tools::UsageError("--takeover needs --workers 1");
  for (const onloop::Address& address : options.listen) {
    using Family = onloop::Address::Family;
    const Family family = address.family();
    if (family == Family::unix_path || family == Family::unix_abstract || family == Family::inherited) {
      throw tools::UsageError("--listen " + address.to_string() +
                              " needs --workers 1: several workers can share only a port");
    }
  }
}

}  // namespace

std::optional<Options> read_options(int argc, const char* const* argv) {
  Options options;
  Flags flags;
  CLI::App app{"Sends back what its clients send (RFC 862), on the event loop of your choice.", "onloop-echo"};
  app.get_formatter()->column_width(28);
  app.footer(kFooter);
  declare(app, options, flags);
  if (!tools::parse_command_line(app, argc, argv)) return std::nullopt;
  if (flags.list_loops) {
    tools::print_out(loops_text());
    return std::nullopt;
  }
  if (flags.quiet && flags.verbose) throw tools::UsageError("give --quiet or --verbose, not both");
  if (flags.quiet) options.verbosity = Verbosity::quiet;
  if (flags.verbose) options.verbosity = Verbosity::verbose;
  if (flags.listen.empty() && options.takeover.empty()) flags.listen.emplace_back("127.0.0.1:8080");
  // Asks the library about the loop, too. So a wrong name is reported as a wrong command line, and not as an error at
  // run time.
  static_cast<void>(loop_of(options.loop, options.hosting));
  options.listen = to_addresses(flags.listen);
  check_workers(options);
  return options;
}

}  // namespace echo
