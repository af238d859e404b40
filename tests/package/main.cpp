// A program that knows only the installed package. It makes echo round trips on each loop whose shim it links.
#include <onloop/coroutine.hpp>
#include <onloop/onloop.hpp>
#ifdef WITH_libevent
#include <onloop/libevent.hpp>
#endif
#ifdef WITH_libuv
#include <onloop/libuv.hpp>
#endif
#ifdef WITH_glib
#include <onloop/glib.hpp>
#endif
#ifdef WITH_sdevent
#include <onloop/sdevent.hpp>
#endif

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

bool greets_on(onloop::Loop loop) {
  onloop::Echo echo;
  Greeter greeter;
  onloop::Context context{loop};
  const onloop::Listener& listener = context.listen("127.0.0.1:0", echo);
  context.connect(listener.address().to_string(), greeter);
  context.run();
  std::cout << loop.name() << (greeter.greeted() ? ": good\n" : ": bad\n");
  return greeter.greeted();
}

/// The same by a coroutine and a server with the API of onloop::node.
bool greets_by_coroutine() {
  onloop::Context context{onloop::native()};
  std::string answer;
  const onloop::node::Server server = onloop::node::create_server(context, [](const onloop::node::Socket& socket) {
    socket.on_data([socket](std::string_view text) { socket.write(text); });
  });
  server.listen(0, [&] {
    onloop::co::spawn(context, [&]() -> onloop::co::Async<> {
      onloop::co::Stream connection = co_await onloop::co::connect(server.address().to_string());
      co_await connection.write("hello");
      if (const auto data = co_await connection.read()) {
        answer.assign(reinterpret_cast<const char*>(data->data()), data->size());
      }
      server.close();
    });
  });
  context.run();
  std::cout << "coroutine" << (answer == "hello" ? ": good\n" : ": bad\n");
  return answer == "hello";
}

}  // namespace

int main() {
  bool good = greets_on(onloop::native());
  good &= greets_by_coroutine();
#ifdef WITH_libevent
  good &= greets_on(onloop::libevent());
#endif
#ifdef WITH_libuv
  good &= greets_on(onloop::libuv());
#endif
#ifdef WITH_glib
  good &= greets_on(onloop::glib());
#endif
#ifdef WITH_sdevent
  good &= greets_on(onloop::sdevent());
#endif
  return good ? 0 : 1;
}
