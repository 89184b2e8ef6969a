# The tree holds to its own rules. Formatting is skipped where clang-format 14 is not there.
add_test(NAME house_rules COMMAND ${PROJECT_SOURCE_DIR}/scripts/check-house.sh)
add_test(NAME house_rules_catch COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/house_test.sh)
add_test(NAME house_format COMMAND ${PROJECT_SOURCE_DIR}/scripts/check-format.sh)
set_tests_properties(house_format PROPERTIES SKIP_RETURN_CODE 77)
