#pragma once
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <system_error>

#include "peer.hpp"

namespace onloop::test {

/// A pipe whose ends do not block.
struct Pipe {
  Pipe() {
    int ends[2] = {-1, -1};
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) throw std::system_error(errno, std::generic_category(), "pipe2");
    in = Fd(ends[0]);
    out = Fd(ends[1]);
  }
  void put(std::string_view text = "x") const {
    ASSERT_EQ(::write(out.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  std::string take(std::size_t at_most = 4096) const {
    std::string text(at_most, '\0');
    const ssize_t n = ::read(in.get(), text.data(), text.size());
    text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return text;
  }
  Fd in, out;
};

}  // namespace onloop::test
