/* test_checkpoint_source.c: opening checkpoints, finding tensors, reading their bytes; everything
 * well-formed. */
#include "base/log.h"
#include "checkpoint/format.h"
#include "support_safetensors.h"

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

static char folder[ST_PATH];

static int set_up(void **state)
{
    (void)state;
    st_folder_create(folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    st_folder_remove(folder);
    return 0;
}

static const float six[6] = {1, 2, 3, 4, 5, 6};
static const uint16_t halves[4] = {0x3F80, 0x4000, 0x4040, 0x4080};

static void a_single_file_is_listed_as_it_is(void **state)
{
    (void)state;
    const st_tensor t[] = {{"wte.weight", "F32", 2, {2, 3}, six}, {"scalar", "F32", 0, {0}, six},
                           {"empty", "F32", 3, {4, 0, 2}, six},   {"ln.weight", "BF16", 1, {4}, halves},
                           {"quantized", "F8_E4M3", 1, {3}, six}, {"ids", "I64", 1, {2}, six}};
    st_write(folder, "model.safetensors", t, 6);
    tsr_source *s;
    OK(tsr_source_open(folder, &s));
    assert_string_equal(tsr_source_format_name(s), "safetensors");
    assert_string_equal(tsr_source_folder(s), folder);
    assert_int_equal(tsr_source_count(s), 6);
    for (int i = 0; i < 6; i++) {
        const tsr_tensor_info *info = tsr_source_find(s, t[i].name);
        assert_non_null(info);
        assert_string_equal(info->name, t[i].name);
        assert_string_equal(info->dtype_label, t[i].dtype);
        assert_int_equal(info->rank, t[i].rank);
        assert_memory_equal(info->shape, t[i].shape, (size_t)t[i].rank * sizeof(int64_t));
        assert_int_equal(info->bytes, st_tensor_bytes(&t[i]));
        assert_string_equal(tsr_source_file_name(s, info->file), "model.safetensors");
    }
    assert_int_equal(tsr_source_find(s, "ln.weight")->dtype, TSR_BF16);
    assert_int_equal(tsr_source_find(s, "quantized")->dtype, TSR_DTYPE_COUNT);
    assert_int_equal(tsr_source_find(s, "ids")->dtype, TSR_I64);
    assert_null(tsr_source_find(s, "wte.weigh"));
    assert_null(tsr_source_find(s, "wte.weight2"));
    assert_null(tsr_source_find(s, ""));
    tsr_source_destroy(&s);
    assert_null(s);
    tsr_source_destroy(&s);
}

static void reading_gives_the_bytes_and_counts_them(void **state)
{
    (void)state;
    const st_tensor t[] = {{"a", "F32", 1, {6}, six}, {"b", "BF16", 1, {4}, halves}};
    st_write(folder, "model.safetensors", t, 2);
    tsr_source *s;
    float f[6];
    uint16_t h[4];
    OK(tsr_source_open(folder, &s));
    assert_int_equal(tsr_source_bytes_read(s), 0);
    const tsr_tensor_info *a = tsr_source_find(s, "a"), *b = tsr_source_find(s, "b");
    OK(tsr_source_read(s, a, 0, 24, f));
    assert_memory_equal(f, six, 24);
    OK(tsr_source_read(s, a, 8, 12, f));
    assert_memory_equal(f, six + 2, 12);
    OK(tsr_source_read(s, b, 2, 6, h));
    assert_memory_equal(h, halves + 1, 6);
    OK(tsr_source_read(s, b, 8, 0, h));
    assert_int_equal(tsr_source_bytes_read(s), 24 + 12 + 6);
    assert_int_equal(tsr_source_read(s, a, 20, 5, f), TSR_ERR_INTERNAL);
    assert_int_equal(tsr_source_read(s, a, -1, 2, f), TSR_ERR_INTERNAL);
    assert_int_equal(tsr_source_read(s, a, 4, INT64_MAX, f), TSR_ERR_INTERNAL);
    assert_int_equal(tsr_source_bytes_read(s), 24 + 12 + 6);
    tsr_source_destroy(&s);
}

static void prefixes_may_be_there_or_not(void **state)
{
    (void)state;
    const st_tensor t[] = {{"transformer.h.0.w", "F32", 1, {1}, six},
                           {"h.1.w", "F32", 1, {1}, six},
                           {"both", "F32", 1, {1}, six},
                           {"transformer.both", "F32", 1, {1}, six}};
    st_write(folder, "model.safetensors", t, 4);
    tsr_source *s;
    OK(tsr_source_open(folder, &s));
    const struct {
        const char *name, *prefix, *found;
    } cases[] = {{"transformer.h.0.w", "transformer.", "transformer.h.0.w"},
                 {"h.0.w", "transformer.", "transformer.h.0.w"},
                 {"h.0.w", "", NULL},
                 {"h.0.w", NULL, NULL},
                 {"h.0.w", "model.", NULL},
                 {"transformer.h.1.w", "transformer.", "h.1.w"},
                 {"h.1.w", "transformer.", "h.1.w"},
                 {"both", "transformer.", "both"},
                 {"transformer.both", "transformer.", "transformer.both"},
                 {"transformer.", "transformer.", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const tsr_tensor_info *info = tsr_source_find_prefixed(s, cases[i].name, cases[i].prefix);
        if (cases[i].found) assert_non_null(info);
        if (cases[i].found) assert_string_equal(info->name, cases[i].found);
        if (!cases[i].found) assert_null(info);
    }
    tsr_source_destroy(&s);
}

static void write_two_shards(void)
{
    const st_tensor one[] = {{"a", "F32", 1, {2}, six}, {"b", "F32", 1, {3}, six}};
    const st_tensor two[] = {{"c", "F32", 1, {4}, six + 1}, {"unlisted", "BF16", 1, {4}, halves}};
    st_write(folder, "model-00001-of-00002.safetensors", one, 2);
    st_write(folder, "model-00002-of-00002.safetensors", two, 2);
    st_write_text(folder, "model.safetensors.index.json",
                  "{\"metadata\":{\"total_size\":36},\"weight_map\":{"
                  "\"c\":\"model-00002-of-00002.safetensors\",\"a\":\"model-00001-of-00002.safetensors\","
                  "\"b\":\"model-00001-of-00002.safetensors\"}}\n");
}

static void shards_are_found_through_the_index(void **state)
{
    (void)state;
    tsr_source *s;
    float f[4];
    write_two_shards();
    OK(tsr_source_open(folder, &s));
    assert_string_equal(tsr_source_format_name(s), "sharded safetensors");
    assert_int_equal(tsr_source_count(s), 4);
    const tsr_tensor_info *c = tsr_source_find(s, "c");
    assert_string_equal(tsr_source_file_name(s, c->file), "model-00002-of-00002.safetensors");
    OK(tsr_source_read(s, c, 0, 16, f));
    assert_memory_equal(f, six + 1, 16);
    OK(tsr_source_read(s, tsr_source_find(s, "b"), 4, 8, f));
    assert_memory_equal(f, six + 1, 8);
    assert_non_null(tsr_source_find(s, "unlisted")); /* of a file that the map names */
    tsr_source_destroy(&s);
}

static void a_single_file_wins_over_an_index(void **state)
{
    (void)state;
    const st_tensor t = {"a", "F32", 1, {1}, six};
    tsr_source *s;
    write_two_shards();
    st_write(folder, "model.safetensors", &t, 1);
    OK(tsr_source_open(folder, &s));
    assert_int_equal(tsr_source_count(s), 1);
    tsr_source_destroy(&s);
}

/* As in Hugging Face's cache: snapshots/REVISION/model.safetensors -> ../../blobs/HASH. */
static void links_of_plain_names_are_followed(void **state)
{
    (void)state;
    char blobs[ST_PATH], target[ST_PATH], link_path[ST_PATH];
    const st_tensor t = {"a", "F32", 1, {6}, six};
    tsr_source *s;
    st_folder_create(blobs);
    st_write(blobs, "0123abcd", &t, 1);
    st_path(target, blobs, "0123abcd");
    st_path(link_path, folder, "model.safetensors");
    assert_int_equal(symlink(target, link_path), 0);
    OK(tsr_source_open(folder, &s));
    assert_int_equal(tsr_source_count(s), 1);
    tsr_source_destroy(&s);
    st_folder_remove(blobs);
    assert_int_equal(tsr_source_open(folder, &s), TSR_ERR_IO); /* the link dangles now */
    assert_non_null(strstr(tsr_error_text(), "model.safetensors"));
    assert_null(s);
}

static void header_padding_and_metadata_are_accepted(void **state)
{
    (void)state;
    tsr_source *s;
    st_write_header(
        folder, "model.safetensors",
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"__metadata__\":{\"x\":\"y\"}}     ",
        "ab", 2);
    OK(tsr_source_open(folder, &s));
    assert_int_equal(tsr_source_count(s), 1);
    tsr_source_destroy(&s);
    st_write_header(folder, "model.safetensors", "{}", "", 0);
    OK(tsr_source_open(folder, &s));
    assert_int_equal(tsr_source_count(s), 0);
    assert_null(tsr_source_find(s, "a"));
    tsr_source_destroy(&s);
}

static void a_hundred_thousand_tensors_take_a_moment(void **state)
{
    (void)state;
    enum { N = 100000 };
    st_tensor *t = calloc(N, sizeof *t);
    char(*names)[48] = calloc(N, sizeof *names), *bytes = calloc(N, 1);
    assert_true(t && names && bytes);
    for (int i = 0; i < N; i++) {
        sprintf(names[i], "model.layers.%d.mlp.experts.%d.w", i % 317, i);
        t[i] = (st_tensor){names[i], "U8", 1, {1}, bytes + i};
        bytes[i] = (char)(i % 251);
    }
    st_write(folder, "model.safetensors", t, N);
    tsr_source *s;
    double start = tsr_now();
    OK(tsr_source_open(folder, &s));
    assert_int_equal(tsr_source_count(s), N);
    for (int i = 0; i < N; i++) {
        const tsr_tensor_info *info = tsr_source_find_prefixed(s, names[i] + 6, "model.");
        assert_non_null(info);
        assert_string_equal(info->name, names[i]);
    }
    assert_true(tsr_now() - start < 20); /* 0.3 s here; sanitizers and busy machines take their time */
    char c;
    OK(tsr_source_read(s, tsr_source_find(s, names[777]), 0, 1, &c));
    assert_int_equal(c, 777 % 251);
    tsr_source_destroy(&s);
    free(t);
    free(names);
    free(bytes);
}

static void a_folder_without_a_checkpoint_says_what_was_looked_for(void **state)
{
    (void)state;
    tsr_source *s;
    assert_int_equal(tsr_source_open(folder, &s), TSR_ERR_IO);
    assert_null(s);
    assert_non_null(strstr(tsr_error_text(), folder));
    assert_non_null(strstr(tsr_error_text(), "model.safetensors, model.safetensors.index.json"));
    char missing[ST_PATH];
    st_path(missing, folder, "nowhere");
    assert_int_equal(tsr_source_open(missing, &s), TSR_ERR_IO);
    assert_non_null(strstr(tsr_error_text(), "nowhere"));
}

static void a_file_cut_short_later_is_an_error_of_reading(void **state)
{
    (void)state;
    const st_tensor t = {"a", "F32", 1, {6}, six};
    char path[ST_PATH];
    float f[6];
    tsr_source *s;
    st_write(folder, "model.safetensors", &t, 1);
    OK(tsr_source_open(folder, &s));
    st_path(path, folder, "model.safetensors");
    assert_int_equal(truncate(path, 100), 0);
    assert_int_equal(tsr_source_read(s, tsr_source_find(s, "a"), 0, 24, f), TSR_ERR_IO);
    assert_non_null(strstr(tsr_error_text(), "model.safetensors"));
    assert_non_null(strstr(tsr_error_text(), "\"a\""));
    tsr_source_destroy(&s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_single_file_is_listed_as_it_is),
        TEST(reading_gives_the_bytes_and_counts_them),
        TEST(prefixes_may_be_there_or_not),
        TEST(shards_are_found_through_the_index),
        TEST(a_single_file_wins_over_an_index),
        TEST(links_of_plain_names_are_followed),
        TEST(header_padding_and_metadata_are_accepted),
        TEST(a_hundred_thousand_tensors_take_a_moment),
        TEST(a_folder_without_a_checkpoint_says_what_was_looked_for),
        TEST(a_file_cut_short_later_is_an_error_of_reading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
