#include <poll.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "support/scripted_attachment.hpp"

namespace onloop::test::detail {
namespace {

constexpr int kLatest = 3;  // a late deadline is put off by at most this number of turns

std::uint64_t now() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(time.tv_nsec);
}

}  // namespace

void Attachment::iterate(Script& script, const std::vector<Attachment*>& members, std::int64_t max_wait) {
  struct Ready {
    Attachment* attachment;
    ScriptedWatch* watch;  // null if this is the deadline
    std::uint32_t readiness;
  };
  ++script.turns;
  std::vector<pollfd> set;
  std::vector<Ready> polled;
  std::uint64_t until = max_wait < 0 ? ONLOOP_NO_DEADLINE : now() + static_cast<std::uint64_t>(max_wait);
  for (Attachment* member : members) {
    ++member->frames;
    member->thread = std::this_thread::get_id();
    until = std::min(until, member->due);
    if (script.spurious && member->chance(8)) until = 0;
    for (const auto& watch : member->watches) {
      if (watch->interest == ONLOOP_NONE) continue;
      const int events = ((watch->interest & ONLOOP_READ) ? POLLIN : 0) |
                         ((watch->interest & ONLOOP_WRITE) ? POLLOUT : 0) |
                         ((watch->interest & ONLOOP_PRIORITY) ? POLLPRI : 0);
      set.push_back({watch->fd, static_cast<short>(events), 0});
      polled.push_back({member, watch.get(), ONLOOP_NONE});
    }
  }
  int count = 0;
  do {
    const std::uint64_t time = now();
    const std::uint64_t left = until > time ? until - time : 0;
    const timespec wait{static_cast<time_t>(left / 1'000'000'000u), static_cast<long>(left % 1'000'000'000u)};
    count = ::ppoll(set.data(), set.size(), until == ONLOOP_NO_DEADLINE ? nullptr : &wait, nullptr);
  } while (count < 0 && errno == EINTR);
  if (count < 0) {
    std::perror("scripted loop: ppoll");
    std::abort();
  }

  std::vector<Ready> ready;
  for (std::size_t i = 0; i < set.size(); ++i) {
    auto& [attachment, watch, readiness] = polled[i];
    if (set[i].revents & POLLNVAL) broken(script, "closed a descriptor that is watched", set[i].fd);
    const bool broken_off = (set[i].revents & (POLLERR | POLLHUP)) != 0;
    if ((set[i].revents & POLLIN) || broken_off) readiness |= ONLOOP_READ;
    if ((set[i].revents & POLLOUT) || broken_off) readiness |= ONLOOP_WRITE;
    if ((set[i].revents & POLLPRI) || broken_off) readiness |= ONLOOP_PRIORITY;
    if (script.spurious && attachment->chance(8))
      readiness |= 1u + static_cast<std::uint32_t>(attachment->random() % 3);
    readiness &= watch->interest;
    if (readiness != ONLOOP_NONE) ready.push_back(polled[i]);
  }
  auto& random = members.front()->random;
  if (script.shuffle) {
    std::shuffle(ready.begin(), ready.end(), random);
  } else if (ready.size() > script.batch) {
    const auto start = static_cast<std::ptrdiff_t>(script.turns.load() % ready.size());
    std::rotate(ready.begin(), ready.begin() + start, ready.end());
  }
  if (ready.size() > script.batch) ready.resize(script.batch);
  const std::uint64_t time = now();
  for (Attachment* member : members) {
    if (member->due > time) continue;
    if (script.late_deadlines && member->put_off < kLatest && member->chance(2)) {
      ++member->put_off;
      continue;
    }
    // A batch of turn() begins with the deadline. In a host that serves each source by itself, the deadline may come at
    // any position.
    const bool anywhere = script.shuffle && (member->foreign || !script.with_turn_slot);
    const auto place = anywhere ? static_cast<std::ptrdiff_t>(random() % (ready.size() + 1)) : 0;
    ready.insert(ready.begin() + place, {member, nullptr, ONLOOP_NONE});
  }

  for (const auto& item : ready) {
    Attachment& its = *item.attachment;
    const auto up_call = [&script](auto call) noexcept {  // an up-call must not throw
      ++script.up_calls;
      call();
    };
    if (its.detached) continue;
    if (const ScriptedWatch* watch = item.watch) {
      const std::uint32_t wanted = watch->removed ? 0u : item.readiness & watch->interest;
      if (wanted != ONLOOP_NONE) up_call([&] { its.guest.on_ready(watch->context, wanted); });
    } else if (its.due <= time) {
      its.due = ONLOOP_NO_DEADLINE;
      its.put_off = 0;
      up_call([&] { its.guest.on_deadline(its.guest.context); });
    }
  }
  for (Attachment* member : members) --member->frames;
}

}  // namespace onloop::test::detail
