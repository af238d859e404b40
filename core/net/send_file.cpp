#include <onloop/connection.hpp>
#include <onloop/file.hpp>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "core/runtime/error.hpp"
#include "core/runtime/runtime.hpp"
#include "core/runtime/worker_pool.hpp"

namespace onloop {
namespace {

constexpr std::uint64_t kPiece = 128 * 1024;

/// Owned by what it waits for: a read on the pool, or the connection's draining.
class FileSender : public std::enable_shared_from_this<FileSender> {
 public:
  FileSender(Connection& connection, File file, std::uint64_t offset, std::uint64_t length,
             std::function<void(std::error_code)> done)
      : connection_(connection.ref()), file_(std::move(file)), offset_(offset), left_(length), done_(std::move(done)) {}

  void read_next(detail::WorkerPool::Bound bound) {
    const std::size_t size = std::min(left_, kPiece);
    auto work = [self = shared_from_this(), size] { return self->file_.read_at(self->offset_, size); };
    auto arrived = [self = shared_from_this()](Outcome<std::vector<std::byte>> piece) { self->arrived(piece); };
    using Read = detail::BlockingCall<decltype(work), decltype(arrived)>;
    detail::runtime_of(connection_->context())
        .tenant<detail::WorkerPool>()
        .start(std::make_shared<Read>(std::move(work), std::move(arrived)), bound);
  }

  void end(std::error_code error) {
    if (const auto done = std::exchange(done_, nullptr)) done(error);
  }

 private:
  void arrived(Outcome<std::vector<std::byte>>& piece) {
    if (!piece) return end(error_code_of(piece.exception()));
    const std::vector<std::byte>& data = piece.get();
    if (data.empty() && left_ > 0) return end(detail::error_of(EIO));
    const Flow flow = connection_ ? connection_->write(data) : Flow::closed;
    if (flow == Flow::closed) return end(detail::error_of(ECONNABORTED));
    offset_ += data.size();
    left_ -= data.size();
    if (left_ == 0) return end({});
    if (flow == Flow::go) return go_on();
    connection_->when_drained([self = shared_from_this()] { self->go_on(); });
  }

  void go_on() {
    if (!connection_) return end(detail::error_of(ECONNABORTED));
    read_next(detail::WorkerPool::Bound::none);
  }

  Ref connection_;
  const File file_;
  std::uint64_t offset_;
  std::uint64_t left_;
  std::function<void(std::error_code)> done_;
};

}  // namespace

void send_file(Connection& connection, File file, std::uint64_t offset, std::uint64_t length,
               std::function<void(std::error_code)> done) {
  std::make_shared<FileSender>(connection, std::move(file), offset, length, std::move(done))
      ->read_next(detail::WorkerPool::Bound::queue);
}

}  // namespace onloop
