# Timings of the CPU kernels: programs to run by hand, not tests.
foreach(bench bench_kernels bench_attention)
  add_executable(${bench} ${bench}.c)
  target_link_libraries(${bench} PRIVATE tessera)
endforeach()
