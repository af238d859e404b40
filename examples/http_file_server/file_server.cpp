#include "file_server.hpp"

#include <onloop/file.hpp>

#include <algorithm>
#include <string>
#include <system_error>
#include <utility>

#include "request.hpp"
#include "response.hpp"

namespace http {
namespace {

/// The states of the state machine; see README.md.
enum class State { reading_headers, fetching_file, writing_headers, writing_contents };

}  // namespace

/// The data of one connection.
struct FileServer::Client {
  State state = State::reading_headers;
  RequestParser parser;
  Request request;            // the request that is being answered
  std::string input;          // bytes that came behind that request and wait for their turn
  onloop::Timer deadline;     // for a request of which only a part has come
  bool has_deadline = false;  // the deadline runs, in place of the idle time-out
  bool peer_ended = false;    // the peer sends no further request
};

onloop::ListenOptions FileServer::listen_options() const {
  onloop::ListenOptions options;
  options.limits.idle_timeout = timeout_;
  options.limits.linger = std::min(options.limits.linger, timeout_);
  return options;
}

// NEW_TCP_CONNECTION
void FileServer::on_open(onloop::Connection& connection) {
  connection.emplace_state<Client>();
}

// FINISHED_READING_FROM_SOCKET. The server serves one request at a time. What comes meanwhile waits here, up to one
// buffer. The rest waits in the kernel. Reading is paused only when more comes, so a client that waits for its answer
// costs no call.
void FileServer::on_data(onloop::Connection& connection, std::span<const std::byte> data) {
  auto& client = connection.state<Client>();
  const std::string_view bytes{reinterpret_cast<const char*>(data.data()), data.size()};
  if (client.state == State::reading_headers) {
    read_request(connection, bytes);
  } else {
    client.input += bytes;
    connection.pause_reading();
  }
}

void FileServer::on_end(onloop::Connection& connection) {
  auto& client = connection.state<Client>();
  client.peer_ended = true;
  if (client.state == State::reading_headers) connection.close();
}

void FileServer::read_request(onloop::Connection& connection, std::string_view bytes) {
  auto& client = connection.state<Client>();
  client.state = State::reading_headers;
  const std::size_t used = client.parser.feed(bytes);
  if (client.parser.take_continue()) connection.write(kContinue);
  const RequestParser::State read = client.parser.state();
  if (read == RequestParser::State::idle || read == RequestParser::State::partial) {
    request_is_partial(connection);
    return;
  }
  client.input = bytes.substr(used);
  const int refused = client.parser.refusal();
  take_request(connection);
  if (read == RequestParser::State::complete) {
    fetch_file(connection);
  } else {
    write_headers(connection, refusal(client.request, refused));
  }
}

/// The whole request must come within the time-out of its first byte. So a client that sends a byte now and then holds
/// nothing up. Meanwhile only this deadline runs, so that the client gets an answer that says what was wrong.
void FileServer::request_is_partial(onloop::Connection& connection) {
  auto& client = connection.state<Client>();
  if (client.peer_ended) {
    connection.close();
    return;
  }
  connection.resume_reading();
  if (client.has_deadline || client.parser.state() == RequestParser::State::idle) return;
  client.has_deadline = true;
  connection.set_idle_timeout(std::chrono::nanoseconds{0});
  client.deadline = connection.context().timer(timeout_, [this, asker = connection.ref()] {
    if (!asker) return;
    take_request(*asker.get());
    write_headers(*asker.get(), refusal(asker->state<Client>().request, 408));
  });
}

void FileServer::take_request(onloop::Connection& connection) {
  auto& client = connection.state<Client>();
  client.request = client.parser.take();
  if (std::exchange(client.has_deadline, false)) {
    client.deadline.cancel();
    connection.set_idle_timeout(timeout_);
  }
}

void FileServer::fetch_file(onloop::Connection& connection) {
  auto& client = connection.state<Client>();
  client.state = State::fetching_file;
  try {
    // The job has a copy of the request, since the connection may be over before the job.
    connection.context().run_blocking([&root = root_, request = client.request] { return answer(request, root); },
                                      [this, asker = connection.ref()](onloop::Outcome<Answer> fetched) {
                                        // FINISHED_READING_FROM_DISK
                                        if (!asker) return;
                                        const Request& request = asker->state<Client>().request;
                                        write_headers(*asker.get(),
                                                      fetched ? std::move(fetched).get() : refusal(request, 500));
                                      });
  } catch (const std::system_error&) {  // the queue of the worker pool is full
    client.request.keep_alive = false;
    write_headers(connection, refusal(client.request, 503));
  }
}

/// write() takes everything that it is given. So both writing states begin here. The server then only waits until the
/// client has read the bytes.
void FileServer::write_headers(onloop::Connection& connection, Answer answer) {
  auto& client = connection.state<Client>();
  client.state = State::writing_headers;
  if (answer.file && !begin_contents(connection, answer)) {
    client.request.keep_alive = false;
    answer = refusal(client.request, 503);
  }
  client.request.keep_alive = answer.keep_alive;
  const bool more_comes = answer.file.has_value();
  const onloop::Flow flow = connection.write(answer.text);
  client.state = State::writing_contents;
  if (!more_comes) when_taken(connection, flow);
}

/// Starts sending a large file, piece by piece, from the loop. The headers are written after this call, but before the
/// first piece. They must not be written before it is certain that the worker pool takes the work.
bool FileServer::begin_contents(onloop::Connection& connection, Answer& answer) {
  try {
    onloop::send_file(connection, std::move(*answer.file), answer.offset, answer.length,
                      [this, asker = connection.ref()](std::error_code error) {
                        if (!asker) return;
                        if (error) {
                          asker->abort(error);  // the answer is truncated, so it must not end in order
                        } else {
                          when_taken(*asker.get(), onloop::Flow::wait);
                        }
                      });
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

void FileServer::when_taken(onloop::Connection& connection, onloop::Flow flow) {
  if (flow != onloop::Flow::wait) {
    written(connection);
  } else {
    connection.when_drained([this, asker = connection.ref()] {
      if (asker) written(*asker.get());
    });
  }
}

// FINISHED_WRITING_TO_SOCKET
void FileServer::written(onloop::Connection& connection) {
  auto& client = connection.state<Client>();
  if (client.request.keep_alive) {
    read_request(connection, std::exchange(client.input, {}));
  } else {
    connection.close();
  }
}

}  // namespace http
