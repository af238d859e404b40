#include "onloop-load/options.hpp"

#include <unistd.h>
#include <onloop/onloop.hpp>

#include <system_error>

#include "common/command.hpp"
#include "common/open_files.hpp"

namespace load {
namespace {

constexpr char kFooter[] =
    "The latency of a message is the time from its write until its last byte is back.\n"
    "SIGINT and SIGTERM end the run early and print the result so far.\n"
    "Addresses: 127.0.0.1:8080, [::1]:8080, localhost:8080, unix:/run/echo.sock,\n"
    "  unix:@name.\n"
    "Exit status: 0 no error, 1 a byte was wrong, or a connection was refused or\n"
    "  lost, 2 wrong command line.";

// Nobody needs more, and products of these numbers do not overflow.
constexpr std::uint64_t kMostConnections = 1'000'000;
constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 40;
constexpr std::uint64_t kMostWindow = 1'000'000;

// Descriptors that are not connections: the standard streams, those of the loop and of the signals, and a reserve.
constexpr std::uint64_t kOtherFiles = 32;

struct Flags {
  bool progress = false;
  bool quiet = false;
};

// Describes all options of the command line. They are stored in `options` and `flags`.
void declare(CLI::App& app, Options& options, Flags& flags) {
  using tools::add_value;
  using tools::to_count;
  using tools::to_seconds;
  app.set_help_flag("-h,--help", "Print this and exit");
  app.set_version_flag("--version", "onloop-load " ONLOOP_VERSION, "Print the version and exit");
  app.add_option("ADDRESS", options.address, "Address of the echo server. Default: 127.0.0.1:8080")
      ->option_text(" ");  // --help shows only the name
  add_value(app, "--connections", "N", "Connections that carry messages. Default: 50",
            [&options](const std::string& text) {
              options.connections = to_count("--connections", text, 0, kMostConnections);
            });
  add_value(app, "--size", "BYTES", "Size of a message. Default: 64",
            [&options](const std::string& text) { options.size = to_count("--size", text, 1, kMostBytes); });
  add_value(app, "--window", "W", "Messages in flight on each connection. Default: 1",
            [&options](const std::string& text) { options.window = to_count("--window", text, 1, kMostWindow); });
  add_value(app, "--idle", "I", "Connections that only stay open. Default: 0",
            [&options](const std::string& text) { options.idle = to_count("--idle", text, 0, kMostConnections); });
  CLI::Option* const duration =
      add_value(app, "--duration", "SECONDS", "Measure for this time. Default: 5",
                [&options](const std::string& text) { options.duration = to_seconds("--duration", text); });
  CLI::Option* const warmup =
      add_value(app, "--warmup", "SECONDS", "Run for this time before measuring. Default: 0",
                [&options](const std::string& text) { options.warmup = to_seconds("--warmup", text); });
  add_value(app, "--messages", "TOTAL", "Send exactly this number of messages in total,\nhowever long it takes",
            [&options](const std::string& text) { options.messages = to_count("--messages", text, 1, UINT64_MAX); })
      ->excludes(duration, warmup);
  add_value(app, "--connect-timeout", "SECONDS",
            "Give up connecting after this time. Default: 10.\n0: when the kernel gives up",
            [&options](const std::string& text) { options.connect_timeout = to_seconds("--connect-timeout", text); });
  add_value(app, "--loop", "NAME", "Run on this event loop; onloop-echo --list-loops\nlists them. Default: native",
            [&options](const std::string& name) { options.loop = name; });
  app.add_flag("--json", options.json, "Print the result as one JSON object");
  app.add_flag("--progress", flags.progress,
               "Print the progress every second, on standard error.\nDefault: if standard error is a terminal");
  app.add_flag("--quiet", flags.quiet, "Do not print the progress, even on a terminal");
}

void check(const Options& options) {
  onloop::Address address;
  try {
    static_cast<void>(onloop::loop_by_name(options.loop));
    address = onloop::Address::parse(options.address);
  } catch (const std::system_error& error) {
    throw tools::UsageError(error);
  }
  using Family = onloop::Address::Family;
  const Family family = address.family();
  if (family == Family::inherited)
    throw tools::UsageError(options.address + ": this is a listening socket; give the address of a server");
  if (family != Family::unix_path && family != Family::unix_abstract && address.port() == 0) {
    throw tools::UsageError(options.address + ": no server has port 0; give the port of the server");
  }
  if (options.connections == 0 && options.idle == 0) {
    throw tools::UsageError("--connections 0 without --idle: there is nothing to do");
  }
  if (options.connections == 0 && options.messages) {
    throw tools::UsageError("--messages needs at least one connection, not --connections 0");
  }
  if (!options.messages && options.duration.count() == 0) {
    throw tools::UsageError("--duration must be above 0");
  }
  const std::uint64_t sockets = options.connections + options.idle;
  const std::uint64_t limit = tools::raise_open_file_limit();
  if (limit < kOtherFiles || sockets > limit - kOtherFiles) {
    throw tools::UsageError(tools::counted(sockets, "connection") + " need " + std::to_string(sockets + kOtherFiles) +
                            " open files, and the limit is " + std::to_string(limit) +
                            ": open fewer, or raise the hard limit (ulimit -Hn)");
  }
}

}  // namespace

std::optional<Options> read_options(int argc, const char* const* argv) {
  Options options;
  Flags flags;
  CLI::App app{"Loads an echo server, checks every byte that comes back, and prints rate and latency.", "onloop-load"};
  app.get_formatter()->column_width(28);
  app.get_formatter()->label("Positionals", "Arguments");
  app.footer(kFooter);
  declare(app, options, flags);
  if (!tools::parse_command_line(app, argc, argv)) return std::nullopt;
  if (flags.quiet && flags.progress) throw tools::UsageError("give --quiet or --progress, not both");
  options.progress = flags.progress || (!flags.quiet && isatty(STDERR_FILENO) == 1);
  check(options);
  return options;
}

}  // namespace load
