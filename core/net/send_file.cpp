#include <onloop/connection.hpp>
#include <onloop/file.hpp>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

#include "core/base/error.hpp"
#include "core/blocking/worker_pool.hpp"
#include "core/net/stream.hpp"
#include "core/runtime/runtime.hpp"

namespace onloop {
namespace {

constexpr std::uint64_t kPiece = 128 * 1024;  // bytes of one read, at most

/// Sends one file on one connection, piece by piece: reads a piece on a thread of the pool, writes it, and waits until
/// the connection has drained if write() has returned Flow::wait.
///
/// What the sender waits for owns it: the read, or the task that waits for the connection to drain. Only the read runs
/// on another thread than the context's.
class FileSender : public std::enable_shared_from_this<FileSender> {
 public:
  FileSender(Connection& connection, File file, std::uint64_t offset, std::uint64_t length,
             Function<void(std::error_code)> done)
      : connection_(connection.ref()),
        most_queued_(detail::stream_of(connection).limits().max_queued),
        low_water_(detail::stream_of(connection).limits().low_water),
        file_(std::move(file)),
        offset_(offset),
        left_(length),
        done_(std::move(done)) {}

  /// Starts to read the next piece.
  void read_next(detail::WorkerPool::Bound bound) {
    // The piece must fit into the queue after the queue has drained to the low-water mark.
    const std::uint64_t room = std::max<std::uint64_t>(1, most_queued_ - low_water_);
    const std::size_t size = std::min({left_, kPiece, room});
    auto work = [self = shared_from_this(), size] { return self->file_.read_at(self->offset_, size); };
    auto arrived = [self = shared_from_this()](Outcome<std::vector<std::byte>> piece) { self->arrived(piece); };
    using Read = detail::BlockingCall<decltype(work), decltype(arrived)>;
    detail::runtime_of(connection_->context())
        .subsystem<detail::WorkerPool>()
        .start(std::make_shared<Read>(std::move(work), std::move(arrived)), bound);
  }

 private:
  void arrived(Outcome<std::vector<std::byte>>& piece) {
    if (!piece) return end(error_code_of(piece.exception()));
    piece_ = std::move(piece).get();
    if (piece_.empty() && left_ > 0) return end(detail::error_of(EIO));
    write();
  }

  void write() {
    if (!connection_) return end(detail::error_of(ECONNABORTED));
    const std::size_t queued = connection_->queued_bytes();
    if (queued > low_water_ && piece_.size() > most_queued_ - queued) {  // other code has written, too
      when_drained(&FileSender::write);
      return;
    }
    const Flow flow = connection_->write(piece_);
    if (flow == Flow::closed) return end(detail::error_of(ECONNABORTED));
    offset_ += piece_.size();
    left_ -= piece_.size();
    if (left_ == 0) return end({});
    if (flow == Flow::go) return go_on();
    when_drained(&FileSender::go_on);
  }

  void go_on() {
    if (!connection_) return end(detail::error_of(ECONNABORTED));
    read_next(detail::WorkerPool::Bound::none);
  }

  void when_drained(void (FileSender::*then)()) {
    connection_->when_drained([self = shared_from_this(), then] { ((*self).*then)(); });
  }

  void end(std::error_code error) {
    if (auto done = std::exchange(done_, nullptr)) done(error);
  }

  Ref connection_;
  const std::size_t most_queued_;
  const std::size_t low_water_;
  const File file_;
  std::uint64_t offset_;
  std::uint64_t left_;
  std::vector<std::byte> piece_;  // the bytes that were read and are still to be written
  Function<void(std::error_code)> done_;
};

}  // namespace

void send_file(Connection& connection, File file, std::uint64_t offset, std::uint64_t length,
               Function<void(std::error_code)> done) {
  std::make_shared<FileSender>(connection, std::move(file), offset, length, std::move(done))
      ->read_next(detail::WorkerPool::Bound::queue);
}

}  // namespace onloop
