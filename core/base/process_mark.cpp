// The mark of this process stands in a memory page that the kernel fills with zeros in each forked child
// (MADV_WIPEONFORK, Linux 4.14). The first caller in a process finds a zero there, and writes the next number in its
// place. This needs no fork handler, so it also works for a child that clone(2) made. The page is made at the first use
// and stays until the process ends.
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
constinit std::atomic<ProcessMark> last{0};  // the last mark given to this process or to a process it was forked from

// These two replace the page where the kernel can't make one. A handler of fork() clears the mark. The pid shows a fork
// that runs no handlers.
constinit Mark by_handler{0};
constinit std::atomic<pid_t> pid{0};

Mark* make_page() noexcept {
  const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  Mark* made = &by_handler;
  if (memory != MAP_FAILED && madvise(memory, size, MADV_WIPEONFORK) == 0) {
    made = static_cast<Mark*>(memory);  // the memory is zero, as a new Mark is
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
