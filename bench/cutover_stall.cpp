// Measures how long a cutover keeps a context from serving. It moves a context with many idle connections to and fro
// between two loops, and prints a JSON object. run.py starts this program.

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <onloop/onloop.hpp>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;

/// The clients. They connect `count` times and then wait to be killed. They run in a process of their own, so that half
/// of the descriptors count there.
class Clients {
 public:
  Clients(const onloop::Address& server, int count) : process_(fork()) {
    if (process_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (process_ == 0) connect_and_wait(server, count);
  }
  Clients(const Clients&) = delete;
  Clients& operator=(const Clients&) = delete;
  ~Clients() {
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }

 private:
  [[noreturn]] static void connect_and_wait(const onloop::Address& server, int count) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    std::memcpy(to.sun_path + 1, server.name().data(), server.name().size());
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + server.name().size());
    for (int i = 0; i < count; ++i) {
      const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
      if (fd < 0 || connect(fd, reinterpret_cast<const sockaddr*>(&to), length) < 0) {
        std::perror("cutover_stall: connect");
        _exit(1);
      }
    }
    for (;;) pause();
  }
  pid_t process_;
};

/// @param words The name of a loop and, if wanted, its hosting: "native", "glib direct".
onloop::Loop loop_called(const std::string& words) {
  const std::size_t space = words.find(' ');
  const onloop::Loop loop = onloop::loop_by_name(words.substr(0, space));
  if (space == std::string::npos) return loop;
  return words.substr(space + 1) == "direct" ? loop.direct() : loop.aggregate();
}

/// Moves the context again each time that the loop to which it moved has served it.
class RepeatedCutover {
 public:
  RepeatedCutover(onloop::Context& context, const std::string& there, const std::string& back, int round_trips)
      : context_(context), loops_{there, back}, left_(2 * round_trips) {}

  void start() { move(); }
  [[nodiscard]] const std::vector<double>& stalls(int direction) const { return stalls_[direction]; }

 private:
  void move() {
    if (left_-- == 0) {
      context_.stop();
      return;
    }
    context_.move_to(loop_called(loops_[next_]));
    context_.post([this] {
      stalls_[next_].push_back(std::chrono::duration<double, std::micro>(context_.statistics().last_stall).count());
      next_ = 1 - next_;
      move();
    });
  }

  onloop::Context& context_;
  const std::string loops_[2];
  std::vector<double> stalls_[2];
  int next_ = 0;
  int left_;
};

std::string json_of(const std::vector<double>& values) {
  std::string text = "[";
  for (const double value : values) text += (text.size() > 1 ? ", " : "") + std::to_string(value);
  return text + "]";
}

void measure(const std::string& from, const std::string& to, int connections, int round_trips) {
  onloop::Echo echo;
  onloop::Context context{loop_called(from)};
  const onloop::Listener& listener = context.listen("unix:@onloop-cutover-stall-" + std::to_string(getpid()), echo);
  const Clients clients(listener.address(), connections);
  RepeatedCutover cutovers(context, to, from, round_trips);
  const onloop::Timer all_there = context.every(1ms, [&, started = false]() mutable {
    if (started || listener.connection_count() < static_cast<std::size_t>(connections)) return;
    started = true;
    cutovers.start();
  });
  context.run();
  std::printf("{\"there_us\": %s, \"back_us\": %s}\n", json_of(cutovers.stalls(0)).c_str(),
              json_of(cutovers.stalls(1)).c_str());
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 5) {
    std::fprintf(stderr, "usage: cutover_stall FROM TO CONNECTIONS ROUND-TRIPS\n");
    return 2;
  }
  measure(argv[1], argv[2], std::atoi(argv[3]), std::atoi(argv[4]));
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "cutover_stall: %s\n", error.what());
  return 1;
}
