/* test_checkpoint_megatron.c: Megatron-LM's files as other formats hand them over: what is stated about them from
 * outside, and running out of memory on the way. What they mean is tested with the whole program
 * (program/check_megatron.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/log.h"
#include "checkpoint/megatron.h"
#include "support_memory.h"
#include "support_safetensors.h"
#include "support_zip.h"

enum { PICKLE_CAP = 1 << 16 };

static char folder[ST_PATH];

static int set_up(void **state)
{
    (void)state;
    tsr_log_setup(TSR_LOG_ERROR, -1);
    st_folder_create(folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    st_folder_remove(folder);
    return 0;
}

static void write_torch(const char *file, const void *pickle, size_t n)
{
    static const size_t storages[] = {16, 64, 256, 1024};
    static const char numbers[16 + 64 + 256 + 1024];
    zip_out z;
    zip_torch(&z, pickle, n, 4, storages, numbers);
    st_write_bytes(folder, file, z.bytes, (int64_t)z.size);
    zip_free(&z);
}

/* The files of two ranks, of a kept pickle each. */
static void write_ranks(const char *first, const char *second)
{
    static unsigned char pickle[PICKLE_CAP];
    const char *const names[] = {first, second};
    for (int r = 0; r < 2; r++) {
        char path[ST_PATH], file[64];
        snprintf(path, sizeof path, "%s/hostile/checkpoint/megatron/%s.pkl", TSR_TEST_DATA, names[r]);
        snprintf(file, sizeof file, "mp_rank_0%d_model_states.pt", r);
        FILE *f = fopen(path, "rb");
        st_need(f != NULL, path);
        size_t n = fread(pickle, 1, sizeof pickle, f);
        fclose(f);
        write_torch(file, pickle, n);
    }
}

/* Lists n of the ranks' files as a format would that found them in a JSON. */
static tsr_status list(int n, int mp_size, double version, tsr_source **out)
{
    int files[2];
    assert_int_equal(tsr_source_create(folder, out), TSR_OK);
    for (int r = 0; r < n; r++) {
        char file[64];
        snprintf(file, sizeof file, "mp_rank_0%d_model_states.pt", r);
        assert_int_equal(tsr_source_add_file(*out, file, &files[r]), TSR_OK);
    }
    tsr_megatron_request q = {files, n, mp_size, version, "ds.json"};
    tsr_status status = tsr_megatron_list(*out, &q);
    return status == TSR_OK ? tsr_source_finish(*out) : status;
}

static void lists(int n, int mp_size, double version)
{
    tsr_source *s;
    if (list(n, mp_size, version, &s) != TSR_OK) fail_msg("%s", tsr_error_text());
    assert_int_equal(s->trained_mp, n);
    const tsr_tensor_info *qkv = tsr_source_find(s, "transformer.h.0.attn.c_attn.weight");
    assert_non_null(qkv);
    assert_int_equal(qkv->shape[0], 4);
    assert_int_equal(qkv->shape[1], 6 * n);
    tsr_source_destroy(&s);
}

static void refuses(int n, int mp_size, double version, const char *said)
{
    tsr_source *s;
    assert_int_equal(list(n, mp_size, version, &s), TSR_ERR_FORMAT);
    if (!strstr(tsr_error_text(), said)) fail_msg("\"%s\" does not say \"%s\"", tsr_error_text(), said);
    tsr_source_destroy(&s);
}

static void stated_version(void **state)
{
    (void)state;
    write_ranks("gpt2_v1", "gpt2_v1");
    lists(2, 0, -1);
    lists(2, 2, 1);
    refuses(2, 2, 2, "ds.json: version 2, but checkpoint_version of mp_rank_00_model_states.pt is 1");
    refuses(2, 3, -1, "ds.json: a checkpoint of 3 ranks (tensor parallel), found 2 files");
    refuses(1, 0, -1, "mp_rank_00_model_states.pt: a checkpoint of 2 ranks (tensor parallel), found 1 file");
    write_ranks("gpt2_v0", "gpt2_v0"); /* says no version */
    lists(2, 0, -1);
    lists(2, 0, 3);
    refuses(2, 0, 2.5, "ds.json: version: expected 0, 1.0, 2.0 or 3.0, found 2.5");
    write_ranks("gpt2_v1", "gpt2_v0");
    refuses(2, 0, 1, "mp_rank_01_model_states.pt: checkpoint_version is 0");
}

static void recognised(void **state)
{
    (void)state;
    static const unsigned char other[] = "\200\2}.";
    tsr_source *s;
    int file;
    bool found[2];
    write_ranks("bert_v2", "bert_v2");
    write_torch("mp_rank_01_model_states.pt", other, sizeof other - 1);
    assert_int_equal(tsr_source_create(folder, &s), TSR_OK);
    for (int r = 0; r < 2; r++) {
        tsr_torch_file f;
        assert_int_equal(
            tsr_source_add_file(s, r ? "mp_rank_01_model_states.pt" : "mp_rank_00_model_states.pt", &file),
            TSR_OK);
        assert_int_equal(tsr_torch_open(s, file, &f), TSR_OK);
        found[r] = tsr_megatron_is(&f);
        tsr_torch_close(&f);
    }
    tsr_source_destroy(&s);
    assert_true(found[0]);
    assert_false(found[1]);
}

static void out_of_memory(void **state)
{
    (void)state;
    write_ranks("bert_v2", "bert_v2");
    assert_true(failures_of_opening(folder) > 50);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(stated_version), TEST(recognised), TEST(out_of_memory)};
    return cmocka_run_group_tests_name("megatron", tests, NULL, NULL);
}
