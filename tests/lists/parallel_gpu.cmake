# Ranks with a GPU each: the GPUs' collectives under mpirun, and drills; skipped where there are fewer than two GPUs.
if(TSR_CUDA_FOUND)
  tsr_add_rank_test(cuda_comm 2 "" $<TARGET_FILE:test_cuda_comm>)
  set_tests_properties(cuda_comm_2 PROPERTIES LABELS gpu SKIP_RETURN_CODE 77)

  # Drills, as in parallel.cmake: exit code, how often the line must show, the line, what goes wrong, by which means.
  add_executable(cuda_drill gpu/cuda_drill.c)
  target_link_libraries(cuda_drill PRIVATE tessera)
  function(tsr_add_cuda_drill code times line what kind)
    add_test(NAME drill_cuda_${what}_${kind} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/parallel_drill.sh 25 ${code} ${times}
             ${line} ${TSR_MPIRUN} 2 $<TARGET_FILE:cuda_drill> ${what} ${kind})
    set_tests_properties(drill_cuda_${what}_${kind} PROPERTIES TIMEOUT 60 PROCESSORS 2 ENVIRONMENT
                         "${TSR_MPI_SANITIZERS}" LABELS gpu SKIP_RETURN_CODE 77)
  endfunction()
  tsr_add_cuda_drill(0 2 "is fine$" fine ipc)
  tsr_add_cuda_drill(0 2 "is fine$" fine nccl)
  tsr_add_cuda_drill(fails 1 "rank 1 \\(pid [0-9]+\\) is gone, found in GPU collective number [0-9]+$" lost ipc)
  tsr_add_cuda_drill(fails 1 "rank 1 \\(pid [0-9]+\\) is gone, found in a GPU collective$" lost nccl)
  tsr_add_cuda_drill(5 1 "GPU collective number 181 passed its deadline of 2 s. not arrived: rank 1$" late ipc)
  tsr_add_cuda_drill(5 1 "a step of the GPU passed its deadline of 2 s$" late nccl)
endif()
