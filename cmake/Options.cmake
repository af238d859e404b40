# What every target of this project is compiled with; nothing of it reaches those who link onloop.
add_library(onloop_warnings INTERFACE)
target_compile_options(onloop_warnings INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow)
option(ONLOOP_WERROR "Take warnings for errors; the presets do, for compilers that this was not tried with it is off" OFF)
if(ONLOOP_WERROR)
  target_compile_options(onloop_warnings INTERFACE -Werror)
endif()

set(ONLOOP_SANITIZE "" CACHE STRING "Sanitizers for everything: address,undefined or thread")
if(ONLOOP_SANITIZE)
  add_compile_options(-fsanitize=${ONLOOP_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${ONLOOP_SANITIZE})
  if(ONLOOP_SANITIZE MATCHES "undefined")
    # This check probes memory through a pipe, and reports falsely while a test holds all descriptors.
    add_compile_options(-fno-sanitize=vptr)
  endif()
endif()

# The way of a message crosses several source files; inlining across them saves 5 % of its instructions. Libraries keep
# ordinary object code beside, so that any linker can use what is installed.
include(CheckIPOSupported)
check_ipo_supported(RESULT ipo_supported OUTPUT ipo_reason LANGUAGES CXX)
if(ipo_supported AND NOT ONLOOP_SANITIZE)
  set(CMAKE_INTERPROCEDURAL_OPTIMIZATION_RELEASE ON)
  set(CMAKE_INTERPROCEDURAL_OPTIMIZATION_RELWITHDEBINFO ON)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options($<$<CONFIG:Release,RelWithDebInfo>:-ffat-lto-objects>)
  endif()
endif()
