// A valid session is changed at random. Whatever the result is, the importing side reports it once, keeps no descriptor
// and goes on. A failure prints the seed that replays it.
#include <cstdlib>
#include <cstring>
#include <random>

#include "takeover_session.hpp"

namespace onloop::test {
namespace {

std::uint64_t number_from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : random_(seed) {}

  void mutate(std::vector<std::string>& frames, std::vector<int>& fds) {
    for (std::size_t changes = 1 + below(3); changes > 0; --changes) change(frames, fds);
  }

 private:
  std::size_t below(std::size_t bound) { return bound == 0 ? 0 : random_() % bound; }
  std::ptrdiff_t offset(std::size_t bound) { return static_cast<std::ptrdiff_t>(below(bound)); }

  void change(std::vector<std::string>& frames, std::vector<int>& fds) {
    if (frames.empty()) return;
    std::string& one = frames[below(frames.size())];
    switch (below(11)) {
      case 0:
      case 1:
        if (!one.empty()) one[below(one.size())] ^= static_cast<char>(1u << below(8));
        break;
      case 2:
        if (!one.empty()) one[below(one.size())] = static_cast<char>(below(256));
        break;
      case 3:  // overwrite 8 bytes by a number at a limit
        if (one.size() >= 8) {
          constexpr std::uint64_t kBounds[] = {0, 1, INT64_MAX, std::uint64_t{1} << 63, UINT64_MAX, UINT32_MAX, 65536};
          const std::uint64_t value = kBounds[below(std::size(kBounds))];
          std::memcpy(one.data() + below(one.size() - 7), &value, sizeof value);
        }
        break;
      case 4:
        one.resize(below(one.size() + 1));
        break;
      case 5:
        one.insert(below(one.size() + 1), 1 + below(20), static_cast<char>(below(256)));
        break;
      case 6:
        frames.erase(frames.begin() + offset(frames.size()));
        break;
      case 7: {
        std::string copy = one;
        frames.insert(frames.begin() + offset(frames.size() + 1), std::move(copy));
        break;
      }
      case 8:
        std::swap(one, frames[below(frames.size())]);
        break;
      case 9:  // insert a frame that is well-formed by itself
        frames.insert(frames.begin() + offset(frames.size() + 1),
                      frame(static_cast<std::uint32_t>(below(10)), std::string(below(200), '\1')));
        break;
      default:
        if (!fds.empty()) {
          const int any = fds[below(fds.size())];
          const std::size_t way = below(3);
          if (way == 0) fds.erase(fds.begin() + offset(fds.size()));
          if (way == 1) fds.insert(fds.begin() + offset(fds.size() + 1), any);
          if (way == 2) std::swap(fds[below(fds.size())], fds[below(fds.size())]);
        }
    }
  }

  std::mt19937_64 random_;
};

class TakeoverMutations : public Importing {};

TEST_F(TakeoverMutations, AreTakenOrRefused) {
  const std::uint64_t rounds = number_from_environment("ONLOOP_FUZZ_ROUNDS", 3'000);
  const std::uint64_t first = number_from_environment("ONLOOP_SEED", 1);
  std::uint64_t taken = 0, refused = 0;
  for (std::uint64_t seed = first; seed < first + rounds; ++seed) {
    Session session;
    Mutator(seed).mutate(session.frames, session.fds);
    const TakeoverResult result = import(session);
    ++(result.error ? refused : taken);
    EXPECT_TRUE(!result.error || !result.reason.empty());
    if (HasFailure()) FAIL() << "ONLOOP_SEED=" << seed << " ONLOOP_FUZZ_ROUNDS=1 replays it";
  }
  if (rounds >= 1'000) {  // if nearly all or nearly none are refused, the mutator finds nothing
    EXPECT_GT(taken, rounds / 50);
    EXPECT_GT(refused, rounds / 50);
  }
}

}  // namespace
}  // namespace onloop::test
