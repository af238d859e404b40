#pragma once
#include <onloop/descriptor.hpp>

#include <chrono>
#include <functional>
#include <string>

#include "document_root.hpp"
#include "options.hpp"

/// The common parts of the two servers without an event loop: sockets that block.
namespace http {

/// Serves a connection: reads a request, fetches the file and writes it, one request after the other. It returns when
/// the client ends, after an error, or when no byte moves for the time-out.
void handle_connection(const onloop::Descriptor& socket, const DocumentRoot& root, std::chrono::nanoseconds timeout);

/// Waits for the next TCP connection, again and again, and calls `handle` with each. It does not return. SIGINT and
/// SIGTERM end the process, whatever its threads are doing.
[[noreturn]] void accept_forever(const Options& options, const std::string& name,
                                 const std::function<void(onloop::Descriptor)>& handle);

}  // namespace http
