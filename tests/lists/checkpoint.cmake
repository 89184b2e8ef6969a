# The fuzz targets of checkpoint/ run over the kept hostile files.
file(GLOB safetensors_seeds ${CMAKE_CURRENT_SOURCE_DIR}/hostile/checkpoint/safetensors/*.safetensors)
file(GLOB index_seeds ${CMAKE_CURRENT_SOURCE_DIR}/hostile/checkpoint/index/*.json)
add_test(NAME fuzz_safetensors_seeds COMMAND fuzz_safetensors ${safetensors_seeds})
add_test(NAME fuzz_index_seeds COMMAND fuzz_index ${index_seeds})
set_tests_properties(fuzz_safetensors_seeds fuzz_index_seeds PROPERTIES TIMEOUT 60)
file(GLOB sidecar_seeds ${CMAKE_CURRENT_SOURCE_DIR}/hostile/checkpoint/cache/*.json)
add_test(NAME fuzz_cache_sidecar_seeds COMMAND fuzz_cache_sidecar ${sidecar_seeds})
set_tests_properties(fuzz_cache_sidecar_seeds PROPERTIES TIMEOUT 60)
