# Bodies of requests: the fuzz target over the kept ones.
target_link_libraries(fuzz_serve_call PRIVATE tessera_serve)
file(GLOB serve_seeds ${CMAKE_CURRENT_SOURCE_DIR}/hostile/serve/*)
add_test(NAME fuzz_serve_call_seeds COMMAND fuzz_serve_call ${serve_seeds})
set_tests_properties(fuzz_serve_call_seeds PROPERTIES TIMEOUT 60)
