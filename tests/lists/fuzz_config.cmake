# Without libFuzzer the config target replays the configs that the numeric oracle is made of.
if(NOT TSR_FUZZ)
  file(GLOB TSR_CONFIGS ${CMAKE_CURRENT_SOURCE_DIR}/oracle/*/config.json)
  add_test(NAME fuzz_config_replay COMMAND fuzz_config ${TSR_CONFIGS})
endif()
