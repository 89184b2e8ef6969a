/* test_cuda_wait.c: waiting for a GPU is prompt, costs little of a core, and has a deadline. */
#include "support_gpu.h"

#include "base/log.h"
#include "layers/cuda/delay.h"
#include "runtime/cuda/gpu_internal.h"

#include <sys/resource.h>

static tsr_world *world;

static double thread_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_THREAD, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static tsr_gpu *open_gpu(double deadline)
{
    tsr_gpu *gpu;
    assert_int_equal(tsr_gpu_open(world, "cuda", &gpu), TSR_OK);
    assert_int_equal(tsr_gpu_connect(gpu, world, 1, 1, deadline), TSR_OK);
    return gpu;
}

/* Steps of 4 ms; their ends are seen within a fraction of a millisecond, the median within a tenth. */
static void waits_are_prompt_and_idle(void **state)
{
    (void)state;
    enum { WAITS = 101 };
    const double step = 4e-3;
    tsr_gpu *gpu = open_gpu(5);
    cudaEvent_t event;
    int late = 0;
    cuda_ok(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    double busy = thread_seconds(), begin = tsr_now();
    for (int i = 0; i < WAITS; i++) {
        double from = tsr_now();
        assert_int_equal(tsr_cuda_delay(step, gpu->stream), TSR_OK);
        cuda_ok(cudaEventRecord(event, gpu->stream));
        assert_int_equal(tsr_gpu_wait(gpu, event), TSR_OK);
        late += tsr_now() - from > step + 100e-6;
    }
    busy = (thread_seconds() - busy) / (tsr_now() - begin);
    print_message("late %d of %d, %.0f %% of a core\n", late, WAITS, 100 * busy);
    assert_true(late <= WAITS / 2);
    assert_true(busy < 0.4);
    cudaEventDestroy(event);
    tsr_gpu_close(&gpu);
}

static void waits_have_a_deadline(void **state)
{
    (void)state;
    tsr_gpu *gpu = open_gpu(0.2);
    cudaEvent_t event;
    cuda_ok(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    double from = tsr_now();
    assert_int_equal(tsr_cuda_delay(1.5, gpu->stream), TSR_OK);
    cuda_ok(cudaEventRecord(event, gpu->stream));
    assert_int_equal(tsr_gpu_wait(gpu, event), TSR_ERR_DEADLINE);
    assert_string_equal(tsr_error_text(), "a step of the GPU passed its deadline of 0.2 s");
    assert_true(tsr_now() - from < 1);
    assert_true(gpu->lost);
    tsr_gpu_close(&gpu); /* does not wait for the step either */
    assert_true(tsr_now() - from < 1);
}

int main(void)
{
    need_gpus(1);
    if (tsr_world_create(NULL, &world) != TSR_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_are_prompt_and_idle),
        cmocka_unit_test(waits_have_a_deadline),
    };
    int failed = cmocka_run_group_tests_name("cuda_wait", tests, NULL, NULL);
    tsr_world_destroy(&world);
    return failed;
}
