#include "onloop-echo/worker_group.hpp"

#include <pthread.h>

#include <exception>
#include <system_error>
#include <utility>

#include "onloop-echo/statistics.hpp"

namespace echo {

WorkerGroup::WorkerGroup(const Options& options, const Log& log) : connection_limit_(options.max_connections) {
  for (std::size_t i = 0; i < options.workers; ++i)
    workers_.push_back(std::make_unique<Worker>(options, log, connection_limit_));
}

void WorkerGroup::serve(const onloop::Address& address) {
  // With SO_REUSEPORT, another server of the same user would share the port and get some of the clients.
  if (size() > 1 && address.port() != 0) first().refuse_if_in_use(address);
  first().serve(address);
  // The other workers listen on the addresses of the first one. These have the real port, and for localhost they are of
  // both families.
  for (const onloop::Address& there : first().listeners().back()->addresses()) {
    for (std::size_t i = 1; i < size(); ++i) workers_[i]->serve(there);
  }
}

// ---- threads ----

void WorkerGroup::start(std::function<void(const std::string&)> failed) {
  failed_ = std::move(failed);
  for (std::size_t i = 1; i < size(); ++i) {
    try {
      threads_.emplace_back([this, i] { run(i); });
      pthread_setname_np(threads_.back().native_handle(), ("worker " + std::to_string(i + 1)).c_str());  // for top(1)
    } catch (const std::system_error& error) {
      throw std::system_error(error.code(), "start worker " + std::to_string(i + 1) + " of " + std::to_string(size()));
    }
  }
}

void WorkerGroup::run(std::size_t index) {
  try {
    workers_[index]->context().run();
  } catch (const std::exception& error) {
    const std::string text = "worker " + std::to_string(index + 1) + ": " + error.what();
    first().remote().post([this, text] { failed_(text); });
  }
}

void WorkerGroup::stop() {
  for (std::size_t i = 1; i <= threads_.size(); ++i) {
    Worker& worker = *workers_[i];
    worker.remote().post([&worker] { worker.context().stop(); });
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

// ---- questions ----

void WorkerGroup::ask(const Work& work, Then then) {
  const std::uint64_t question = ++asked_;
  questions_.emplace(question, Question{size(), std::vector<Answer>(size()), std::move(then)});
  for (std::size_t i = 1; i < size(); ++i) {
    Worker& worker = *workers_[i];
    const auto reply = [this, question, i](Answer answer) {
      first().remote().post([this, question, i, answer = std::move(answer)] { take(question, i, answer); });
    };
    worker.remote().post([&worker, work, reply] { work(worker, reply); });
  }
  work(first(), [this, question](Answer answer) { take(question, 0, std::move(answer)); });
}

void WorkerGroup::take(std::uint64_t question, std::size_t index, Answer answer) {
  const auto found = questions_.find(question);
  found->second.answers[index] = std::move(answer);
  if (--found->second.unanswered != 0) return;
  const Question answered = std::move(found->second);
  questions_.erase(found);
  answered.then(answered.answers);
}

onloop::Statistics WorkerGroup::statistics() const {
  onloop::Statistics all;
  for (const auto& worker : workers_) all = together(all, worker->statistics());
  return all;
}

}  // namespace echo
