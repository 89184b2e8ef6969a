# An installed Tessera serves other projects. Not under sanitizers: those would have to be linked with them as well.
if(TARGET tessera_program AND NOT TSR_SANITIZE)
  add_test(NAME install COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/install_test.sh ${PROJECT_BINARY_DIR} ${CMAKE_C_COMPILER}
           ${PROJECT_SOURCE_DIR}/examples/models/shakespeare)
  set_tests_properties(install PROPERTIES TIMEOUT 300 ENVIRONMENT
                       "CMAKE_GENERATOR=${CMAKE_GENERATOR};OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;OMPI_MCA_rmaps_base_oversubscribe=1;CUDA_VISIBLE_DEVICES=")
endif()
