# The manual page tessera.1 and docs/configuration.md are printed by a small program from the option table. The page is
# made at build time; the document is checked in, and a test compares it.
file(GLOB TSR_MANUAL CONFIGURE_DEPENDS launch/manual/*.c)
add_executable(tessera_manual ${TSR_MANUAL} launch/options.c launch/option_names.c launch/option_value.c)
target_link_libraries(tessera_manual PRIVATE tessera)
if(NOT CMAKE_CROSSCOMPILING)
  add_custom_command(OUTPUT ${PROJECT_BINARY_DIR}/tessera.1
                     COMMAND tessera_manual page > ${PROJECT_BINARY_DIR}/tessera.1
                     DEPENDS tessera_manual VERBATIM)
  add_custom_target(tessera_manual_page ALL DEPENDS ${PROJECT_BINARY_DIR}/tessera.1)
endif()
