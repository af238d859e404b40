# The conformance kit is installed as source and compiled into the test program of whoever uses it: with that program's
# compiler, options and sanitizers, and its GoogleTest.
set(kit_folder ${CMAKE_INSTALL_DATADIR}/onloop/conformance)
set(kit_sources)
foreach(name behaviour changes close_error counted_loop cutover cutover_callbacks cutover_state descriptors destruction
        fairness fixtures fork as_found provider raw_guest readiness report run_stop session threads time timers trace wake)
  list(APPEND kit_sources conformance/${name}.cpp)
endforeach()
set(kit_support support/process_state.cpp)

set(ONLOOP_CONFORMANCE_SOURCES ${kit_sources})
list(TRANSFORM ONLOOP_CONFORMANCE_SOURCES PREPEND ${PROJECT_SOURCE_DIR}/tests/)

add_library(onloop-conformance INTERFACE)
set_target_properties(onloop-conformance PROPERTIES EXPORT_NAME conformance)
foreach(source IN LISTS kit_sources kit_support)
  target_sources(onloop-conformance INTERFACE $<INSTALL_INTERFACE:${kit_folder}/${source}>)
endforeach()
target_include_directories(onloop-conformance INTERFACE $<INSTALL_INTERFACE:${kit_folder}>)
target_link_libraries(onloop-conformance INTERFACE onloop GTest::gtest_main)
install(TARGETS onloop-conformance EXPORT onloop-conformance-targets)
install(EXPORT onloop-conformance-targets NAMESPACE onloop:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/onloop)
install(FILES cmake/OnloopConformance.cmake DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/onloop)
foreach(source IN LISTS kit_sources kit_support)
  get_filename_component(folder ${source} DIRECTORY)
  install(FILES tests/${source} DESTINATION ${kit_folder}/${folder})
endforeach()
foreach(header conformance/counted_loop.hpp conformance/descriptors.hpp conformance/fixtures.hpp
        conformance/raw_guest.hpp conformance/report.hpp conformance/session.hpp support/process_state.hpp)
  get_filename_component(folder ${header} DIRECTORY)
  install(FILES tests/${header} DESTINATION ${kit_folder}/${folder})
endforeach()
