/* test_training.c: training checkpoints of DeepSpeed's, from the inputs that fuzzing starts with: whatever allocation
 * fails, nothing is lost; and sums of tensors, read in all pieces. That the numbers are right is for
 * program/check_training.py to say. */
#include "base/log.h"
#include "base/memory.h"
#include "checkpoint/state.h"
#include "checkpoint/sum.h"
#include "support_training.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <cmocka.h>

#define OK(expression)                                                                                       \
    do {                                                                                                     \
        tsr_status ok_ = (expression);                                                                       \
        if (ok_ != TSR_OK) fail_msg("%s: %s: %s", #expression, tsr_status_name(ok_), tsr_error_text());      \
    } while (0)

static char folder[ST_PATH], tag[ST_PATH];

static int set_up(void **state)
{
    (void)state;
    st_folder_create(folder);
    st_path(tag, folder, "tag");
    return mkdir(tag, 0700);
}

static int tear_down(void **state)
{
    (void)state;
    st_folder_remove(tag);
    st_folder_remove(folder);
    return 0;
}

static void unpack(const char *name)
{
    static uint8_t row[8192], numbers[TRAINING_STORAGES * 255];
    char path[ST_PATH];
    snprintf(path, sizeof path, TSR_TEST_DATA "/hostile/checkpoint/training/%s.bin", name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(row, 1, sizeof row, f);
    assert_true(n < sizeof row && fclose(f) == 0);
    assert_true(training_unpack(row, n, numbers, folder, tag));
}

/* Opens and reads everything; the last status. */
static tsr_status use(int64_t tensors)
{
    tsr_source *source;
    char bytes[1024];
    tsr_status status = tsr_source_open(folder, &source);
    if (status != TSR_OK) {
        assert_null(source);
        return status;
    }
    assert_int_equal(tsr_source_count(source), tensors);
    for (int64_t i = 0; i < tensors && status == TSR_OK; i++) {
        const tsr_tensor_info *t = tsr_source_tensor(source, i);
        status = tsr_source_read(source, t, 0, t->bytes, bytes);
    }
    tsr_source_destroy(&source);
    return status;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t tensors;
    } cases[] = {{"zero1", 5},  {"zero2", 5},      {"zero3", 5}, {"module", 4},
                 {"layers", 8}, {"sequential", 8}, {"gpt2", 8}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tsr_status status = TSR_ERR_MEMORY;
        int failures = 0;
        unpack(cases[i].name);
        for (int64_t n = 1; status == TSR_ERR_MEMORY; n++, failures++) {
            tsr_memory_fail_after(n);
            status = use(cases[i].tensors);
            tsr_memory_fail_after(0);
        }
        OK(status);
        assert_true(failures > 20);
    }
}

/* A source of one file, and n vectors of four elements each in it. */
static tsr_source *vectors(const void *bytes, tsr_dtype dtype, int n, const tsr_view **out)
{
    tsr_source *s;
    int file;
    int64_t each = 4 * tsr_dtype_bytes(dtype);
    st_write_bytes(folder, "numbers", bytes, n * each);
    OK(tsr_source_create(folder, &s));
    OK(tsr_source_add_file(s, "numbers", &file));
    for (int i = 0; i < n; i++) {
        const tsr_tensor_info t = {.name = "part",
                                   .dtype = dtype,
                                   .dtype_label = tsr_dtype_label(dtype),
                                   .rank = 1,
                                   .shape = {4},
                                   .bytes = each,
                                   .file = file,
                                   .offset = i * each},
                              *kept;
        OK(tsr_source_keep(s, &t, &kept));
        OK(tsr_view_stored(s->arena, kept, &out[i]));
    }
    return s;
}

static void check_sum(const void *bytes, tsr_dtype dtype, int n, bool mean, const void *wanted)
{
    const tsr_view *part[4], *sum;
    char got[64];
    tsr_source *s = vectors(bytes, dtype, n, part);
    OK(tsr_sum_view(s, "x", n, part, mean, &sum));
    OK(tsr_source_add_view(s, "x", sum));
    OK(tsr_source_finish(s));
    const tsr_tensor_info *t = tsr_source_find(s, "x");
    assert_int_equal(t->bytes, 4 * tsr_dtype_bytes(dtype));
    for (int64_t from = 0; from <= t->bytes; from++)
        for (int64_t to = from; to <= t->bytes; to++) {
            OK(tsr_source_read(s, t, from, to - from, got));
            assert_memory_equal(got, (const char *)wanted + from, (size_t)(to - from));
        }
    tsr_source_destroy(&s);
}

static void sums_and_means_are_computed_when_read(void **state)
{
    (void)state;
    static const float parts[] = {1, -2, 0.5f, 3, 2, 5, 0.25f, -3, 6, 0, -0.75f, 0}, sum[] = {9, 3, 0, 0},
                       mean[] = {3, 1, 0, 0};
    check_sum(parts, TSR_F32, 3, false, sum);
    check_sum(parts, TSR_F32, 3, true, mean);
    check_sum(parts, TSR_F32, 1, true, parts);
    /* 1 + 2^-8 lies between two numbers of bfloat16, of which the even one counts; 2^15 + 2^15 is none of float16. */
    static const uint16_t bf16[] = {0x3F80, 0x3F81, 0x4000, 0, 0x3B80, 0x3B80, 0xC000, 0x8000},
                          bf16_sum[] = {0x3F80, 0x3F82, 0, 0};
    check_sum(bf16, TSR_BF16, 2, false, bf16_sum);
    static const uint16_t f16[] = {0x7800, 0x3C00, 0x0001, 0x7BFF, 0x7800, 0x3C00, 0x0001, 0x7BFF},
                          f16_sum[] = {0x7C00, 0x4000, 0x0002, 0x7C00};
    check_sum(f16, TSR_F16, 2, false, f16_sum);
    check_sum(f16, TSR_F16, 2, true, f16); /* equal ones */
}

static void a_slice_of_a_sum_is_read_as_well(void **state)
{
    (void)state;
    static const float parts[] = {1, 2, 3, 4, 10, 20, 30, 40};
    const tsr_view *part[2], *sum, *slice;
    float got[2];
    tsr_source *s = vectors(parts, TSR_F32, 2, part);
    OK(tsr_sum_view(s, "x", 2, part, false, &sum));
    OK(tsr_view_slice(s->arena, sum, 0, 1, 3, &slice));
    OK(tsr_source_add_view(s, "x", slice));
    OK(tsr_source_finish(s));
    OK(tsr_source_read(s, tsr_source_find(s, "x"), 0, 8, got));
    assert_true(got[0] == 22 && got[1] == 33);
    OK(tsr_view_read_f32(slice, s, NULL, 0, 2, got));
    assert_true(got[0] == 22 && got[1] == 33);
    tsr_source_destroy(&s);
}

static void what_cannot_be_added_up_is_refused(void **state)
{
    (void)state;
    static const uint8_t bytes[128];
    const tsr_view *part[2], *sum;
    static const tsr_dtype refused[] = {TSR_F64, TSR_I32, TSR_U8, TSR_BOOL};
    for (int i = 0; i < 4; i++) {
        tsr_source *s = vectors(bytes, refused[i], 2, part);
        assert_int_equal(tsr_sum_view(s, "x", 2, part, true, &sum), TSR_ERR_FORMAT);
        assert_non_null(strstr(tsr_error_text(), "cannot be added up"));
        tsr_source_destroy(&s);
    }
    tsr_source *s = vectors(bytes, TSR_F32, 2, part);
    OK(tsr_view_slice(s->arena, part[1], 0, 0, 3, &part[1]));
    assert_int_equal(tsr_sum_view(s, "x", 2, part, false, &sum), TSR_ERR_FORMAT);
    assert_non_null(strstr(tsr_error_text(), "different shapes"));
    tsr_source_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(sums_and_means_are_computed_when_read),
        cmocka_unit_test(a_slice_of_a_sum_is_read_as_well),
        cmocka_unit_test(what_cannot_be_added_up_is_refused),
    };
    tsr_log_setup(TSR_LOG_ERROR, 0);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
