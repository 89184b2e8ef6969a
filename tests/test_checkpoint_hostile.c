/* test_checkpoint_hostile.c: broken, contradictory and malicious checkpoint files: each ends in one clear
 * error. */
#include "base/memory.h"
#include "checkpoint/format.h"
#include "checkpoint/view.h"
#include "support_safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "support_memory.h"

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

static const char single[] = "model.safetensors", index_file[] = "model.safetensors.index.json";

/* Opening fails with this status, and the line holds both texts. */
static void expect_failure(const char *label, tsr_status expected, const char *file, const char *text)
{
    tsr_source *s;
    tsr_error_clear();
    tsr_status status = tsr_source_open(folder, &s);
    tsr_source_destroy(&s);
    if (status != expected || !strstr(tsr_error_text(), file) || !strstr(tsr_error_text(), text))
        fail_msg("%s: expected %s with \"%s\" and \"%s\", found %s: %s", label, tsr_status_name(expected),
                 file, text, tsr_status_name(status), tsr_error_text());
}

#define T(rest)         "{\"a\":{" rest "}}"
#define U8_4(begin_end) "{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" begin_end "}"

static const struct {
    const char *label, *header;
    int data_bytes;
    const char *text; /* of the message */
} headers[] = {
    {"not JSON", "{nonsense}", 0, "not valid JSON"},
    {"empty header", "", 0, "JSON object"},
    {"array", "[]", 0, "JSON object"},
    {"leading space", " " T("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]"), 1, "first byte"},
    {"byte order mark", "\xEF\xBB\xBF{}", 0, "first byte"},
    {"trailing newline", "{}\n", 0, "JSON object"},
    {"trailing object", "{}{}", 0, "not valid JSON"},
    {"not UTF-8", "{\"\xFF\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "not valid JSON"},
    {"duplicate name", "{\"a\":" U8_4("[0,4]") ",\"a\":" U8_4("[0,4]") "}", 4, "duplicate"},
    {"duplicate key", T("\"dtype\":\"U8\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,1]"), 1,
     "duplicate"},
    {"NUL in a name", T("\"\\u0000\":1"), 0, "not valid JSON"},
    {"tensor not an object", "{\"a\":[]}", 0, "expected an object, found an array"},
    {"metadata not strings", "{\"__metadata__\":{\"k\":1}}", 0, "__metadata__ \"k\" must be a string"},
    {"metadata not an object", "{\"__metadata__\":\"pt\"}", 0, "__metadata__ must be an object"},
    {"no dtype", T("\"shape\":[1],\"data_offsets\":[0,1]"), 1, "\"dtype\" to be a string, found nothing"},
    {"dtype not a string", T("\"dtype\":8,\"shape\":[1],\"data_offsets\":[0,1]"), 1, "found an integer"},
    {"unknown dtype", T("\"dtype\":\"X7\",\"shape\":[1],\"data_offsets\":[0,1]"), 1, "unknown dtype \"X7\""},
    {"lower-case dtype", T("\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]"), 4, "unknown dtype"},
    {"dtype with NUL", T("\"dtype\":\"U8\\u0000\",\"shape\":[1],\"data_offsets\":[0,1]"), 1, "unknown dtype"},
    {"no shape", T("\"dtype\":\"U8\",\"data_offsets\":[0,1]"), 1, "\"shape\" to be an array, found nothing"},
    {"negative extent", T("\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]"), 1, "negative extent -1"},
    {"two negatives", T("\"dtype\":\"U8\",\"shape\":[-2,-2],\"data_offsets\":[0,4]"), 4, "negative extent"},
    {"real extent", T("\"dtype\":\"U8\",\"shape\":[1.0],\"data_offsets\":[0,1]"), 1,
     "integers, found a real"},
    {"extent as text", T("\"dtype\":\"U8\",\"shape\":[\"1\"],\"data_offsets\":[0,1]"), 1, "found a string"},
    {"rank 9", T("\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]"), 1, "9 dimensions"},
    {"huge extent", T("\"dtype\":\"U8\",\"shape\":[99999999999999999999],\"data_offsets\":[0,1]"), 1,
     "too big"},
    {"2^62 elements", T("\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,4]"), 4,
     "too large"},
    {"product wraps to 0", T("\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]"), 0,
     "too large"},
    {"product wraps to 4", T("\"dtype\":\"U8\",\"shape\":[4611686018427387905,4],\"data_offsets\":[0,4]"), 4,
     "too large"},
    {"bits wrap", T("\"dtype\":\"F64\",\"shape\":[288230376151711744],\"data_offsets\":[0,0]"), 0,
     "too large"},
    {"zero beside huge", T("\"dtype\":\"U8\",\"shape\":[0,4611686018427387904,8],\"data_offsets\":[0,0]"), 0,
     "too large"},
    {"half a byte", T("\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]"), 2, "whole bytes"},
    {"no offsets", T("\"dtype\":\"U8\",\"shape\":[1]"), 1, "\"data_offsets\" to be an array of two"},
    {"one offset", T("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]"), 1, "two integers"},
    {"three offsets", T("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,1]"), 1, "two integers"},
    {"real offset", T("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1.0]"), 1, "two integers"},
    {"negative offset", T("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[-1,0]"), 1, "outside"},
    {"end before begin", T("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,0]"), 1, "outside"},
    {"beyond the file", T("\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]"), 4, "outside"},
    {"far beyond",
     T("\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[9223372036854775800,9223372036854775807]"), 4,
     "outside"},
    {"size too small", T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]"), 4,
     "takes 8 bytes, found 4"},
    {"size too large", T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]"), 8,
     "takes 4 bytes, found 8"},
    {"size of another dtype", T("\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,8]"), 8,
     "takes 4 bytes"},
    {"hole at the start", "{\"a\":" U8_4("[4,8]") "}", 8, "a hole"},
    {"hole between", "{\"a\":" U8_4("[0,4]") ",\"b\":" U8_4("[8,12]") "}", 12, "a hole"},
    {"overlap", "{\"a\":" U8_4("[0,4]") ",\"b\":" U8_4("[2,6]") "}", 6, "overlap"},
    {"same bytes twice", "{\"a\":" U8_4("[0,4]") ",\"b\":" U8_4("[0,4]") "}", 4, "overlap"},
    {"trailing bytes", "{\"a\":" U8_4("[0,4]") "}", 5, "4 data bytes expected, found 5"},
    {"data without tensors", "{}", 3, "0 data bytes expected, found 3"},
};

static void headers_that_break_a_rule_are_refused(void **state)
{
    (void)state;
    static const char zeros[64];
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        st_write_header(folder, single, headers[i].header, zeros, headers[i].data_bytes);
        expect_failure(headers[i].label, TSR_ERR_FORMAT, single, headers[i].text);
    }
}

static void lengths_that_cannot_be_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint64_t n;
        int64_t file_bytes;
        const char *text;
    } cases[] = {{0, 8, "JSON object"},
                 {1, 8, "does not fit"},
                 {3, 10, "does not fit"},
                 {100000000, 16, "does not fit"},
                 {100000001, 16, "at most 100000000"},
                 {1ull << 63, 16, "at most"},
                 {UINT64_MAX, 16, "at most"},
                 {UINT64_MAX - 7, 16, "at most"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned char bytes[16] = {0};
        for (int b = 0; b < 8; b++) bytes[b] = (unsigned char)(cases[i].n >> 8 * b);
        st_write_bytes(folder, single, bytes, cases[i].file_bytes);
        expect_failure("length", TSR_ERR_FORMAT, single, cases[i].text);
    }
    for (int n = 0; n < 8; n++) {
        st_write_bytes(folder, single, "\x02\0\0\0\0\0\0", n);
        expect_failure("short file", TSR_ERR_FORMAT, single, "too short");
    }
}

/* A header in which thousands of tensors claim the same bytes: refused, and at once. */
static void many_overlapping_tensors_are_refused(void **state)
{
    (void)state;
    enum { N = 20000 };
    char *header = malloc((size_t)N * 80 + 8), *h = header;
    char *data = calloc(1, 4096);
    assert_true(header && data);
    for (int i = 0; i < N; i++)
        h += sprintf(h, "%c\"t%d\":{\"dtype\":\"U8\",\"shape\":[4096],\"data_offsets\":[0,4096]}",
                     i ? ',' : '{', i);
    sprintf(h, "}");
    st_write_header(folder, single, header, data, 4096);
    expect_failure("overlaps", TSR_ERR_FORMAT, single, "overlap");
    free(header);
    free(data);
}

static void deep_nesting_is_refused(void **state)
{
    (void)state;
    enum { DEPTH = 200000 };
    char *header = malloc(2 * DEPTH + 32), *h = header;
    assert_non_null(header);
    h += sprintf(h, "{\"a\":");
    memset(h, '[', DEPTH);
    memset(h + DEPTH, ']', DEPTH);
    strcpy(h + 2 * DEPTH, "}");
    st_write_header(folder, single, header, "", 0);
    expect_failure("nesting", TSR_ERR_FORMAT, single, "not valid JSON");
    free(header);
}

static void names_cannot_break_the_message(void **state)
{
    (void)state;
    char header[3000], name[2000];
    st_write_header(folder, single,
                    "{\"%s%n\\u001b[31m\\nfake\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,1]}}",
                    "x", 1);
    expect_failure("escapes", TSR_ERR_FORMAT, single, "%s%n");
    for (const char *c = tsr_error_text(); *c; c++) assert_true((unsigned char)*c >= 0x20);
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    snprintf(header, sizeof header, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,1]}}", name);
    st_write_header(folder, single, header, "x", 1);
    expect_failure("long name", TSR_ERR_FORMAT, single, "takes 2 bytes, found 1");
}

static void things_that_are_no_files_are_refused(void **state)
{
    (void)state;
    char path[ST_PATH];
    st_path(path, folder, single);
    assert_int_equal(mkfifo(path, 0600), 0); /* opening it must not wait for a writer */
    expect_failure("FIFO", TSR_ERR_IO, single, "not a regular file");
    unlink(path);
    assert_int_equal(symlink("/dev/zero", path), 0);
    expect_failure("device", TSR_ERR_IO, single, "not a regular file");
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    expect_failure("folder", TSR_ERR_IO, single, "not a regular file");
    rmdir(path);
}

/* --- The index --- */

static const float six[6] = {1, 2, 3, 4, 5, 6};

static void write_shards(void)
{
    const st_tensor one[] = {{"a", "F32", 1, {2}, six}, {"b", "BF16", 2, {2, 3}, six}};
    const st_tensor two = {"c", "F16", 1, {4}, six};
    st_write(folder, "one.safetensors", one, 2);
    st_write(folder, "two.safetensors", &two, 1);
}

#define MAP(entries) "{\"weight_map\":{" entries "}}"

static const struct {
    const char *label, *index;
    tsr_status status;
    const char *text;
} indexes[] = {
    {"not JSON", "{\"weight_map\":", TSR_ERR_FORMAT, "not valid JSON"},
    {"empty file", "", TSR_ERR_FORMAT, "not valid JSON"},
    {"no map", "{\"metadata\":{}}", TSR_ERR_FORMAT, "must be an object with entries, found nothing"},
    {"map is an array", "{\"weight_map\":[]}", TSR_ERR_FORMAT, "found an array"},
    {"empty map", MAP(""), TSR_ERR_FORMAT, "found none"},
    {"number for a file", MAP("\"a\":1"), TSR_ERR_FORMAT, "expected a file name, found an integer"},
    {"duplicate tensor", MAP("\"a\":\"one.safetensors\",\"a\":\"two.safetensors\""), TSR_ERR_FORMAT,
     "duplicate"},
    {"missing file", MAP("\"a\":\"three.safetensors\""), TSR_ERR_IO, "three.safetensors: cannot be opened"},
    {"in no file", MAP("\"a\":\"one.safetensors\",\"z\":\"one.safetensors\""), TSR_ERR_FORMAT,
     "\"z\" should be in one.safetensors, found in no file"},
    {"in another file", MAP("\"a\":\"one.safetensors\",\"b\":\"two.safetensors\""), TSR_ERR_FORMAT,
     "\"b\" should be in two.safetensors, found in one.safetensors"},
    {"parent folder", MAP("\"a\":\"../one.safetensors\""), TSR_ERR_FORMAT, "plain name"},
    {"absolute path", MAP("\"a\":\"/tmp/one.safetensors\""), TSR_ERR_FORMAT, "plain name"},
    {"subfolder", MAP("\"a\":\"sub/one.safetensors\""), TSR_ERR_FORMAT, "plain name"},
    {"escaped slash", MAP("\"a\":\"..\\u002fone.safetensors\""), TSR_ERR_FORMAT, "plain name"},
    {"control character", MAP("\"a\":\"one\\n.safetensors\""), TSR_ERR_FORMAT, "plain name"},
    {"NUL", MAP("\"a\":\"one.safetensors\\u0000x\""), TSR_ERR_FORMAT, ".safetensors file"},
    {"another file of the folder", MAP("\"a\":\"config.json\""), TSR_ERR_FORMAT, ".safetensors file"},
    {"empty name", MAP("\"a\":\"\""), TSR_ERR_FORMAT, ".safetensors file"},
    {"dots", MAP("\"a\":\"..\""), TSR_ERR_FORMAT, ".safetensors file"},
};

static void indexes_that_mislead_are_refused(void **state)
{
    (void)state;
    write_shards();
    for (size_t i = 0; i < sizeof indexes / sizeof indexes[0]; i++) {
        st_write_text(folder, index_file, indexes[i].index);
        expect_failure(indexes[i].label, indexes[i].status, index_file, indexes[i].text);
    }
    char name[400], index[500];
    memset(name, 'n', sizeof name);
    snprintf(name + 300, 32, ".safetensors");
    snprintf(index, sizeof index, MAP("\"a\":\"%s\""), name);
    st_write_text(folder, index_file, index);
    expect_failure("long name", TSR_ERR_FORMAT, index_file, "plain name");
}

static void an_index_of_absurd_size_is_refused_unread(void **state)
{
    (void)state;
    char path[ST_PATH];
    st_write_text(folder, index_file, "{}");
    st_path(path, folder, index_file);
    assert_int_equal(truncate(path, 1LL << 40), 0); /* a hole: takes no space */
    expect_failure("1 TiB", TSR_ERR_FORMAT, index_file, "at most 100000000 are accepted");
}

static void a_tensor_in_two_shards_is_refused(void **state)
{
    (void)state;
    const st_tensor again = {"a", "F32", 1, {2}, six};
    write_shards();
    st_write(folder, "two.safetensors", &again, 1);
    st_write_text(folder, index_file, MAP("\"a\":\"one.safetensors\",\"b\":\"one.safetensors\""));
    tsr_source *s;
    assert_int_equal(tsr_source_open(folder, &s), TSR_OK); /* two.safetensors is not part of the checkpoint */
    tsr_source_destroy(&s);
    st_write_text(folder, index_file, MAP("\"a\":\"two.safetensors\",\"b\":\"one.safetensors\""));
    expect_failure("twice", TSR_ERR_FORMAT, "one.safetensors", "two.safetensors");
}

static void a_broken_shard_is_named(void **state)
{
    (void)state;
    write_shards();
    st_write_text(folder, index_file, MAP("\"a\":\"one.safetensors\",\"c\":\"two.safetensors\""));
    st_write_text(folder, "two.safetensors", "garbage!garbage!");
    expect_failure("garbage", TSR_ERR_FORMAT, "two.safetensors", "not a safetensors file");
}

/* --- Damage everywhere --- */

/* Reads every tensor that can be read, through a view. */
static void read_everything(const tsr_source *s)
{
    tsr_arena *arena;
    assert_int_equal(tsr_arena_create("views under test", &arena), TSR_OK);
    for (int64_t i = 0; i < tsr_source_count(s); i++) {
        const tsr_tensor_info *t = tsr_source_tensor(s, i);
        const tsr_view *v;
        float out[64];
        assert_int_equal(tsr_view_tensor(arena, t->name, t->rank, t->shape, &v), TSR_OK);
        if (tsr_view_check(v, s, NULL) != TSR_OK) continue; /* an integer dtype */
        assert_true(tsr_view_elements(v) <= 64);
        assert_int_equal(tsr_view_read_f32(v, s, NULL, 0, tsr_view_rows(v), out), TSR_OK);
    }
    tsr_arena_destroy(&arena);
}

/* Valid still, or refused with a line that names one of the files. */
static int survive(void)
{
    tsr_source *s;
    tsr_error_clear();
    tsr_status status = tsr_source_open(folder, &s);
    if (status == TSR_OK)
        read_everything(s);
    else if ((status != TSR_ERR_FORMAT && status != TSR_ERR_IO) || !strstr(tsr_error_text(), ".safetensors"))
        fail_msg("%s: %s", tsr_status_name(status), tsr_error_text());
    tsr_source_destroy(&s);
    return status == TSR_OK;
}

static int64_t slurp(const char *file, unsigned char *bytes, int64_t cap)
{
    char path[ST_PATH];
    st_path(path, folder, file);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    int64_t n = (int64_t)fread(bytes, 1, (size_t)cap, f);
    fclose(f);
    assert_true(n < cap);
    return n;
}

/* Every truncation fails; every flipped bit and every changed byte is survived. */
static void damage(const char *file)
{
    unsigned char bytes[4096];
    int64_t n = slurp(file, bytes, sizeof bytes);
    assert_true(survive());
    for (int64_t i = 0; i < n; i++) {
        st_write_bytes(folder, file, bytes, i);
        if (survive()) fail_msg("%s cut at byte %lld was accepted", file, (long long)i);
    }
    for (int64_t i = 0; i < n * 8; i++) {
        bytes[i / 8] ^= (unsigned char)(1 << i % 8);
        st_write_bytes(folder, file, bytes, n);
        survive();
        bytes[i / 8] ^= (unsigned char)(1 << i % 8);
    }
    bytes[n] = 'x';
    st_write_bytes(folder, file, bytes, n + 1);
    if (survive()) fail_msg("%s with a byte too many was accepted", file);
    st_write_bytes(folder, file, bytes, n);
    assert_true(survive());
}

static void a_damaged_single_file_is_refused_or_still_valid(void **state)
{
    (void)state;
    const st_tensor t[] = {{"wte", "F32", 2, {2, 3}, six}, {"ln", "BF16", 1, {4}, six}};
    st_write(folder, single, t, 2);
    damage(single);
}

static void a_damaged_sharded_checkpoint_is_refused_or_still_valid(void **state)
{
    (void)state;
    write_shards();
    st_write_text(folder, index_file,
                  "{\"metadata\":{\"total_size\":1},\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"one."
                  "safetensors\","
                  "\"c\":\"two.safetensors\"}}");
    damage(index_file);
    damage("two.safetensors");
}

static void running_out_of_memory_is_an_error_at_every_allocation(void **state)
{
    (void)state;
    write_shards();
    st_write_text(folder, index_file,
                  MAP("\"a\":\"one.safetensors\",\"b\":\"one.safetensors\",\"c\":\"two.safetensors\""));
    assert_true(failures_of_opening(folder) > 10);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(headers_that_break_a_rule_are_refused),
        TEST(lengths_that_cannot_be_are_refused),
        TEST(many_overlapping_tensors_are_refused),
        TEST(deep_nesting_is_refused),
        TEST(names_cannot_break_the_message),
        TEST(things_that_are_no_files_are_refused),
        TEST(indexes_that_mislead_are_refused),
        TEST(an_index_of_absurd_size_is_refused_unread),
        TEST(a_tensor_in_two_shards_is_refused),
        TEST(a_broken_shard_is_named),
        TEST(a_damaged_single_file_is_refused_or_still_valid),
        TEST(a_damaged_sharded_checkpoint_is_refused_or_still_valid),
        TEST(running_out_of_memory_is_an_error_at_every_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
