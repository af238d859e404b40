#include "support/loops.hpp"

#include <onloop/context.hpp>
#include <onloop/loop_by_name.hpp>

#include <memory>
#include <sstream>
#include <string>

#include "support/scripted_loop.hpp"

namespace onloop::test {
namespace {

LoopCase on_script(std::string name, std::unique_ptr<Script> script) {
  return {std::move(name), [script = std::shared_ptr<Script>{std::move(script)}] { return script->loop(); }, false,
          true};
}

std::unique_ptr<Script> misbehaving(std::uint64_t seed) {
  auto script = std::make_unique<Script>();
  script->seed = seed;
  script->spurious = script->early_deadlines = script->late_deadlines = true;
  return script;
}

std::vector<LoopCase> make_loops() {
  std::vector<LoopCase> loops{{"native", [] { return native(); }, true, false},
                              {"native_poll", [] { return native_poll(); }, false, false}};
  std::istringstream shims{ONLOOP_SHIMS};
  for (std::string name; shims >> name;) {
    {
      const Context first{loop_by_name(name)};
    }  // a host may keep something until the process ends, as libuv keeps a pipe
    loops.push_back({name + "_aggregate", [name] { return loop_by_name(name).aggregate(); }, false, false});
    loops.push_back({name + "_direct", [name] { return loop_by_name(name).direct(); }, false, false});
  }
  loops.push_back(on_script("scripted_shuffled", [] {
    auto script = std::make_unique<Script>();
    script->seed = 11;
    return script;
  }()));
  loops.push_back(on_script("scripted_misbehaving", misbehaving(12)));
  loops.push_back(on_script("scripted_one_at_a_time", [] {
    auto script = misbehaving(13);
    script->batch = 1;
    return script;
  }()));
  loops.push_back(on_script("scripted_without_deadlines", [] {
    auto script = misbehaving(14);
    script->with_deadline_slot = script->with_keepalive_slot = false;
    return script;
  }()));
  loops.push_back(on_script("scripted_run_and_stop", [] {
    auto script = misbehaving(15);
    script->with_turn_slot = false;
    return script;
  }()));
  return loops;
}

}  // namespace

const std::vector<LoopCase>& all_loops() {
  static const std::vector<LoopCase> loops = make_loops();
  return loops;
}

}  // namespace onloop::test
