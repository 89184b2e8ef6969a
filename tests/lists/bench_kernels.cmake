# Timings of the CPU kernels: a program to run by hand, not a test.
add_executable(bench_kernels bench_kernels.c)
target_link_libraries(bench_kernels PRIVATE tessera)
