# Without libFuzzer the targets of torch files replay what is at hand.
file(GLOB torch_seeds ${CMAKE_CURRENT_SOURCE_DIR}/hostile/checkpoint/torch/*)
file(GLOB pickle_seeds ${CMAKE_CURRENT_SOURCE_DIR}/hostile/checkpoint/pickle/*)
add_test(NAME fuzz_torch_seeds COMMAND fuzz_torch ${torch_seeds})
add_test(NAME fuzz_pickle_seeds COMMAND fuzz_pickle ${pickle_seeds})
set_tests_properties(fuzz_torch_seeds fuzz_pickle_seeds PROPERTIES TIMEOUT 60)
file(GLOB megatron_seeds ${CMAKE_CURRENT_SOURCE_DIR}/hostile/checkpoint/megatron/*)
add_test(NAME fuzz_megatron_seeds COMMAND fuzz_megatron ${megatron_seeds})
set_tests_properties(fuzz_megatron_seeds PROPERTIES TIMEOUT 60)
