# onloop_conformance(TARGET SOURCE...) adds a test program that runs the cases of the conformance kit on the providers
# in the sources.
function(onloop_conformance target)
  add_executable(${target} ${ARGN})
  target_link_libraries(${target} PRIVATE onloop::conformance)
  add_test(NAME ${target} COMMAND ${target} --gtest_brief=1)
  set_tests_properties(${target} PROPERTIES TIMEOUT 600)
endfunction()
