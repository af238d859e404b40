// Loops by name: the native ones, shims that are linked to the program, and shims that are loaded.
//
// A shim's table is looked for among the program's own symbols first. Else libonloop-NAME.so is loaded from where
// onloop is installed, and from nowhere else: not from the current directory, nor by a search path, nor a file that
// others can change (trusted_file.hpp). It is never unloaded, since a host may still call back into it (uv_close does).

#include <dlfcn.h>
#include <link.h>
#include <sys/stat.h>
#include <unistd.h>
#include <onloop/loop_by_name.hpp>

#include <algorithm>
#include <array>
#include <filesystem>
#include <mutex>
#include <string>
#include <vector>

#include "core/base/error.hpp"
#include "core/loop/loop_attachment.hpp"
#include "core/loop/trusted_file.hpp"

namespace onloop {
namespace {

namespace fs = std::filesystem;
using detail::throw_error;
using detail::TrustedFile;

struct Known {
  const char* name;
  const char* description;
};
constexpr std::array<Known, 4> kOwnShims{{{"libevent", "an event_base of libevent"},
                                          {"libuv", "a uv_loop_t of libuv"},
                                          {"glib", "a GMainContext of GLib"},
                                          {"sdevent", "an sd_event loop of libsystemd"}}};

constexpr std::string_view kPrefix = "libonloop-";
constexpr std::string_view kSuffix = ".so";

bool valid(std::string_view name) {
  constexpr std::size_t kLongest = 32;
  const auto good = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  return !name.empty() && name.size() <= kLongest && std::all_of(name.begin(), name.end(), good);
}

/// Where shims may lie: beside libonloop, if it is a shared library; else in the library directory of the installation
/// that the program is in, in the one whose header the program was compiled with, and in the one that onloop was
/// configured for.
std::vector<fs::path> library_directories(const char* header) {
  static const char here = 0;
  Dl_info info{};
  link_map* map = nullptr;
  if (dladdr1(&here, &info, reinterpret_cast<void**>(&map), RTLD_DL_LINKMAP) != 0 && map) {
    const fs::path library = map->l_name;
    if (library.is_absolute() && library.filename().string().starts_with("libonloop.")) {
      std::error_code unknown;  // the path is the one by which it was found, perhaps PREFIX/bin/../lib
      const fs::path directory = fs::canonical(library.parent_path(), unknown);
      return {unknown ? library.parent_path() : directory};
    }
  }
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  std::vector<fs::path> directories;
  if (!error) directories.push_back(program.parent_path().parent_path() / ONLOOP_LIBDIR);
  constexpr std::string_view kHeader = "/" ONLOOP_INCLUDEDIR "/onloop/loop_by_name.hpp";
  if (const std::string_view place = header ? header : ""; place.starts_with('/') && place.ends_with(kHeader)) {
    // With ".." in it, if it comes from pkg-config.
    const fs::path prefix = fs::weakly_canonical(place.substr(0, place.size() - kHeader.size() + 1), error);
    if (!error) directories.push_back(prefix / ONLOOP_LIBDIR);
  }
  directories.emplace_back(ONLOOP_FULL_LIBDIR);
  return directories;
}

/// Where the shim of that name is, or would be.
fs::path file_for(std::string_view name, const char* header) {
  const std::vector<fs::path> directories = library_directories(header);
  const std::string file = std::string(kPrefix) + std::string(name) + std::string(kSuffix);
  for (const fs::path& directory : directories) {
    if (std::error_code error; fs::exists(directory / file, error)) return directory / file;
  }
  return directories.front() / file;
}

std::string symbol_for(std::string_view name) {
  std::string symbol = "onloop_shim_" + std::string(name);
  std::replace(symbol.begin(), symbol.end(), '-', '_');
  return symbol;
}

const onloop_ops* linked(std::string_view name) {
  return static_cast<const onloop_ops*>(dlsym(RTLD_DEFAULT, symbol_for(name).c_str()));
}

struct Library {
  dev_t device;
  ino_t inode;
  void* handle;
};

/// Loads the file that was checked: by its descriptor, and not by its path again. Once for each file.
void* load(const TrustedFile& file, const std::string& what) {
  static std::mutex mutex;
  static std::vector<Library> loaded;
  const std::lock_guard lock(mutex);
  for (const Library& each : loaded) {
    if (each.device == file.device && each.inode == file.inode) return each.handle;
  }
  // dlopen takes two libraries of one name for the same. The number of the descriptor comes again, the number of the
  // slashes does not.
  std::string name = "/proc/self/fd" + std::string(loaded.size() + 1, '/') + std::to_string(file.fd.get());
  struct stat seen {};
  const bool same = stat(name.c_str(), &seen) == 0 && seen.st_dev == file.device && seen.st_ino == file.inode;
  if (!same) name = file.path;  // no /proc: the path, which nobody else could have changed since
  void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!library) {
    std::string reason = dlerror();
    if (reason.starts_with(name)) reason.replace(0, name.size(), file.path);
    throw_error(ENOEXEC, what + ": " + reason);
  }
  loaded.push_back({file.device, file.inode, library});
  return library;
}

/// Throws where it can't be used.
const onloop_ops& load(std::string_view name, const fs::path& file) {
  const std::string what = "load the loop \"" + std::string(name) + "\" from " + file.string();
  if (std::error_code error; !fs::exists(file, error)) {
    throw_error(ENOENT, what + ", which is not there: install the component \"" + std::string(name) + "\" of onloop");
  }
  void* library = load(detail::open_trusted(file, what), what);
  const std::string symbol = symbol_for(name);
  const auto* ops = static_cast<const onloop_ops*>(dlsym(library, symbol.c_str()));
  if (!ops) throw_error(EPROTO, what + ": it is no shim for onloop: it has no symbol " + symbol);
  if (const std::string reason = detail::refusal(*ops); !reason.empty()) throw_error(EPROTO, what + ": " + reason);
  return *ops;
}

/// The names of what lies in the library directories.
std::vector<std::string> installed(const char* header) {
  std::vector<std::string> names;
  for (const fs::path& directory : library_directories(header)) {
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) {
      const std::string file = entry.path().filename().string();
      if (!file.starts_with(kPrefix) || !file.ends_with(kSuffix)) continue;
      const std::string name = file.substr(kPrefix.size(), file.size() - kPrefix.size() - kSuffix.size());
      if (valid(name)) names.push_back(name);
    }
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

bool is_own(std::string_view name) {
  return std::any_of(kOwnShims.begin(), kOwnShims.end(), [name](const Known& shim) { return shim.name == name; });
}

/// Looked up without loading anything.
std::string names_that_there_are(const char* header) {
  std::string names = "native, native-poll";
  std::vector<std::string> shims = installed(header);
  for (const Known& shim : kOwnShims) {
    if (linked(shim.name) && !std::binary_search(shims.begin(), shims.end(), shim.name)) shims.emplace_back(shim.name);
  }
  for (const std::string& name : shims) names += ", " + name;
  return names;
}

LoopInfo info_of(const std::string& name, const std::string& about, const char* header) {
  const std::string begin = about.empty() ? "" : about + "; ";
  if (const onloop_ops* ops = linked(name)) {
    const std::string reason = detail::refusal(*ops);
    return {name, reason.empty(), begin + (reason.empty() ? "linked to this program" : reason)};
  }
  const fs::path file = file_for(name, header);
  if (std::error_code error; !fs::exists(file, error))
    return {name, false, begin + "not available: no " + file.string()};
  try {
    static_cast<void>(load(name, file));
    return {name, true, begin + "loaded from " + file.string()};
  } catch (const std::system_error& error) {
    return {name, false, begin + "not available: " + error.what()};
  }
}

}  // namespace

std::vector<LoopInfo> available_loops(const char* header) {
  std::vector<LoopInfo> loops{{"native", true, "onloop's own loop on epoll(7)"},
                              {"native-poll", true, "onloop's own loop on poll(2)"}};
  for (const Known& shim : kOwnShims) loops.push_back(info_of(shim.name, shim.description, header));
  for (const std::string& name : installed(header)) {
    if (!is_own(name)) loops.push_back(info_of(name, {}, header));
  }
  return loops;
}

Loop loop_by_name(std::string_view name, const char* header) {
  for (const Loop& loop : {native(), native_poll()}) {
    if (loop.name() == name) return loop;
  }
  if (valid(name)) {
    if (const onloop_ops* ops = linked(name)) {
      if (const std::string reason = detail::refusal(*ops); !reason.empty()) {
        throw_error(EPROTO, "use the loop \"" + std::string(name) + "\", which is linked to this program: " + reason);
      }
      return Loop{*ops}.aggregate();
    }
    const fs::path file = file_for(name, header);
    if (std::error_code error; is_own(name) || fs::exists(file, error)) return Loop{load(name, file)}.aggregate();
  }
  throw_error(EINVAL, "unknown loop \"" + std::string(name) + "\" (there are: " + names_that_there_are(header) + ")");
}

}  // namespace onloop
