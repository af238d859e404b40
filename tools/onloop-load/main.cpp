// onloop-load: a load generator for any echo server on a stream socket, built on onloop itself.
#include "common/command.hpp"
#include "onloop-load/load.hpp"
#include "onloop-load/options.hpp"
#include "onloop-load/report.hpp"

int main(int argc, char** argv) {
  return tools::run_command("onloop-load", [&] {
    const auto options = load::read_options(argc, argv);
    if (!options) return 0;
    const load::Report report = load::Load{*options}.run();
    if (report.measured) {
      tools::print_out(options->json ? load::as_json(*options, report) : load::as_text(*options, report));
    }
    if (report.errors == 0) return 0;
    tools::print_line("onloop-load", report.errors == 1 ? report.first_error
                                                        : report.first_error + ", the first of " +
                                                              tools::counted(report.errors, "error"));
    return tools::kExitRunTime;
  });
}
