// A child process as part of a loop. The program writes to the standard input of the child and prints the child's
// output as it comes. At the end it prints how the child ended.
//
//     child_process [--loop NAME] [PROGRAM [ARGUMENT...]]      default: sort, on the native loop
//
// The program exits with 0 if the child did. SIGINT or SIGTERM kill the child.
#include <signal.h>
#include <onloop/onloop.hpp>

#include <cstddef>
#include <cstdio>
#include <exception>
#include <functional>
#include <span>
#include <string>
#include <system_error>
#include <utility>

namespace {

/// The standard input of the child: some lines, and then the end of file.
class Feeding : public onloop::Protocol {
  void on_open(onloop::Connection& connection) override {
    connection.write("one\ntwo\nthree\nfour\n");
    connection.shutdown_write();
  }
  void on_data(onloop::Connection&, std::span<const std::byte>) override {}
};

/// The standard output or standard error of the child: printed line by line.
class Printing : public onloop::Protocol {
 public:
  Printing(std::string name, std::function<void()> over) : name_(std::move(name)), over_(std::move(over)) {}

 private:
  void on_data(onloop::Connection&, std::span<const std::byte> data) override {
    text_.append(reinterpret_cast<const char*>(data.data()), data.size());
    for (std::size_t end; (end = text_.find('\n')) != std::string::npos; text_.erase(0, end + 1)) {
      print(text_.substr(0, end));
    }
  }
  void on_close(onloop::Connection&, std::error_code) override {
    if (!text_.empty()) print(text_);
    over_();
  }
  void print(const std::string& line) const {
    std::printf("%s: %s\n", name_.c_str(), line.c_str());
    std::fflush(stdout);
  }

  const std::string name_;
  const std::function<void()> over_;
  std::string text_;
};

}  // namespace

int main(int argc, char** argv) try {
  int next = 1;
  std::string loop = "native";
  if (argc > 2 && std::string(argv[1]) == "--loop") {
    loop = argv[2];
    next = 3;
  }
  onloop::SpawnOptions options;
  options.arguments.assign(argv + next, argv + argc);
  if (options.arguments.empty()) options.arguments = {"sort"};

  onloop::Context context{onloop::loop_by_name(loop)};
  // The end of the child and the ends of its two outputs can come in any order.
  int left = 3;
  const auto one_is_over = [&] {
    if (--left == 0) context.stop();
  };
  Feeding in;
  Printing out("out", one_is_over);
  Printing err("err", one_is_over);
  options.in = onloop::Stdio::stream(in);
  options.out = onloop::Stdio::stream(out);
  options.err = onloop::Stdio::stream(err);

  onloop::ExitStatus status;
  onloop::Process process = context.spawn(std::move(options), [&](onloop::ExitStatus came) {
    status = came;
    one_is_over();
  });
  const auto kill = [&] { process.kill(SIGKILL); };
  const onloop::Signal interrupted = context.on_signal(SIGINT, kill);
  const onloop::Signal terminated = context.on_signal(SIGTERM, kill);
  context.run();
  std::printf("child: %s\n", status.to_string().c_str());
  return status.success() ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "child_process: %s\n", error.what());
  return 1;
}
