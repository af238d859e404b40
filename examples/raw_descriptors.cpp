// Descriptors that are not sockets, beside echo in one context. The first is a serial line. Here it is a
// pseudo-terminal, and any terminal program may open its other end. The second tells of changes in a directory. The
// third is standard input, whose lines are sent on the serial line. The program prints what comes.
//
//     raw_descriptors DIRECTORY [LOOP[:direct|:aggregate]]      default: native; SIGINT or SIGTERM end it
//
//     serial line at /dev/pts/7     then, in another terminal:     socat - /dev/pts/7,raw,echo=0
#include <fcntl.h>
#include <signal.h>
#include <sys/inotify.h>
#include <termios.h>
#include <unistd.h>
#include <onloop/onloop.hpp>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "loop_argument.hpp"
#include "parts.hpp"

namespace {

/// Takes the ownership of the result of a system call that opens `what`.
onloop::Descriptor opened(int fd, const char* what) {
  if (fd < 0) throw std::system_error(errno, std::generic_category(), what);
  return onloop::Descriptor(fd);
}

/// Divides the bytes of a descriptor into whole lines.
class Lines {
 public:
  /// Reads once and calls `each` with every whole line. The descriptor must be ready, so the read does not block.
  ///
  /// @return False if nothing more will come.
  bool read(int fd, const std::function<void(std::string_view)>& each) {
    char buffer[4096];
    const ssize_t count = ::read(fd, buffer, sizeof buffer);
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) return false;
    if (count > 0) text_.append(buffer, static_cast<std::size_t>(count));
    for (std::size_t end; (end = text_.find('\n')) != std::string::npos; text_.erase(0, end + 1)) {
      each(std::string_view{text_}.substr(0, end));
    }
    return true;
  }

 private:
  std::string text_;
};

/// A pseudo-terminal as a serial line: what one end writes, the other end reads unchanged.
class SerialLine {
 public:
  SerialLine() {
    termios settings{};
    tcgetattr(theirs_.get(), &settings);
    cfmakeraw(&settings);
    tcsetattr(theirs_.get(), TCSANOW, &settings);
  }
  [[nodiscard]] int fd() const noexcept { return ours_.get(); }
  [[nodiscard]] const char* path() const noexcept { return ptsname(ours_.get()); }
  /// @return False if the text was not sent, because nobody reads at the other end and the kernel has no room for more.
  [[nodiscard]] bool send(const std::string& text) const {
    return write(ours_.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
  }

 private:
  [[nodiscard]] int open_other_end() const {
    if (unlockpt(ours_.get()) != 0) return -1;
    return open(path(), O_RDWR | O_NOCTTY | O_CLOEXEC);
  }

  onloop::Descriptor ours_ = opened(posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC), "open a pseudo-terminal");
  // The other end stays open. If nobody had it open, our end would report a hang-up again and again.
  onloop::Descriptor theirs_ = opened(open_other_end(), "open the other end of a pseudo-terminal");
};

std::string change(const inotify_event& event) {
  const std::string name = event.len > 0 ? event.name : "";
  if (event.mask & IN_Q_OVERFLOW) return "directory: more changes than the kernel keeps";
  if (event.mask & IN_IGNORED) return "directory: removed";
  if (event.mask & (IN_CREATE | IN_MOVED_TO)) return "directory: new " + name;
  if (event.mask & IN_CLOSE_WRITE) return "directory: written " + name;
  return "directory: gone " + name;
}

/// Prints the changes that have come. It reads once, as with any other descriptor.
void tell_changes(int fd) {
  alignas(inotify_event) char buffer[16 * (sizeof(inotify_event) + NAME_MAX + 1)];
  const ssize_t count = read(fd, buffer, sizeof buffer);
  for (ssize_t at = 0; at < count;) {
    const auto& event = *reinterpret_cast<const inotify_event*>(buffer + at);
    example::say(change(event));
    at += static_cast<ssize_t>(sizeof event + event.len);
  }
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 2) {
    std::fprintf(stderr, "usage: raw_descriptors DIRECTORY [LOOP[:direct|:aggregate]]\n");
    return 2;
  }
  const SerialLine serial;
  const onloop::Descriptor directory = opened(inotify_init1(IN_NONBLOCK | IN_CLOEXEC), "make an inotify descriptor");
  const unsigned changes = IN_CREATE | IN_CLOSE_WRITE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR;
  if (inotify_add_watch(directory.get(), argv[1], changes) < 0) {
    throw std::system_error(errno, std::generic_category(), std::string("watch the directory ") + argv[1]);
  }

  onloop::Echo echo;
  onloop::Context context{example::loop_of(argc > 2 ? argv[2] : "native")};
  const onloop::Listener& listener = context.listen("127.0.0.1:0", echo);

  Lines received;
  const onloop::Watch on_serial = context.watch(serial.fd(), onloop::Interest::read, [&](onloop::Interest) {
    received.read(serial.fd(), [](std::string_view line) { example::say("serial: " + std::string(line)); });
  });
  const onloop::Watch on_directory =
      context.watch(directory.get(), onloop::Interest::read, [&](onloop::Interest) { tell_changes(directory.get()); });
  Lines typed;
  onloop::Watch on_input;
  try {
    on_input = context.watch(STDIN_FILENO, onloop::Interest::read, [&](onloop::Interest) {
      const bool more = typed.read(STDIN_FILENO, [&](std::string_view line) {
        example::say("input: " + std::string(line));
        if (!serial.send(std::string(line) + "\n")) example::say("the serial line is full: not sent");
      });
      if (!more) {
        on_input.cancel();  // cancel it, since an end of file stays readable
        example::say("input: end");
      }
    });
  } catch (const std::system_error& error) {  // standard input is a file: it is always ready, so no loop watches it
    std::fprintf(stderr, "raw_descriptors: standard input is left alone: %s\n", error.code().message().c_str());
  }
  const onloop::Signal interrupt = context.on_signal(SIGINT, [&] { context.stop(); });
  const onloop::Signal terminate = context.on_signal(SIGTERM, [&] { context.stop(); });

  example::say("listening on " + listener.address().to_string() + " (" + std::string(context.loop().name()) + ")");
  example::say(std::string("serial line at ") + serial.path());
  context.run();
} catch (const std::exception& error) {
  std::fprintf(stderr, "raw_descriptors: %s\n", error.what());
  return 1;
}
