#include "support/scripted_loop.hpp"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "support/scripted_attachment.hpp"

namespace onloop::test {
namespace {

constexpr std::uint64_t kEarliest = 2'000'000;  // an early deadline comes at most this number of nanoseconds too early
constexpr std::size_t kTables = 64;

struct Table {
  onloop_ops ops{};
  std::atomic<Script*> script{nullptr};
};
std::array<Table, kTables> tables;

class SeedPrinter : public ::testing::EmptyTestEventListener {
  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (!result.failed()) return;
    for (const Table& table : tables) {
      const Script* script = table.script;
      if (script && script->attached > 0) {
        std::fprintf(stderr, "on a scripted loop: ONLOOP_SEED=%llu replays it\n",
                     static_cast<unsigned long long>(detail::seed_of(*script)));
      }
    }
  }
};

}  // namespace

namespace detail {

std::uint64_t seed_of(const Script& script) {
  const char* replayed = std::getenv("ONLOOP_SEED");
  return replayed ? std::strtoull(replayed, nullptr, 10) : script.seed;
}

[[noreturn]] void broken(const Script& script, const char* what, int fd) {
  std::fprintf(stderr, "scripted loop (ONLOOP_SEED=%llu): the guest %s",
               static_cast<unsigned long long>(seed_of(script)), what);
  if (fd >= 0) std::fprintf(stderr, " (descriptor %d)", fd);
  std::fputc('\n', stderr);
  std::abort();
}

struct ScriptHost::Impl {
  std::mutex mutex;
  Table* table = nullptr;
  std::vector<std::unique_ptr<Attachment>> attachments;
};

ScriptHost::ScriptHost() noexcept : impl_(std::make_unique<Impl>()) {}

ScriptHost::~ScriptHost() {
  for (const auto& attachment : impl_->attachments) {
    if (!attachment->detached) broken(attachment->script, "is attached to a script that is being destroyed");
  }
  if (impl_->table) impl_->table->script = nullptr;
}

int Attachment::attach(Script& script, const onloop_guest* guest, bool foreign, onloop_loop** loop) {
  ++script.slot_calls;
  if (const int error = fallible(script)) return error;
  if (guest->version >> 16 != ONLOOP_OPS_MAJOR || guest->struct_size < sizeof(onloop_guest)) return -EINVAL;
  auto& impl = *script.host.impl_;
  const std::lock_guard lock{impl.mutex};
  // A script that has no users left starts afresh. So if many tests use one script, each test can be replayed alone.
  if (std::all_of(impl.attachments.begin(), impl.attachments.end(),
                  [](const auto& old) { return old->detached && old->frames == 0; })) {
    impl.attachments.clear();
  }
  impl.attachments.push_back(
      std::make_unique<Attachment>(script, *guest, foreign, seed_of(script) + impl.attachments.size()));
  ++script.attached;
  *loop = reinterpret_cast<onloop_loop*>(impl.attachments.back().get());
  return 0;
}

std::vector<Attachment*> Attachment::attached_to(const Script& script) {
  auto& impl = *script.host.impl_;
  const std::lock_guard lock{impl.mutex};
  std::vector<Attachment*> found;
  for (const auto& attachment : impl.attachments) {
    if (attachment->foreign && !attachment->detached) found.push_back(attachment.get());
  }
  return found;
}

}  // namespace detail

namespace {

using detail::Attachment;
using detail::broken;
using detail::ScriptedWatch;

template <std::size_t Index>
int attach(const onloop_guest* guest, void* foreign, onloop_loop** loop) {
  Script* script = foreign ? static_cast<Script*>(foreign) : tables[Index].script.load();
  return Attachment::attach(*script, guest, foreign != nullptr, loop);
}

void detach(onloop_loop* loop) {
  auto& self = Attachment::checked(loop);
  if (!self.watches.empty()) broken(self.script, "detaches while it still has a watch", self.watches.front()->fd);
  --self.script.attached;
  self.detached = true;  // must be last: an attach on another thread may free the object from now on
}

/// True if epoll(7) accepts the descriptor. Most files are always ready and not accepted, but some files in /proc are.
bool epoll_takes(int fd) {
  const int set = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  const bool takes = ::epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0;
  ::close(set);
  return takes;
}

int watch_add(onloop_loop* loop, int fd, std::uint32_t interest, void* context, onloop_watch** watch) {
  auto& self = Attachment::active(loop);
  struct stat status {};
  if (::fstat(fd, &status) != 0) broken(self.script, "watches what is not an open descriptor", fd);
  for (const auto& other : self.watches) {
    if (other->fd == fd) broken(self.script, "watches a descriptor twice", fd);
  }
  if (const int error = Attachment::fallible(self.script)) return error;
  if ((S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)) && !epoll_takes(fd)) return -EPERM;
  self.watches.push_back(std::make_unique<ScriptedWatch>(
      ScriptedWatch{fd, interest, context, self.watches.size(), status.st_dev, status.st_ino}));
  ++self.script.live_watches;
  *watch = reinterpret_cast<onloop_watch*>(self.watches.back().get());
  return 0;
}

int watch_set(onloop_loop* loop, onloop_watch* watch, std::uint32_t interest) {
  auto& self = Attachment::active(loop);
  auto& its = self.checked(watch);
  if ((interest & ~its.interest) != 0) {
    if (const int error = Attachment::fallible(self.script)) return error;
  } else if (self.script.fail_lowering) {
    ++self.script.failures;
    return -self.script.fail_with;
  }
  its.interest = interest;
  return 0;
}

void watch_remove(onloop_loop* loop, onloop_watch* watch) {
  auto& self = Attachment::checked(loop);
  auto& its = self.checked(watch);
  its.removed = true;
  std::swap(self.watches[its.index], self.watches.back());
  self.watches[its.index]->index = its.index;
  self.removed.push_back(std::move(self.watches.back()));
  self.watches.pop_back();
  --self.script.live_watches;
}

int deadline_set(onloop_loop* loop, std::uint64_t at) {
  auto& self = Attachment::active(loop);
  if (at != ONLOOP_NO_DEADLINE) {
    if (const int error = Attachment::fallible(self.script)) return error;
  }
  const std::uint64_t early = self.script.early_deadlines ? self.random() % kEarliest : 0;
  self.due = at == ONLOOP_NO_DEADLINE ? at : at - std::min(at, early);
  self.put_off = 0;
  return 0;
}

int keepalive(onloop_loop* loop, int on) {
  Attachment::active(loop).kept_alive = on != 0;
  return 0;
}

Attachment& owned(onloop_loop* loop, const char* complaint) {
  auto& self = Attachment::active(loop);
  --self.script.slot_calls;
  if (self.foreign) broken(self.script, complaint);
  return self;
}

int run(onloop_loop* loop) {
  auto& self = owned(loop, "runs a foreign loop");
  self.stopping = false;
  while (!self.detached && !self.stopping && self.kept_alive) Attachment::iterate(self.script, {&self}, -1);
  return 0;
}

void stop(onloop_loop* loop) {
  owned(loop, "stops a foreign loop").stopping = true;
}

int turn(onloop_loop* loop, std::int64_t max_wait) {
  auto& self = owned(loop, "runs a foreign loop");
  if (!self.script.with_turn_slot) broken(self.script, "calls an absent slot");
  Attachment::iterate(self.script, {&self}, max_wait);
  return 0;
}

void abandon(onloop_loop* loop) {
  Attachment::active(loop).abandoned = true;
}

template <std::size_t... Index>
constexpr auto attach_functions(std::index_sequence<Index...>) {
  return std::array{&attach<Index>...};
}

}  // namespace

Loop Script::loop() {
  static constexpr auto kAttach = attach_functions(std::make_index_sequence<kTables>{});
  static const bool listening = (::testing::UnitTest::GetInstance()->listeners().Append(new SeedPrinter), true);
  static_cast<void>(listening);
  auto& impl = *host.impl_;
  const std::lock_guard lock{impl.mutex};
  for (std::size_t i = 0; i < kTables && !impl.table; ++i) {
    Script* nobody = nullptr;
    if (!tables[i].script.compare_exchange_strong(nobody, this)) continue;
    tables[i].ops = {ONLOOP_OPS_VERSION,
                     sizeof(onloop_ops),
                     "scripted",
                     kAttach[i],
                     detach,
                     watch_add,
                     watch_set,
                     watch_remove,
                     with_deadline_slot ? deadline_set : nullptr,
                     nullptr,
                     with_keepalive_slot ? keepalive : nullptr,
                     run,
                     stop,
                     with_turn_slot ? turn : nullptr,
                     abandon,
                     nullptr};
    impl.table = &tables[i];
  }
  if (!impl.table) detail::broken(*this, "has more scripts at a time than there are tables");
  return Loop{impl.table->ops};
}

Loop Script::foreign() {
  return Loop{loop().ops(), this};
}

void Script::run_once(std::chrono::nanoseconds max_wait) {
  if (const auto members = Attachment::attached_to(*this); !members.empty()) {
    Attachment::iterate(*this, members, max_wait.count());
  }
}

bool Script::kept_alive() const {
  const auto members = Attachment::attached_to(*this);
  return std::any_of(members.begin(), members.end(), [](const auto* member) { return member->kept_alive; });
}

}  // namespace onloop::test
