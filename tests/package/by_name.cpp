// The arguments are names of loops. The program is linked to none of their shims and must find all of them. Prints the
// names.
#include <onloop/onloop.hpp>

#include <iostream>

int main(int argc, char** argv) try {
  for (int i = 1; i < argc; ++i) {
    onloop::Context context{onloop::loop_by_name(argv[i])};
    std::cout << context.loop().name() << '\n';
  }
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
