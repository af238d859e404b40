// The kernel wipes one page of ours in each forked child (MADV_WIPEONFORK, Linux 4.14). Whoever finds it empty is the
// first to ask in its process, and writes the next number there. That needs no handler, so clone(2) is seen as well.
// The page is made at the first use and stays until the process ends.
#include "core/base/process_mark.hpp"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>

namespace onloop::detail {
namespace {

using Mark = std::atomic<ProcessMark>;
static_assert(Mark::is_always_lock_free);

constinit std::atomic<Mark*> page{nullptr};
constinit std::atomic<ProcessMark> last{0};  // that was given, to this process or to one that it was forked from

// Where there is no such page: a handler of fork(), and the pid for what runs no handlers.
constinit Mark by_handler{0};
constinit std::atomic<pid_t> pid{0};

Mark* make_page() noexcept {
  const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  Mark* made = &by_handler;
  if (memory != MAP_FAILED && madvise(memory, size, MADV_WIPEONFORK) == 0) {
    made = static_cast<Mark*>(memory);  // zeroed, which is what a new one is
  } else {
    pid.store(getpid());
    pthread_atfork(nullptr, nullptr, [] { by_handler.store(0); });
  }
  Mark* none = nullptr;
  const bool first = page.compare_exchange_strong(none, made);
  if (memory != MAP_FAILED && (!first || made == &by_handler)) munmap(memory, size);
  return first ? made : none;
}

}  // namespace

ProcessMark this_process() noexcept {
  Mark* mark = page.load(std::memory_order_acquire);
  if (!mark) mark = make_page();
  if (mark == &by_handler) [[unlikely]] {
    if (pid.exchange(getpid()) != getpid()) by_handler.store(0);
  }
  ProcessMark found = mark->load(std::memory_order_acquire);
  if (found != 0) return found;
  const ProcessMark next = last.fetch_add(1) + 1;
  return mark->compare_exchange_strong(found, next) ? next : found;
}

}  // namespace onloop::detail
