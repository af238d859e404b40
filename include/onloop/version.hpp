#pragma once
/// @file
/// The version of onloop.

/// The version of these headers; the build checks it against CMake's.
#define ONLOOP_VERSION "0.1.0"
