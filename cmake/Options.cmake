# The options that all targets of this project are compiled with. They do not affect programs that link onloop.
add_library(onloop_warnings INTERFACE)
target_compile_options(onloop_warnings INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow)
option(ONLOOP_WERROR "Treat warnings as errors; set by the presets, OFF by default for untried compilers" OFF)
if(ONLOOP_WERROR)
  target_compile_options(onloop_warnings INTERFACE -Werror)
endif()

set(ONLOOP_SANITIZE "" CACHE STRING "Sanitizers for all targets: address,undefined or thread")
if(ONLOOP_SANITIZE)
  add_compile_options(-fsanitize=${ONLOOP_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${ONLOOP_SANITIZE})
  if(ONLOOP_SANITIZE MATCHES "undefined")
    # This check probes memory through a pipe. It reports false errors while a test holds all descriptors.
    add_compile_options(-fno-sanitize=vptr)
    if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
      # GCC does not have this check. Clang 14 cannot compile coroutines with it.
      add_compile_options(-fno-sanitize=function)
    endif()
  endif()
endif()

option(ONLOOP_PCH "Precompile the headers that many files share. With ccache, leave it OFF: it would cache less" OFF)

# In a build with a sanitizer, half of the time went into optimising tests, which only wait for the kernel. So only the
# library is optimised there.
function(onloop_optimise_sanitized target)
  if(ONLOOP_SANITIZE)
    target_compile_options(${target} PRIVATE -O1)
  endif()
endfunction()

# The code that handles a message is in several source files. Inlining across these files saves 5 % of the instructions.
# The objects of a static library must keep ordinary code beside the intermediate form, so that any linker can use them.
# Clang's do not, so there only a shared library is optimised in this way.
include(CheckIPOSupported)
check_ipo_supported(RESULT ipo_supported OUTPUT ipo_reason LANGUAGES CXX)
if(ipo_supported AND NOT ONLOOP_SANITIZE AND (CMAKE_CXX_COMPILER_ID STREQUAL "GNU" OR BUILD_SHARED_LIBS))
  set(CMAKE_INTERPROCEDURAL_OPTIMIZATION_RELEASE ON)
  set(CMAKE_INTERPROCEDURAL_OPTIMIZATION_RELWITHDEBINFO ON)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Of programs nobody else links the objects.
    set(of_a_library "$<NOT:$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>>")
    add_compile_options($<$<AND:$<CONFIG:Release,RelWithDebInfo>,${of_a_library}>:-ffat-lto-objects>)
  endif()
endif()

# These options make it harder to exploit a fault in a program that faces a network. Calls to libc need no stub, and the
# table of its functions is read-only before main. Sanitizers watch the same places, so the options are off with them.
option(ONLOOP_HARDENING "PIE, RELRO with BIND_NOW, stack protector, shadow stack; FORTIFY in optimised builds"
       ${PROJECT_IS_TOP_LEVEL})
if(ONLOOP_HARDENING AND NOT ONLOOP_SANITIZE)
  include(CheckPIESupported)
  check_pie_supported(LANGUAGES CXX)
  include(CheckCXXCompilerFlag)
  include(CheckCXXSourceCompiles)
  add_link_options(LINKER:-z,relro,-z,now)
  add_compile_options(-fstack-protector-strong)
  set(optimised "$<CONFIG:Release,RelWithDebInfo,MinSizeRel>")
  # The checks of the C library need optimisation. Level 3 also checks sizes that are known only at run time. Both the
  # compiler and the C library must support it.
  set(fortify_level 2)
  set(CMAKE_REQUIRED_FLAGS "-O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -Werror")
  check_cxx_source_compiles("#include <string.h>
    #if __USE_FORTIFY_LEVEL != 3
    #error
    #endif
    int main() {}" ONLOOP_HAS_FORTIFY_3)
  unset(CMAKE_REQUIRED_FLAGS)
  if(ONLOOP_HAS_FORTIFY_3)
    set(fortify_level 3)
  endif()
  add_compile_options($<${optimised}:-U_FORTIFY_SOURCE> $<${optimised}:-D_FORTIFY_SOURCE=${fortify_level}>)
  # Linux gives programs a shadow stack, but it does not track indirect branches. The landing pads for such tracking
  # would only cost instructions for every message.
  check_cxx_compiler_flag(-fcf-protection=return ONLOOP_HAS_CF_PROTECTION)
  if(ONLOOP_HAS_CF_PROTECTION)
    add_compile_options(-fcf-protection=return)
    include(CheckLinkerFlag)
    check_linker_flag(CXX LINKER:-z,shstk ONLOOP_HAS_SHADOW_STACK_MARK)
    if(ONLOOP_HAS_SHADOW_STACK_MARK)  # Debian 12: the start files lack the mark, but they work with a shadow stack
      add_link_options(LINKER:-z,shstk)
    endif()
  endif()
endif()
