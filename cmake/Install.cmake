include(CMakePackageConfigHelpers)

install(TARGETS onloop EXPORT onloop-targets FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
# An installed static library has no intermediate form of GCC. Only the very compiler that made it can read it, each
# link of a user would optimise all of it again, and GCC 14 loses functions when it mixes it with unoptimised objects.
if(NOT BUILD_SHARED_LIBS AND CMAKE_OBJCOPY AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  install(CODE "
    file(GLOB library \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}/libonloop.a\")
    if(library)
      execute_process(COMMAND \"${CMAKE_OBJCOPY}\" --wildcard -R .gnu.lto_* -R .gnu.debuglto_* -N __gnu_lto_*
        \${library} COMMAND_ERROR_IS_FATAL ANY)
    endif()")
endif()
install(EXPORT onloop-targets NAMESPACE onloop:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/onloop)
configure_package_config_file(cmake/onloop-config.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/onloop-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/onloop)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/onloop-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/onloop-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/onloop-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/onloop)
configure_file(cmake/onloop.pc.in ${CMAKE_CURRENT_BINARY_DIR}/onloop.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/onloop.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
