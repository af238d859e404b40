#pragma once
/// Everything of onloop that needs no host library, except the shape of Node: onloop/net.hpp and onloop/phases.hpp.
#include <onloop/loop_ops.h>
#include <onloop/address.hpp>
#include <onloop/connection.hpp>
#include <onloop/context.hpp>
#include <onloop/echo.hpp>
#include <onloop/listener.hpp>
#include <onloop/loop.hpp>
#include <onloop/options.hpp>
#include <onloop/protocol.hpp>
#include <onloop/remote.hpp>
#include <onloop/signal.hpp>
#include <onloop/takeover.hpp>
#include <onloop/task.hpp>
#include <onloop/timer.hpp>
#include <onloop/version.hpp>
#include <onloop/watch.hpp>
