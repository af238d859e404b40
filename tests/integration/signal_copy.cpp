// A module with a second copy of the code of onloop that handles signals. A process has two copies, for example, if a
// plugin is linked statically with onloop.
#include <memory>

#include "core/runtime/mailbox.hpp"
#include "core/runtime/signal_table.hpp"

namespace {

std::shared_ptr<onloop::detail::Mailbox> mailbox;
std::unique_ptr<onloop::detail::SignalSubscription> watch;

}  // namespace

extern "C" {
[[gnu::visibility("default")]] void copy_begin(int number) {
  mailbox = std::make_shared<onloop::detail::Mailbox>();
  watch = std::make_unique<onloop::detail::SignalSubscription>(number, mailbox);
}
[[gnu::visibility("default")]] void copy_end() {
  watch.reset();
  mailbox.reset();
}
[[gnu::visibility("default")]] void copy_look() {
  onloop::detail::SignalSubscription::look_after_all();
}
/// True if a signal has come since the last call.
[[gnu::visibility("default")]] bool copy_told() {
  return mailbox && mailbox->take_signals() != 0;
}
}
