// The tables of shims that a Context refuses before it calls any slot.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <onloop/context.hpp>
#include <onloop/loop_by_name.hpp>

#include <cerrno>
#include <cstddef>
#include <string>
#include <system_error>

#include "core/loop/trusted_file.hpp"

namespace onloop {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string refusal(const onloop_ops& ops) {
  try {
    const Context context{Loop(ops)};
  } catch (const std::system_error& error) {
    return error.what();
  }
  ADD_FAILURE() << "the table was taken";
  return {};
}

TEST(LoopAttachment, RefusesAnotherMajorVersion) {
  onloop_ops ops = native().ops();
  ops.version = (ONLOOP_OPS_MAJOR + 1) << 16;
  EXPECT_THAT(refusal(ops), HasSubstr("version 2"));
}

TEST(LoopAttachment, TakesAnotherMinorVersion) {
  onloop_ops ops = native().ops();
  ops.version = ONLOOP_OPS_VERSION + 1;
  EXPECT_NO_THROW(Context{Loop(ops)});
}

TEST(LoopAttachment, RefusesATableThatIsTooShort) {
  onloop_ops ops = native().ops();
  ops.struct_size = offsetof(onloop_ops, watch_remove);
  EXPECT_THAT(refusal(ops), HasSubstr("too short"));
}

TEST(LoopAttachment, RefusesATableThatLacksARequiredSlot) {
  onloop_ops ops = native().ops();
  ops.watch_set = nullptr;
  EXPECT_THAT(refusal(ops), HasSubstr("lacks a required slot"));
}

TEST(LoopAttachment, SlotsBeyondTheTablesSizeAreAbsent) {
  onloop_ops ops = native().ops();
  ops.struct_size = offsetof(onloop_ops, fd);
  Context context{Loop(ops)};
  EXPECT_THROW((void)context.pollable_fd(), std::system_error);
}

TEST(LoopAttachment, SaysWhyAttachFailed) {
  onloop_ops ops = native().ops();
  ops.attach = [](const onloop_guest*, void*, onloop_loop**) { return -EMFILE; };
  EXPECT_THAT(refusal(ops), HasSubstr("attach to the loop \"native\": Too many open files"));
}

TEST(LoopAttachment, ANameWithAZeroByteIsShownWhole) {
  for (const std::string& name : {std::string("native\0evil", 11), std::string("glib\0evil", 9)}) {
    try {
      static_cast<void>(loop_by_name(name));
      ADD_FAILURE() << "it was found";
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code(), std::errc::invalid_argument);
      EXPECT_THAT(error.what(), AllOf(HasSubstr("\\0evil"), HasSubstr("there are: native")));
    }
  }
}

TEST(LoopAttachment, TheFileOfAShimHasNoZeroByteInItsPath) {
  try {
    static_cast<void>(detail::open_trusted(std::string("/bin/sh\0", 8), "load"));
    ADD_FAILURE() << "it was opened";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::invalid_argument);
    EXPECT_THAT(error.what(), HasSubstr("load: the path has a zero byte in it"));
  }
}

TEST(LoopAttachment, LoopByNameSaysWhichNamesThereAre) {
  EXPECT_EQ(loop_by_name("native-poll").name(), "native-poll");
  try {
    (void)loop_by_name("nosuch");
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_THAT(error.what(), HasSubstr("native, native-poll"));
  }
}

}  // namespace
}  // namespace onloop
