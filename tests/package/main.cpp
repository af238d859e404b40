// Echo round-trip of a program that knows only the installed package.
#include <onloop/onloop.hpp>

#include <iostream>
#include <string>

namespace {

class Greeter : public onloop::Protocol {
 public:
  void on_open(onloop::Connection& connection) override { connection.write(kGreeting); }
  void on_data(onloop::Connection& connection, std::span<const std::byte> data) override {
    answer_.append(reinterpret_cast<const char*>(data.data()), data.size());
    if (answer_.size() >= kGreeting.size()) connection.close();
  }
  void on_close(onloop::Connection& connection, std::error_code error) override {
    if (error) std::cerr << "outside: " << error.message() << '\n';
    connection.context().stop();
  }
  [[nodiscard]] bool greeted() const { return answer_ == kGreeting; }

 private:
  static constexpr std::string_view kGreeting = "hello from outside the tree";
  std::string answer_;
};

}  // namespace

int main() {
  onloop::Echo echo;
  Greeter greeter;
  onloop::Context context{onloop::native()};
  const onloop::Listener& listener = context.listen("127.0.0.1:0", echo);
  context.connect(listener.address().to_string(), greeter);
  context.run();
  return greeter.greeted() ? 0 : 1;
}
