#pragma once
#include <fcntl.h>
#include <sys/stat.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "support/scripted_loop.hpp"

namespace onloop::test::detail {

std::uint64_t seed_of(const Script& script);
[[noreturn]] void broken(const Script& script, const char* what, int fd = -1);

struct ScriptedWatch {
  int fd;
  std::uint32_t interest;
  void* context;
  std::size_t index;  // in Attachment::watches
  dev_t device;
  ino_t inode;
  bool removed = false;
};

/// What one call of attach made: an owned loop, or a guest on the Script as a foreign loop.
struct Attachment {
  Attachment(Script& its_script, const onloop_guest& its_guest, bool is_foreign, std::uint64_t seed)
      : script(its_script), guest(its_guest), foreign(is_foreign), random(seed) {}

  /// Every slot calls this first. It counts the call and checks that the guest may make the call now.
  static Attachment& checked(onloop_loop* loop) {
    auto& self = *reinterpret_cast<Attachment*>(loop);
    ++self.script.slot_calls;
    if (self.detached) broken(self.script, "calls a slot after detach");
    if (self.frames > 0 && self.thread.load() != std::this_thread::get_id()) {
      broken(self.script, "calls a slot from another thread than the loop's");
    }
    return self;
  }
  /// The same, for the slots that must not be called after abandon.
  static Attachment& active(onloop_loop* loop) {
    auto& self = checked(loop);
    if (self.abandoned) broken(self.script, "uses a loop that it abandoned");
    return self;
  }
  ScriptedWatch& checked(onloop_watch* watch) const {
    auto& its = *reinterpret_cast<ScriptedWatch*>(watch);
    if (its.removed) broken(script, "uses a watch that it removed", its.fd);
    if (abandoned) return its;
    struct stat status {};
    if (::fcntl(its.fd, F_GETFD) < 0) broken(script, "closed a descriptor before it removed the watch", its.fd);
    if (::fstat(its.fd, &status) != 0 || status.st_dev != its.device || status.st_ino != its.inode) {
      broken(script, "has another file under a watched descriptor", its.fd);
    }
    return its;
  }
  /// The error with which the script wants this call to fail, or 0.
  static int fallible(Script& script) {
    if (script.fallible_calls++ != script.fail_at_call) return 0;
    ++script.failures;
    return -script.fail_with;
  }
  bool chance(unsigned one_in) { return random() % one_in == 0; }
  static int attach(Script& script, const onloop_guest* guest, bool foreign, onloop_loop** loop);
  static void iterate(Script& script, const std::vector<Attachment*>& members, std::int64_t max_wait);
  static std::vector<Attachment*> attached_to(const Script& script);

  Script& script;
  const onloop_guest guest;
  const bool foreign;
  std::mt19937_64 random;
  std::vector<std::unique_ptr<ScriptedWatch>> watches;
  std::vector<std::unique_ptr<ScriptedWatch>> removed;  // kept, so that a use after the removal is noticed
  std::uint64_t due = ONLOOP_NO_DEADLINE;
  int put_off = 0;
  std::atomic<bool> detached{false};
  bool abandoned = false;
  bool stopping = false;
  bool kept_alive = true;
  std::atomic<int> frames{0};
  std::atomic<std::thread::id> thread{};
};

}  // namespace onloop::test::detail
