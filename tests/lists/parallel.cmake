# Ranks: the tests of parallel/ under mpirun with up to four ranks, more than most machines of CI have cores; and drills,
# jobs that go wrong on purpose. Open MPI leaks at its end and takes locks in both orders, so leaks and lock orders are
# not looked for here; the same code runs alone as test_parallel_* with both.
set(TSR_MPI_SANITIZERS "ASAN_OPTIONS=detect_leaks=0"
                       "TSAN_OPTIONS=detect_deadlocks=0:ignore_noninstrumented_modules=1")
set(TSR_MPIRUN ${MPIEXEC_EXECUTABLE} --oversubscribe --allow-run-as-root ${MPIEXEC_NUMPROC_FLAG})

function(tsr_add_rank_test name ranks environment)
  add_test(NAME ${name}_${ranks} COMMAND ${TSR_MPIRUN} ${ranks} ${ARGN})
  set_tests_properties(${name}_${ranks} PROPERTIES TIMEOUT 300 PROCESSORS ${ranks} ENVIRONMENT
                       "${TSR_MPI_SANITIZERS};TSR_TEST_RANKS=${ranks};${environment}")
endfunction()

foreach(ranks 1 2 3 4)
  tsr_add_rank_test(parallel_world ${ranks} "" $<TARGET_FILE:test_parallel_world>)
endforeach()
foreach(ranks 2 4)
  tsr_add_rank_test(parallel_world_mpi ${ranks} "TSR_TEST_THROUGH_MPI=1" $<TARGET_FILE:test_parallel_world>)
endforeach()

# Drills: seconds, exit code, how often the line must show, the line, ranks, what goes wrong.
add_executable(parallel_drill parallel_drill.c)
target_link_libraries(parallel_drill PRIVATE tessera)

function(tsr_add_drill name seconds code times line ranks what)
  add_test(NAME drill_${name} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/parallel_drill.sh ${seconds} ${code} ${times}
           ${line} ${TSR_MPIRUN} ${ranks} $<TARGET_FILE:parallel_drill> ${what})
  set_tests_properties(drill_${name} PROPERTIES TIMEOUT 60 PROCESSORS ${ranks} ENVIRONMENT
                       "${TSR_MPI_SANITIZERS}")
endfunction()

set(gone "rank 1 \\(pid [0-9]+\\) is gone, found in all-reduce number 123")
set(missing "all-reduce number 2 passed its deadline of 1 s. not arrived: rank")
tsr_add_drill(lost 10 fails 1 ${gone} 2 lost)
tsr_add_drill(lost_of_four 10 fails 1 ${gone} 4 lost)
tsr_add_drill(lost_through_mpi 10 fails 1 ${gone} 2 lost-mpi)
tsr_add_drill(lost_leader 10 fails 1 "rank 0 \\(pid [0-9]+\\) is gone, found in broadcast number 1" 3 lost-idle)
tsr_add_drill(late 10 5 1 "${missing} 1$" 2 late)
tsr_add_drill(late_of_three 10 5 1 "${missing} 2$" 3 late)
tsr_add_drill(late_through_mpi 10 5 1 "${missing} 2$" 3 late-mpi)
tsr_add_drill(torn 20 3 1 "^tessera\\[0\\]: rank 1: model.safetensors: torn$" 3 torn)
tsr_add_drill(fine 20 0 3 "is fine$" 3 fine)

add_test(NAME drill_plain_srun COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/parallel_drill.sh 10 2 1 "use srun --mpi=pmix"
         env SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=1 $<TARGET_FILE:parallel_drill> fine)

# What meeting costs: a program to run by hand, not a test.
add_executable(bench_parallel bench_parallel.c)
target_link_libraries(bench_parallel PRIVATE tessera)
