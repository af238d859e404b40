// The headers that are precompiled for the test programs (ONLOOP_PCH). Each file includes what it needs nevertheless.
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <onloop/onloop.hpp>
