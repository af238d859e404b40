#pragma once
/// @file
/// Everything of onloop that needs no host library, except the shape of Node: onloop/node/net.hpp and
/// onloop/node/phases.hpp.

/// @namespace onloop
/// A network library that runs on the event loop that a program already has. Begin with Context.
#include <onloop/loop_ops.h>
#include <onloop/address.hpp>
#include <onloop/blocking.hpp>
#include <onloop/connection.hpp>
#include <onloop/context.hpp>
#include <onloop/descriptor.hpp>
#include <onloop/echo.hpp>
#include <onloop/file.hpp>
#include <onloop/function.hpp>
#include <onloop/listener.hpp>
#include <onloop/loop.hpp>
#include <onloop/loop_by_name.hpp>
#include <onloop/options.hpp>
#include <onloop/process.hpp>
#include <onloop/protocol.hpp>
#include <onloop/remote.hpp>
#include <onloop/resolve.hpp>
#include <onloop/signal.hpp>
#include <onloop/takeover.hpp>
#include <onloop/task.hpp>
#include <onloop/timer.hpp>
#include <onloop/version.hpp>
#include <onloop/watch.hpp>
