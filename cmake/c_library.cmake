# SPDX-License-Identifier: MIT
# The C library: static and shared, with headers, find_package(unrolled) and pkg-config; and its fuzz targets.
add_library(c_api OBJECT cpp/c_api/unrolled.cc)
target_link_libraries(c_api PUBLIC core)
target_include_directories(c_api PUBLIC include)
target_compile_definitions(c_api PRIVATE UNROLLED_BUILDING UNROLLED_VERSION="${PROJECT_VERSION}")

if(UNROLLED_BUILD_FUZZERS)
  foreach(target plan_file c_api)
    add_executable(fuzz_${target} tests/fuzz/${target}.cc)
    target_link_libraries(fuzz_${target} PRIVATE c_api core ${kernel_libraries} Threads::Threads)
    target_link_options(fuzz_${target} PRIVATE -fsanitize=fuzzer)
  endforeach()
endif()
if(NOT UNROLLED_BUILD_LIBRARY)
  return()
endif()

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(objects $<TARGET_OBJECTS:c_api> $<TARGET_OBJECTS:core>)
foreach(kernel ${kernel_libraries})
  list(APPEND objects $<TARGET_OBJECTS:${kernel}>)
endforeach()
add_library(unrolled_static STATIC ${objects})
add_library(unrolled_shared SHARED ${objects})
foreach(library unrolled_static unrolled_shared)
  target_include_directories(${library} INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                                  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  set_target_properties(${library} PROPERTIES OUTPUT_NAME unrolled LINKER_LANGUAGE CXX)
  target_link_libraries(${library} PRIVATE Threads::Threads)
  if(TARGET OpenMP::OpenMP_CXX)
    target_link_libraries(${library} PRIVATE OpenMP::OpenMP_CXX)
  endif()
endforeach()
set_target_properties(unrolled_static PROPERTIES EXPORT_NAME static)
set_target_properties(unrolled_shared PROPERTIES EXPORT_NAME shared VERSION ${PROJECT_VERSION}
                                                 SOVERSION ${PROJECT_VERSION_MAJOR})
if(WIN32)
  set_target_properties(unrolled_static PROPERTIES OUTPUT_NAME unrolled_static)
  target_compile_definitions(unrolled_shared INTERFACE UNROLLED_SHARED)
elseif(APPLE)
  target_link_options(unrolled_shared PRIVATE "LINKER:-exported_symbol,_unrolled_*")
else()
  # Nothing but the functions of unrolled.h leaves the library.
  target_link_options(unrolled_shared PRIVATE "LINKER:--exclude-libs,ALL"
                      "LINKER:--version-script=${PROJECT_SOURCE_DIR}/cmake/c_exports.map")
  set_target_properties(unrolled_shared PROPERTIES LINK_DEPENDS "${PROJECT_SOURCE_DIR}/cmake/c_exports.map")
endif()

set(config_folder ${CMAKE_INSTALL_LIBDIR}/cmake/unrolled)
install(TARGETS unrolled_static unrolled_shared EXPORT unrolled COMPONENT library
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES include/unrolled.h include/unrolled.hpp DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT library)
install(EXPORT unrolled NAMESPACE unrolled:: FILE unrolled-targets.cmake DESTINATION ${config_folder}
        COMPONENT library)
set(needs_openmp ${OpenMP_CXX_FOUND})
configure_package_config_file(cmake/unrolled-config.cmake.in unrolled-config.cmake
                              INSTALL_DESTINATION ${config_folder})
write_basic_package_version_file(unrolled-config-version.cmake COMPATIBILITY SameMajorVersion)
install(FILES ${PROJECT_BINARY_DIR}/unrolled-config.cmake ${PROJECT_BINARY_DIR}/unrolled-config-version.cmake
        DESTINATION ${config_folder} COMPONENT library)
set(openmp_flags ${OpenMP_CXX_FLAGS})
configure_file(cmake/unrolled.pc.in unrolled.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/unrolled.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT library)
