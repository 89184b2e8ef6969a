# What `cmake --install` puts where: the library, tessera.h, the program, a CMake package and a pkg-config file, so
# that another project writes find_package(tessera) or `pkg-config --cflags --libs tessera`.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# Headers of the tree are for building the tree; installed, there is tessera.h alone. The libraries below are needed
# by whoever links the static library; a shared one carries them itself.
set(TSR_LINK_LIBRARIES Threads::Threads MPI::MPI_C PkgConfig::JANSSON PkgConfig::UTF8PROC PkgConfig::PCRE2
    PkgConfig::XXHASH hdf5::hdf5 m)
target_include_directories(tessera INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
get_target_property(TSR_LIBRARY_TYPE tessera TYPE)
if(TSR_LIBRARY_TYPE STREQUAL "STATIC_LIBRARY")
  target_link_libraries(tessera INTERFACE "$<INSTALL_INTERFACE:${TSR_LINK_LIBRARIES}>")
endif()
set_target_properties(tessera PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})

install(TARGETS tessera EXPORT tessera
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/tessera.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES LICENSE README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
if(TARGET tessera_program)
  install(TARGETS tessera_program DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(FILES ${PROJECT_BINARY_DIR}/tessera.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 OPTIONAL)
endif()

# CMake package -------------------------------------------------------------------------------------------------
set(TSR_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/tessera)
install(EXPORT tessera NAMESPACE tessera:: FILE tesseraTargets.cmake DESTINATION ${TSR_PACKAGE_DIR})
configure_package_config_file(cmake/tesseraConfig.cmake.in tesseraConfig.cmake INSTALL_DESTINATION ${TSR_PACKAGE_DIR})
write_basic_package_version_file(tesseraConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tesseraConfig.cmake ${PROJECT_BINARY_DIR}/tesseraConfigVersion.cmake
        DESTINATION ${TSR_PACKAGE_DIR})

# pkg-config ----------------------------------------------------------------------------------------------------
# The file finds its prefix from where it lies, so that `cmake --install --prefix` and moving the folder work.
# MPI and HDF5 have no pkg-config names of their own that all distributions share: their libraries are spelled out.
if(TSR_LIBRARY_TYPE STREQUAL "STATIC_LIBRARY")
  set(TSR_PC_REQUIRES "jansson libutf8proc libpcre2-8 libxxhash")
  set(TSR_PC_LIBS "-pthread -lm")
  get_target_property(TSR_HDF5_LIBRARY hdf5::hdf5 IMPORTED_LOCATION)
  foreach(library ${TSR_HDF5_LIBRARY} ${MPI_C_LIBRARIES})
    string(APPEND TSR_PC_LIBS " ${library}")
  endforeach()
endif()
if(TSR_LIBRARY_TYPE STREQUAL "STATIC_LIBRARY" AND TSR_CUDA_FOUND)
  string(APPEND TSR_PC_LIBS " ${CUDA_cudart_static_LIBRARY} -lstdc++ -lrt -ldl")
endif()
file(RELATIVE_PATH TSR_PC_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(cmake/tessera.pc.in tessera.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/tessera.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
