# Tests of the whole program, each a Python script of the standard library. What they start has its own time limits;
# TIMEOUT is for a machine that is busy with other things.
find_package(Python3 COMPONENTS Interpreter)
set(program_environment PYTHONDONTWRITEBYTECODE=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
    OMPI_MCA_pml=ob1 OMPI_MCA_btl=self,vader # looking for fabrics would take half the time of a small job
    CUDA_VISIBLE_DEVICES=) # what is compared here are the bits and the memory of CPUs, on more ranks than there are GPUs

# add_program_test(NAME SCRIPT ARGUMENT...)
function(add_program_test name script)
  add_test(NAME ${name}
           COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/${script} $<TARGET_FILE:tessera_program> ${ARGN})
  set_tests_properties(${name} PROPERTIES TIMEOUT 900 LABELS program ENVIRONMENT "${program_environment}")
endfunction()

if(TARGET tessera_program AND Python3_FOUND)
  add_program_test(program_usage program/check_usage.py)
  add_program_test(program_config program/check_config.py)
  add_program_test(program_chat program/check_chat.py)
  add_program_test(program_classify program/check_classify.py)
  add_program_test(program_plan program/check_plan.py)
  add_program_test(program_batching program/check_batching.py)
  add_program_test(program_text program/check_text.py)
  add_program_test(program_serve program/check_serve.py)
  add_program_test(program_serve_hostile program/check_serve_hostile.py)
  add_program_test(program_hostile_weights program/check_hostile.py Weights Index Places)
  add_program_test(program_hostile_config program/check_hostile.py Config)
  add_program_test(program_hostile_tokenizer program/check_hostile.py Tokenizer)
  add_program_test(program_hostile_torch program/check_hostile_torch.py)
  add_program_test(program_hostile_megatron program/check_hostile_megatron.py)
  add_program_test(program_forms_n1 program/check_forms.py)
  add_program_test(program_hostile_training program/check_hostile_training.py)
  add_program_test(program_training program/check_training.py)
  add_program_test(program_presharded program/check_presharded.py)
  add_program_test(program_convert program/check_convert.py)
  add_program_test(program_megatron program/check_megatron.py Layouts.test_every_layout Places Converted)
  add_program_test(program_cache program/check_cache.py)
  add_program_test(program_memory program/check_memory.py)
  add_program_test(program_jobs program/check_jobs.py)
  # Jobs must end within seconds, which a machine busy with other tests would not give them.
  set_tests_properties(program_jobs PROPERTIES RUN_SERIAL TRUE)

  # The numbers of transformers, on any number of ranks.
  add_program_test(oracle_float32_n1 oracle/check_generate.py)
  add_program_test(oracle_float32_n1_portable oracle/check_generate.py)
  set_tests_properties(oracle_float32_n1_portable PROPERTIES ENVIRONMENT "${program_environment};TESSERA_ISA=portable")
  add_program_test(oracle_bfloat16_n1 oracle/check_generate.py --dtype bfloat16)
  add_program_test(oracle_heads_n1 oracle/check_heads.py)
  if(MPIEXEC_EXECUTABLE)
    set(ranks_environment "${program_environment};ASAN_OPTIONS=detect_leaks=0") # Open MPI leaks at its end
    if(TSR_SANITIZE) # what score computes is seen on one rank
      set(which_scored --score none)
    endif()
    foreach(ranks ${TSR_TEST_RANK_COUNTS})
      add_program_test(program_forms_n${ranks} program/check_forms.py --ranks ${ranks})
      add_program_test(program_megatron_n${ranks} program/check_megatron.py Layouts.test_at_${ranks}_ranks)
      set_tests_properties(program_forms_n${ranks} program_megatron_n${ranks}
                           PROPERTIES PROCESSORS 2 ENVIRONMENT "${ranks_environment}")
      add_program_test(oracle_float32_n${ranks} oracle/check_generate.py --jobs 4 ${which_scored} --launcher
                       "${MPIEXEC_EXECUTABLE} ${MPIEXEC_NUMPROC_FLAG} ${ranks}")
      add_program_test(oracle_heads_n${ranks} oracle/check_heads.py --ranks ${ranks})
      set_tests_properties(oracle_float32_n${ranks} oracle_heads_n${ranks}
                           PROPERTIES PROCESSORS 2 ENVIRONMENT "${ranks_environment}")
    endforeach()
    if(2 IN_LIST TSR_TEST_RANK_COUNTS)
      add_program_test(oracle_bfloat16_n2 oracle/check_generate.py --jobs 4 --dtype bfloat16 --launcher
                       "${MPIEXEC_EXECUTABLE} ${MPIEXEC_NUMPROC_FLAG} 2")
      set_tests_properties(oracle_bfloat16_n2 PROPERTIES PROCESSORS 2 ENVIRONMENT "${ranks_environment}")
    endif()
  endif()

  # What depends on how files are read and jobs end, not on what a compiler makes of arithmetic: clang's leg leaves it out.
  get_property(names DIRECTORY PROPERTY TESTS)
  list(FILTER names INCLUDE REGEX
       "^program_(hostile|forms|training|presharded|convert|megatron|cache|memory|jobs|serve_hostile)")
  foreach(name IN LISTS names)
    set_property(TEST ${name} APPEND PROPERTY LABELS files)
  endforeach()
  # And what measures, or has processes killed, has nothing to show to sanitizers.
  foreach(name program_jobs program_memory program_plan oracle_float32_n1_portable)
    set_property(TEST ${name} APPEND PROPERTY LABELS unsanitized)
  endforeach()
endif()
