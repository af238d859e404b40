# What every target of this project is compiled with; nothing of it reaches those who link onloop.
add_library(onloop_warnings INTERFACE)
target_compile_options(onloop_warnings INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow)
option(ONLOOP_WERROR "Take warnings for errors; the presets do, for compilers that nobody has tried it is off" OFF)
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
    if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
      # GCC has no such check, and Clang 14 compiles no coroutine with it.
      add_compile_options(-fno-sanitize=function)
    endif()
  endif()
endif()

option(ONLOOP_PCH "Compile the headers that many files share once. Not with ccache, which would keep less" OFF)

# What is not the library is compiled as fast as it goes where a sanitizer is: half of the time of such a build went
# into optimising tests, which wait for the kernel.
function(onloop_optimise_sanitized target)
  if(ONLOOP_SANITIZE)
    target_compile_options(${target} PRIVATE -O1)
  endif()
endfunction()

# The way of a message crosses several source files; inlining across them saves 5 % of its instructions. Libraries keep
# ordinary object code beside, so that any linker can use what is installed.
include(CheckIPOSupported)
check_ipo_supported(RESULT ipo_supported OUTPUT ipo_reason LANGUAGES CXX)
if(ipo_supported AND NOT ONLOOP_SANITIZE)
  set(CMAKE_INTERPROCEDURAL_OPTIMIZATION_RELEASE ON)
  set(CMAKE_INTERPROCEDURAL_OPTIMIZATION_RELWITHDEBINFO ON)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Of programs nobody else links the objects.
    set(of_a_library "$<NOT:$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>>")
    add_compile_options($<$<AND:$<CONFIG:Release,RelWithDebInfo>,${of_a_library}>:-ffat-lto-objects>)
  endif()
endif()

# What makes a fault in a program that faces a network harder to use. Loads from libc need no stub, and the table of
# its functions is read-only before main. Not with sanitizers, which watch the same places.
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
  # The C library's checks need optimisation. The third level knows sizes that are known at run time only; the compiler
  # and the C library must both have it.
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
  # Linux gives programs a shadow stack, and no tracking of indirect branches: the latter's landing pads would be
  # instructions in the way of every message for nothing.
  check_cxx_compiler_flag(-fcf-protection=return ONLOOP_HAS_CF_PROTECTION)
  if(ONLOOP_HAS_CF_PROTECTION)
    add_compile_options(-fcf-protection=return)
    include(CheckLinkerFlag)
    check_linker_flag(CXX LINKER:-z,shstk ONLOOP_HAS_SHADOW_STACK_MARK)
    if(ONLOOP_HAS_SHADOW_STACK_MARK)  # start files of Debian 12 do not say so, and have nothing against it
      add_link_options(LINKER:-z,shstk)
    endif()
  endif()
endif()
