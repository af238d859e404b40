#pragma once
#include <sys/types.h>
#include <onloop/descriptor.hpp>
#include <onloop/process.hpp>

#include <array>
#include <cstddef>
#include <string>
#include <vector>

namespace onloop::detail {

/// The start of one child process: checks the options, opens the descriptors that the child gets, and starts the
/// program. It knows no context. It lives on the stack of Context::spawn().
class Launch {
 public:
  static constexpr std::size_t kStreams = 3;
  /// The parent's end of a standard stream of the child.
  struct End {
    Descriptor fd;  // empty if the stream is not a Stdio::stream
    Protocol* protocol = nullptr;
    const Limits* limits = nullptr;
    std::string what;  // how an error about this stream begins
  };

  /// Checks the options and opens the descriptors. The options must outlive this object. Throws std::system_error.
  explicit Launch(const SpawnOptions& options);

  /// How an error begins: "spawn PROGRAM".
  [[nodiscard]] const std::string& what() const noexcept { return what_; }
  /// The parent's ends of standard input, output and error. The caller may take their descriptors.
  [[nodiscard]] std::array<End, kStreams>& ends() noexcept { return ends_; }

  /// Starts the program, and closes the child's descriptors in this process. Throws std::system_error; there is no
  /// child then.
  [[nodiscard]] pid_t start();

 private:
  void check_strings() const;
  void check_identity() const;
  void open_directory();
  void open_descriptors();
  [[nodiscard]] Descriptor moved_up(Descriptor fd) const noexcept;
  [[nodiscard]] pid_t spawn(char* const* arguments, char* const* environment) const;
  [[nodiscard]] pid_t fork_and_exec(char* const* arguments, char* const* environment) const;
  [[nodiscard]] Descriptor open_stream(const Stdio& stdio, std::size_t number);
  [[nodiscard]] Descriptor inherited(int number) const;
  [[nodiscard]] Descriptor null() const;

  const SpawnOptions& options_;
  std::string what_;
  Descriptor directory_;
  /// A descriptor that the child gets.
  struct Given {
    Descriptor fd;  // its number here is so high that no number of the child's overwrites it
    int number;     // its number in the child
  };

  int first_free_ = static_cast<int>(kStreams);  // higher than all numbers that the child gets
  std::vector<Given> given_;                     // in rising order of the child's numbers
  std::array<End, kStreams> ends_;
};

}  // namespace onloop::detail
