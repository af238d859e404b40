include(CMakePackageConfigHelpers)

install(TARGETS onloop EXPORT onloop-targets FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT onloop-targets NAMESPACE onloop:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/onloop)
configure_package_config_file(cmake/onloop-config.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/onloop-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/onloop)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/onloop-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/onloop-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/onloop-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/onloop)
configure_file(cmake/onloop.pc.in ${CMAKE_CURRENT_BINARY_DIR}/onloop.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/onloop.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
