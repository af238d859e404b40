#pragma once
/// @file
/// Loops by their names, such as from a command line or a configuration file.
#include <onloop/export.h>
#include <onloop/loop.hpp>

#include <string>
#include <string_view>
#include <vector>

#ifndef ONLOOP_LOOP_HEADER
/// The path of this header. A static library can't know the prefix to which it was installed, but a program that
/// includes its header does. The CMake package sets this macro, too, since `__FILE__` may be mapped (ccache,
/// -fmacro-prefix-map). It is null in a build tree.
#define ONLOOP_LOOP_HEADER __FILE__
#endif

namespace onloop {

/// One loop that available_loops() has found.
struct ONLOOP_API LoopInfo {
  std::string name;         ///< the name that loop_by_name takes
  bool available = false;   ///< whether loop_by_name can give this loop
  std::string description;  ///< one line for people: what the loop is, where its shim is, or why it can't be used
};

/// Lists the loops that this program can name: the native loops, the shims that belong to onloop, and further shims. A
/// shim of onloop is in the list whether it is linked, installed or neither. A further shim is a library
/// libonloop-NAME.so in the directory to which onloop is installed.
///
/// This function loads an installed shim, to find out whether it can be used. It never loads a file that other users
/// can change.
///
/// @param header Leave it out. The default is the path of this header, by which a program with a static onloop finds
/// the installation.
[[nodiscard]] ONLOOP_API std::vector<LoopInfo> available_loops(const char* header = ONLOOP_LOOP_HEADER);

/// Makes a Loop from a name. It is an owned loop. It has aggregate hosting if it is not a native one.
///
/// If the shim is linked to the program, that shim is used; a shim in the program itself must be exported, by
/// -rdynamic. Otherwise the shim is loaded from the directory to which onloop is installed, and is never unloaded.
///
/// @param name Lower-case letters, digits and dashes.
/// @param header Leave it out, as for available_loops().
/// @throws std::system_error with EINVAL for an unknown name; the message lists the known names. Otherwise the message
/// names the file that can't be used, and the reason: ENOENT if it is missing, EPERM if other users can change the file
/// or a directory or link on its path, ENOEXEC or EPROTO if the file is no shim or has another version.
[[nodiscard]] ONLOOP_API Loop loop_by_name(std::string_view name, const char* header = ONLOOP_LOOP_HEADER);

}  // namespace onloop
