#include "core/runtime/upcalls.hpp"

#include "core/runtime/runtime.hpp"

namespace onloop::detail {

onloop_guest Upcalls::guest(Runtime& runtime) noexcept {
  return {.version = ONLOOP_OPS_VERSION,
          .struct_size = sizeof(onloop_guest),
          .context = &runtime,
          .on_ready = &Upcalls::on_ready,
          .on_deadline = &Upcalls::on_deadline};
}

onloop_guest Upcalls::set_guest(Runtime& runtime) noexcept {
  onloop_guest guest = Upcalls::guest(runtime);
  guest.on_ready = &Upcalls::on_set_ready;
  return guest;
}

void Upcalls::on_ready(void* context, std::uint32_t readiness) {
  Source& source = *static_cast<Source*>(context);
  Runtime& runtime = *source.runtime_;
  if (runtime.collecting_ && source.upcall_ == Source::Upcall::collected) {
    runtime.turn_.collect(source, readiness);
  } else {
    on_ready_rare(source, readiness);
  }
}

void Upcalls::on_ready_rare(Source& source, std::uint32_t readiness) {
  Runtime& runtime = *source.runtime_;
  switch (source.upcall_) {
    case Source::Upcall::collected:
      runtime.turn_.collect(source, readiness);
      break;
    case Source::Upcall::collected_already:  // an outer turn has collected the source and has not served it yet
      source.ready_ = static_cast<std::uint8_t>(readiness);
      break;
    case Source::Upcall::heard_at_once:
      source.on_ready(readiness);
  }
  if (!runtime.collecting_) runtime.serve_upcall();
}

void Upcalls::on_deadline(void* context) {
  Runtime& runtime = *static_cast<Runtime*>(context);
  runtime.deadline_fired();
  if (!runtime.collecting_) runtime.serve_upcall();
}

/// The native set is ready. serve_set() runs a turn of the set, which collects its sources, the deadline and the waker
/// included.
void Upcalls::on_set_ready(void* context, std::uint32_t) {
  static_cast<Runtime*>(context)->serve_set();
}

}  // namespace onloop::detail
