# Without libFuzzer these targets replay their seeds.
if(NOT TSR_FUZZ)
  file(GLOB TSR_CHAT_TEMPLATES ${CMAKE_CURRENT_SOURCE_DIR}/template/chats/*.jinja)
  add_test(NAME fuzz_template_replay COMMAND fuzz_template ${TSR_CHAT_TEMPLATES})
  file(GLOB TSR_PROPERTIES ${CMAKE_CURRENT_SOURCE_DIR}/program/lmi/*.properties)
  add_test(NAME fuzz_properties_replay COMMAND fuzz_properties ${TSR_PROPERTIES})
endif()
