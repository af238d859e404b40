// onloop-echo: an echo server on any loop that onloop can run on.
#include <string_view>

#include "common/command.hpp"
#include "common/open_files.hpp"
#include "onloop-echo/ctl.hpp"
#include "onloop-echo/options.hpp"
#include "onloop-echo/service.hpp"

int main(int argc, char** argv) {
  return tools::run_command("onloop-echo", [&] {
    if (argc > 1 && std::string_view{argv[1]} == "ctl") return echo::run_ctl(argc - 1, argv + 1);
    const auto options = echo::read_options(argc, argv);
    if (!options) return 0;
    tools::raise_open_file_limit();
    echo::Service service{*options};
    service.run();
    return 0;
  });
}
