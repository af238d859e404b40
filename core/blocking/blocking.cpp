// The functions of blocking.hpp: Job, error_code_of(), and the start of blocking work in a context.
#include <onloop/blocking.hpp>

#include <cerrno>
#include <exception>
#include <memory>
#include <new>
#include <system_error>

#include "core/base/error.hpp"
#include "core/blocking/worker_pool.hpp"
#include "core/runtime/runtime.hpp"

namespace onloop {

std::error_code error_code_of(const std::exception_ptr& exception) noexcept {
  if (!exception) return {};
  try {
    std::rethrow_exception(exception);
  } catch (const std::system_error& error) {
    return error.code();
  } catch (const std::bad_alloc&) {
    return detail::error_of(ENOMEM);
  } catch (...) {
    return detail::error_of(EIO);
  }
}

void Job::cancel() noexcept {
  const auto work = work_.lock();
  if (work && work->pool) work->pool->cancel(*work);
}

Job Context::start_blocking(std::shared_ptr<detail::BlockingWork> work) {
  runtime_->check_thread();
  if (runtime_->forked()) detail::throw_error(EPERM, "run blocking work in a forked child: call after_fork() first");
  if (runtime_->ending()) return {};
  runtime_->subsystem<detail::WorkerPool>().start(work);
  return Job(work);
}

}  // namespace onloop
