# What every target of this project is compiled with; nothing of it reaches those who link onloop.
add_library(onloop_warnings INTERFACE)
target_compile_options(onloop_warnings INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror)

set(ONLOOP_SANITIZE "" CACHE STRING "Sanitizers for everything: address,undefined or thread")
if(ONLOOP_SANITIZE)
  add_compile_options(-fsanitize=${ONLOOP_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${ONLOOP_SANITIZE})
endif()
