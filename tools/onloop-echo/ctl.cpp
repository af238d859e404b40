#include "onloop-echo/ctl.hpp"

#include <onloop/onloop.hpp>

#include <chrono>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/command.hpp"
#include "onloop-echo/control_path.hpp"

namespace echo {
namespace {

constexpr char kFooter[] =
    "Commands:\n"
    "  stats                             statistics, as one JSON object\n"
    "  loops                             the event loops, as one JSON array\n"
    "  cutover NAME [direct|aggregate]   move to this loop, with all connections\n"
    "  drain                             stop listening, let connections end, exit\n"
    "  shutdown                          stop now\n"
    "Exit status: 0 done, 1 refused or no answer, 2 wrong command line.";

struct Question {
  std::string path;
  std::string command;
  std::chrono::nanoseconds patience = std::chrono::seconds{10};  // far above any time that an answer takes
};

std::optional<Question> read_question(int argc, const char* const* argv) {
  Question question;
  std::vector<std::string> words;
  CLI::App app{"Sends one command to a running onloop-echo through its control socket.", "onloop-echo ctl"};
  app.get_formatter()->column_width(28);
  app.get_formatter()->label("Positionals", "Arguments");
  app.footer(kFooter);
  app.set_help_flag("-h,--help", "Print this and exit");
  tools::add_value(app, "--timeout", "SECONDS", "How long to wait for the answer (default: 10)",
                   [&](const std::string& text) { question.patience = tools::to_seconds("--timeout", text); });
  app.add_option("PATH", question.path, "The path that the server has as --control")->required()->option_text(" ");
  app.add_option("COMMAND", words, "The command, in one or more words")->required()->option_text("...");
  if (!tools::parse_command_line(app, argc, argv)) return std::nullopt;
  for (const std::string& word : words) question.command += (question.command.empty() ? "" : " ") + word;
  if (question.command != tools::one_line(question.command)) {
    throw tools::UsageError("the command must be one line without control characters");
  }
  std::string first;
  std::istringstream{question.command} >> first;
  if (first == "takeover") {  // after its answer, the old server would wait for a new server to speak
    throw tools::UsageError("to take over, start the new server: onloop-echo --takeover " + question.path);
  }
  return question;
}

// Every answer is far shorter. A false server at the path can't fill the memory.
constexpr std::size_t kLongestAnswer = std::size_t{1} << 20;

/// Sends one line and receives one.
class Exchange final : public onloop::Protocol {
 public:
  Exchange(onloop::Context& context, std::string line) : context_(context), line_(std::move(line)) {}

  [[nodiscard]] const std::string& answer() const noexcept { return answer_; }
  [[nodiscard]] std::error_code error() const noexcept { return error_; }
  /// What is wrong with the server, or an empty text.
  [[nodiscard]] const std::string& refusal() const noexcept { return refusal_; }

  void on_open(onloop::Connection& connection) override {
    if (std::string stranger = stranger_at(connection.fd()); !stranger.empty()) {
      refusal_ = std::move(stranger);
      connection.abort();
    } else {
      connection.write(line_);
    }
  }
  void on_data(onloop::Connection& connection, std::span<const std::byte> data) override {
    const std::string_view text{reinterpret_cast<const char*>(data.data()), data.size()};
    const std::size_t end = text.find('\n');
    answer_.append(text.substr(0, end == text.npos ? end : end + 1));
    if (answer_.size() > kLongestAnswer) refusal_ = "the answer has more than 1 MiB";
    if (end != text.npos || !refusal_.empty()) connection.abort();
  }
  void on_close(onloop::Connection&, std::error_code error) override {
    error_ = error;
    context_.stop();
  }

 private:
  onloop::Context& context_;
  const std::string line_;
  std::string answer_;
  std::string refusal_;
  std::error_code error_;
};

/// The answer to the command, without its newline.
std::string ask(const Question& question) {
  const onloop::Address address = control_address(question.path);
  onloop::Context context{onloop::native()};
  Exchange exchange{context, question.command + "\n"};
  bool late = false;
  const onloop::Timer timer = context.timer(question.patience, [&] {
    late = true;
    context.stop();
  });
  context.connect(address, exchange);
  context.run();
  if (!exchange.refusal().empty()) throw std::runtime_error(question.path + ": " + exchange.refusal());
  if (late) {
    throw std::runtime_error(question.path + ": no answer within " + tools::seconds_text(question.patience) +
                             " seconds");
  }
  std::string answer = exchange.answer();
  if (answer.ends_with('\n')) {
    answer.pop_back();
    return answer;
  }
  if (const std::error_code error = exchange.error()) {
    const bool nobody = error == std::errc::connection_refused || error == std::errc::no_such_file_or_directory;
    throw std::runtime_error(question.path + ": " + error.message() +
                             (nobody ? " (no server runs with this --control)" : ""));
  }
  throw std::runtime_error(question.path + ": the server closed the connection without an answer");
}

}  // namespace

int run_ctl(int argc, const char* const* argv) {
  const auto question = read_question(argc, argv);
  if (!question) return 0;
  constexpr std::string_view kOk = "ok ";
  constexpr std::string_view kError = "error ";
  const std::string answer = ask(*question);
  if (answer.starts_with(kError)) throw std::runtime_error(answer.substr(kError.size()));
  if (!answer.starts_with(kOk)) {
    constexpr std::size_t kLongestQuote = 200;
    throw std::runtime_error(question->path + ": not an answer of onloop-echo: " + answer.substr(0, kLongestQuote));
  }
  tools::print_out(tools::one_line(answer.substr(kOk.size())) + "\n");
  return 0;
}

}  // namespace echo
