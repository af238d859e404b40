// onloop-echo: an echo server on any loop that onloop runs on.
#include "common/command.hpp"
#include "common/open_files.hpp"
#include "onloop-echo/options.hpp"
#include "onloop-echo/service.hpp"

int main(int argc, char** argv) {
  return tools::run_command("onloop-echo", [&] {
    const auto options = echo::read_options(argc, argv);
    if (!options) return 0;
    tools::raise_open_file_limit();
    echo::Service service{*options};
    service.run();
    return 0;
  });
}
