/* test_torch.c: the container of torch files, their pickles, and tensors that lie in storages in all manners. */
#include "base/log.h"
#include "checkpoint/torch.h"
#include "checkpoint/view.h"
#include "support_safetensors.h"
#include "support_zip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
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

/* --- Archives --- */

static tsr_status open_zip(const zip_out *z, tsr_source **source, tsr_arena **arena, tsr_zip *zip)
{
    int file;
    st_write_bytes(folder, "x.zip", z->bytes, (int64_t)z->size);
    OK(tsr_source_create(folder, source));
    OK(tsr_source_add_file(*source, "x.zip", &file));
    OK(tsr_arena_create("a test", arena));
    return tsr_zip_open(*source, file, *arena, zip);
}

static void zip_accepted(const zip_out *z, const char *const *names, int n)
{
    tsr_source *source;
    tsr_arena *arena;
    tsr_zip zip;
    char contents[16];
    OK(open_zip(z, &source, &arena, &zip));
    assert_int_equal(zip.count, n);
    for (int i = 0; i < n; i++) {
        const tsr_zip_entry *e = tsr_zip_find(&zip, names[i]);
        assert_non_null(e);
        assert_int_equal(e->bytes, strlen(names[i]));
        OK(tsr_source_pread(source, 0, e->offset, e->bytes, contents));
        assert_memory_equal(contents, names[i], strlen(names[i])); /* entries hold their names */
    }
    assert_null(tsr_zip_find(&zip, "none"));
    tsr_arena_destroy(&arena);
    tsr_source_destroy(&source);
}

static void zip_refused(const zip_out *z, const char *because)
{
    tsr_source *source;
    tsr_arena *arena;
    tsr_zip zip;
    assert_int_equal(open_zip(z, &source, &arena, &zip), TSR_ERR_FORMAT);
    if (!strstr(tsr_error_text(), because)) fail_msg("\"%s\" lacks \"%s\"", tsr_error_text(), because);
    assert_non_null(strstr(tsr_error_text(), "x.zip"));
    tsr_arena_destroy(&arena);
    tsr_source_destroy(&source);
}

static const char *const two[] = {"a/one", "b"};

static zip_out two_entries(void)
{
    zip_out z = {0};
    for (int i = 0; i < 2; i++) zip_add(&z, two[i], two[i], strlen(two[i]));
    return z;
}

/* The end records of zip64, with this many entries and this place of the directory. */
static void finish64(zip_out *z, uint64_t entries, uint64_t directory)
{
    uint64_t at = z->size;
    zip_put(&z->file, z->directory.bytes, z->directory.size);
    uint64_t end = z->size;
    zip_put(&z->file, "PK\6\6", 4);
    zip_put_int(&z->file, 44, 8);
    zip_put_int(&z->file, 45 | 45 << 16, 4);
    zip_put_int(&z->file, 0, 8); /* disks */
    zip_put_int(&z->file, entries, 8);
    zip_put_int(&z->file, entries, 8);
    zip_put_int(&z->file, z->directory.size, 8);
    zip_put_int(&z->file, directory ? directory : at, 8);
    zip_put(&z->file, "PK\6\7", 4);
    zip_put_int(&z->file, 0, 4);
    zip_put_int(&z->file, end, 8);
    zip_put_int(&z->file, 1, 4);
    zip_put(&z->file, "PK\5\6", 4);
    zip_put_int(&z->file, 0, 4);
    zip_put_int(&z->file, UINT64_MAX, 8); /* entries, directory: see there */
    zip_put_int(&z->file, UINT32_MAX, 4);
    zip_put_int(&z->file, 0, 2);
}

static void archives_are_read(void **state)
{
    (void)state;
    zip_out z = two_entries();
    zip_finish(&z);
    zip_accepted(&z, two, 2);
    zip_put(&z.file, "comment", 7);
    z.bytes[z.size - 7 - 2] = 7;
    zip_accepted(&z, two, 2);
    zip_free(&z);
    z = (zip_out){0};
    zip_finish(&z);
    zip_accepted(&z, NULL, 0);
    zip_free(&z);
}

static void archives_of_zip64_are_read(void **state)
{
    (void)state;
    zip_out z = two_entries();
    finish64(&z, 2, 0);
    zip_accepted(&z, two, 2);
    zip_free(&z);
    /* Sizes and place of the second entry in an extra field. */
    z = two_entries();
    uint8_t *central = z.directory.bytes + 46 + 5;
    size_t header = central[42];
    memset(central + 20, 0xFF, 8);
    memset(central + 42, 0xFF, 4);
    central[30] = 4 + 4 + 24 + 4;
    zip_put_int(&z.directory, 0x7777, 2); /* a field of another kind in front */
    zip_put_int(&z.directory, 4, 2);
    zip_put_int(&z.directory, 0, 4);
    zip_put_int(&z.directory, 1, 2);
    zip_put_int(&z.directory, 24, 2);
    zip_put_int(&z.directory, 1, 8);
    zip_put_int(&z.directory, 1, 8);
    zip_put_int(&z.directory, header, 8);
    finish64(&z, 2, 0);
    zip_accepted(&z, two, 2);
    zip_free(&z);
}

static void false_numbers_of_zip64_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint64_t entries, directory;
        const char *because;
    } cases[] = {{UINT64_MAX, 0, "too large"},          {INT64_MAX, 0, "too large"},
                 {1 << 20, 0, "too short for"},         {3, 0, "too short for"},
                 {1, 0, "more than its entries"},       {2, INT64_MAX, "does not end where"},
                 {2, UINT64_MAX, "does not end where"}, {2, 1, "does not end where"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        zip_out z = two_entries();
        finish64(&z, cases[i].entries, cases[i].directory);
        zip_refused(&z, cases[i].because);
        zip_free(&z);
    }
}

/* One byte of the directory (or of the first local header) is wrong. */
static void false_entries_are_refused(void **state)
{
    (void)state;
    static const struct {
        bool local;
        int at;
        uint8_t value;
        const char *because;
    } cases[] = {
        {false, 0, 'Q', "cut off"},
        {false, 8, 1, "encrypted"},
        {false, 10, 8, "compressed"},
        {false, 20, 4, "two sizes"},
        {false, 28, 200, "cut off"},
        {false, 28, 0, "proper name"},
        {false, 30, 9, "cut off"},
        {false, 34, 1, "another disk"},
        {false, 42, 1, "disagree"},
        {false, 43, 1, "outside"},
        {false, 46, 'z', "disagree"},
        {false, 48, 0, "proper name"},
        {true, 0, 'Q', "disagree"},
        {true, 6, 8, "disagree"},
        {true, 8, 8, "disagree"},
        {true, 26, 4, "disagree"},
        {true, 30, 'z', "disagree"},
        {true, 28, 1, "overlaps"},
        {true, 29, 1, "larger than the archive"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        zip_out z = two_entries();
        (cases[i].local ? z.bytes : z.directory.bytes)[cases[i].at] = cases[i].value;
        zip_finish(&z);
        zip_refused(&z, cases[i].because);
        zip_free(&z);
    }
}

static void entries_over_one_another_are_refused(void **state)
{
    (void)state;
    zip_out z = two_entries();
    z.directory.bytes[46 + 5 + 42] = 0; /* the second is said to be where the first is, whose name differs */
    zip_finish(&z);
    zip_refused(&z, "disagree");
    zip_free(&z);
    z = (zip_out){0};
    zip_add(&z, "a", "12345678", 8);
    z.directory.bytes[20] = z.directory.bytes[24] = 8 + 31; /* reaches over the next one's header */
    zip_add(&z, "b", "12345678", 8);
    zip_finish(&z);
    zip_refused(&z, "overlaps");
    zip_free(&z);
    z = two_entries();
    zip_add(&z, "b", "b", 1);
    zip_finish(&z);
    zip_refused(&z, "two entries are called \"b\"");
    zip_free(&z);
}

/* --- Pickles --- */

static void parse(const char *bytes, size_t n, tsr_arena **arena, const tsr_pickle_node **root)
{
    OK(tsr_arena_create("a test", arena));
    OK(tsr_pickle_parse(bytes, (int64_t)n, "x.pkl", *arena, root));
}
#define PARSE(text) parse(text, sizeof(text) - 1, &arena, &root)

static void numbers_are_read(void **state)
{
    (void)state;
    tsr_arena *arena;
    const tsr_pickle_node *root;
    int64_t n;
    double x;
    PARSE("\x80\2(K\xFFM\xFE\xFFJ\xFE\xFF\xFF\xFF\x8A\0\x8A\1\x80\x8A\x08\0\0\0\0\0\0\0\x80\x88t.");
    static const int64_t wanted[] = {255, 65534, -2, 0, -128, INT64_MIN, 1};
    for (int i = 0; i < 7; i++) {
        assert_true(tsr_pickle_int(tsr_pickle_at(root, i), &n));
        assert_int_equal(n, wanted[i]);
    }
    assert_null(tsr_pickle_at(root, 7));
    assert_null(tsr_pickle_at(root, -1));
    tsr_arena_destroy(&arena);
    PARSE("\x80\2\x8A\x09\0\0\0\0\0\0\0\0\1.");
    assert_int_equal(root->kind, TSR_PICKLE_BIG_INT);
    assert_false(tsr_pickle_int(root, &n));
    tsr_arena_destroy(&arena);
    PARSE("\x80\2G\xC0\x04\0\0\0\0\0\0.");
    assert_true(tsr_pickle_number(root, &x) && x == -2.5);
    tsr_arena_destroy(&arena);
}

static void classes_are_names_and_calls_are_nodes(void **state)
{
    (void)state;
    tsr_arena *arena;
    const tsr_pickle_node *root;
    int64_t n;
    PARSE("\x80\2cos\nsystem\nX\4\0\0\0true\x85R.");
    assert_true(tsr_pickle_is_call(root, "os", "system"));
    assert_true(tsr_pickle_is_text(tsr_pickle_at(root->args, 0), "true"));
    assert_false(tsr_pickle_is_dict(root));
    tsr_arena_destroy(&arena);
    /* An object with attributes, and one filled by keys; the last of equal keys counts. */
    PARSE("\x80\2cargparse\nNamespace\n)\x81}X\2\0\0\0tpK\4sb.");
    assert_true(tsr_pickle_int(tsr_pickle_get(root, "tp"), &n) && n == 4);
    assert_null(tsr_pickle_get(root, "pp"));
    tsr_arena_destroy(&arena);
    PARSE("\x80\2ccollections\nOrderedDict\n)R(X\1\0\0\0aK\1X\1\0\0\0aK\2u.");
    assert_true(tsr_pickle_is_dict(root) && root->count == 2);
    assert_true(tsr_pickle_int(tsr_pickle_get(root, "a"), &n) && n == 2);
    tsr_arena_destroy(&arena);
}

static void protocols_4_and_5_are_read(void **state)
{
    (void)state;
    tsr_arena *arena;
    const tsr_pickle_node *root;
    int64_t n;
    /* frame, short text, memoize, stack global, new object by keywords, bytes, set */
    PARSE("\x80\4\x95\x2A\0\0\0\0\0\0\0}\x94(\x8C\1c\x94\x8C\3pkg\x94\x8C\1C\x94\x93\x94)}"
          "\x92\x8C\1m\x94h\1\x8C\1s\x94"
          "\x8F(K\1K\2\x90\x8C\1b\x43\2hiu.");
    assert_true(tsr_pickle_is_call(tsr_pickle_get(root, "c"), "pkg", "C"));
    assert_true(tsr_pickle_is_text(tsr_pickle_get(root, "m"), "c"));
    assert_int_equal(tsr_pickle_get(root, "s")->kind, TSR_PICKLE_SET);
    assert_int_equal(tsr_pickle_get(root, "s")->count, 2);
    assert_int_equal(tsr_pickle_get(root, "b")->kind, TSR_PICKLE_BYTES);
    assert_int_equal(tsr_pickle_get(root, "b")->length, 2);
    tsr_arena_destroy(&arena);
    PARSE("\x80\5](K\1K\2K\3e.");
    assert_int_equal(root->count, 3);
    assert_true(tsr_pickle_int(tsr_pickle_at(root, 2), &n) && n == 3);
    tsr_arena_destroy(&arena);
}

/* Every pickle cut off anywhere, and with any byte changed to any of some others: refused, or read. */
static void spoilt_pickles_are_refused_or_read(void **state)
{
    (void)state;
    static const char good[] =
        "\x80\2}q\0(X\1\0\0\0ah\0X\1\0\0\0bctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storage"
        "ctorch\nFloatStorage\nX\1\0\0\0000X\3\0\0\0cpuK\2tQK\0K\2\x85K\1\x85\x89}tRu.";
    static const char others[] = {0, '.', '(', 't', 'R', 'Q', 'h', 'X', 's', 'e', '\x7F', '\xFF'};
    const int64_t n = sizeof good - 1;
    for (int64_t at = 0; at < n; at++) {
        for (size_t o = 0; o <= sizeof others; o++) {
            tsr_arena *arena;
            const tsr_pickle_node *root;
            char *copy = malloc((size_t)n); /* of its own size, for address checks */
            memcpy(copy, good, (size_t)n);
            if (o < sizeof others) copy[at] = others[o];
            OK(tsr_arena_create("a test", &arena));
            tsr_status s = tsr_pickle_parse(copy, o < sizeof others ? n : at, "x.pkl", arena, &root);
            assert_true(s == TSR_OK || s == TSR_ERR_FORMAT);
            assert_false(o == sizeof others && s == TSR_OK);
            tsr_arena_destroy(&arena);
            free(copy);
        }
    }
}

/* --- Tensors --- */

static void put_text(zip_buffer *b, const char *text)
{
    zip_put(b, "X", 1);
    zip_put_int(b, strlen(text), 4);
    zip_put(b, text, strlen(text));
}

static void put_numbers(zip_buffer *b, int n, const int64_t *values)
{
    zip_put(b, "(", 1);
    for (int i = 0; i < n; i++) {
        zip_put(b, "\x8A\x08", 2);
        zip_put_int(b, (uint64_t)values[i], 8);
    }
    zip_put(b, "t", 1);
}

typedef struct laid {
    const char *class, *label;
    int storage;
    int64_t count; /* elements of the storage */
    int64_t offset;
    int rank;
    int64_t shape[3], stride[3];
} laid;

/* A dict of tensors "t0", "t1", ... over these storages, as pytorch_model.bin. */
static void write_laid(const laid *t, int n, int storages, const size_t *bytes, const void *numbers)
{
    zip_buffer b = {0};
    char text[64];
    zip_put(&b, "\x80\2}(", 4);
    for (int i = 0; i < n; i++) {
        snprintf(text, sizeof text, "t%d", i);
        put_text(&b, text);
        zip_put(&b, "ctorch._utils\n_rebuild_tensor_v2\n((", 35);
        put_text(&b, "storage");
        snprintf(text, sizeof text, "ctorch\n%s\n", t[i].class);
        zip_put(&b, text, strlen(text));
        snprintf(text, sizeof text, "%d", t[i].storage);
        put_text(&b, text);
        put_text(&b, "cpu");
        zip_put(&b, "\x8A\x08", 2);
        zip_put_int(&b, (uint64_t)t[i].count, 8);
        zip_put(&b, "tQ\x8A\x08", 4);
        zip_put_int(&b, (uint64_t)t[i].offset, 8);
        put_numbers(&b, t[i].rank, t[i].shape);
        put_numbers(&b, t[i].rank, t[i].stride);
        zip_put(&b, "\x89}tR", 4);
    }
    zip_put(&b, "u.", 2);
    zip_out z;
    zip_torch(&z, b.bytes, b.size, storages, bytes, numbers);
    st_write_bytes(folder, "pytorch_model.bin", z.bytes, (int64_t)z.size);
    zip_free(&z);
    free(b.bytes);
}

/* What the tensor is by definition: element x is element offset + x . stride of the storage. */
static int64_t by_definition(const laid *t, const uint8_t *storage, int64_t element, uint8_t *out)
{
    int64_t n = 0, at[3] = {0};
    const int64_t *s = t->shape;
    for (at[0] = 0; at[0] < (t->rank > 0 ? s[0] : 1); at[0]++)
        for (at[1] = 0; at[1] < (t->rank > 1 ? s[1] : 1); at[1]++)
            for (at[2] = 0; at[2] < (t->rank > 2 ? s[2] : 1); at[2]++) {
                int64_t from = t->offset;
                for (int i = 0; i < t->rank; i++) from += at[i] * t->stride[i];
                memcpy(out + n++ * element, storage + from * element, (size_t)element);
            }
    return n * element;
}

static void tensors_lie_in_storages_in_all_manners(void **state)
{
    (void)state;
    static const laid t[] = {
        {"FloatStorage", "F32", 0, 60, 0, 2, {6, 10}, {10, 1}}, /* dense */
        {"FloatStorage",
         "F32",
         0,
         60,
         7,
         2,
         {5, 4},
         {10, 1}}, /* the same storage: columns of it, from 7 on */
        {"FloatStorage", "F32", 0, 60, 3, 2, {10, 5}, {1, 10}},      /* transposed */
        {"FloatStorage", "F32", 0, 60, 59, 0, {0}, {0}},             /* its last element */
        {"FloatStorage", "F32", 0, 60, 1, 3, {2, 3, 4}, {24, 8, 2}}, /* every second */
        {"FloatStorage", "F32", 0, 60, 5, 2, {3, 4}, {0, 1}},        /* rows that are all one */
        {"DoubleStorage", "F64", 1, 30, 2, 2, {4, 7}, {7, 1}},       /* F64 at an offset */
        {"DoubleStorage", "F64", 1, 30, 0, 2, {6, 5}, {1, 6}},
        {"LongStorage", "I64", 1, 30, 1, 2, {2, 3}, {3, 9}},
        {"CharStorage", "I8", 2, 240, 11, 2, {13, 17}, {17, 1}},
        {"CharStorage", "I8", 2, 240, 0, 2, {15, 16}, {1, 15}},
        {"BFloat16Storage", "BF16", 2, 120, 9, 2, {10, 11}, {11, 1}},
        {"BFloat16Storage", "BF16", 2, 120, 1, 3, {3, 5, 7}, {35, 1, 5}},
        {"HalfStorage", "F16", 2, 120, 0, 1, {60}, {2}},
        {"BoolStorage", "BOOL", 2, 240, 100, 1, {0}, {1}},       /* nothing */
        {"FloatStorage", "F32", 0, 60, 0, 2, {1, 10}, {999, 1}}, /* a stride that is never taken */
    };
    enum { TENSORS = sizeof t / sizeof t[0] };
    static const size_t bytes[] = {240, 240, 240};
    uint8_t numbers[720], wanted[1024], got[1024];
    for (int i = 0; i < 720; i++) numbers[i] = (uint8_t)(i * 37 + i / 7);
    write_laid(t, TENSORS, 3, bytes, numbers);
    tsr_source *s;
    OK(tsr_source_open(folder, &s));
    assert_int_equal(tsr_source_count(s), TENSORS);
    for (int i = 0; i < TENSORS; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        const tsr_tensor_info *info = tsr_source_find(s, name);
        assert_non_null(info);
        assert_string_equal(info->dtype_label, t[i].label);
        int64_t element = tsr_dtype_bytes(info->dtype);
        int64_t n = by_definition(&t[i], numbers + 240 * t[i].storage, element, wanted);
        assert_int_equal(info->bytes, n);
        OK(tsr_source_read(s, info, 0, n, got));
        assert_memory_equal(got, wanted, (size_t)n);
        for (int64_t from = 0; from < n; from += 13) { /* from and to the middle of elements */
            int64_t length = (n - from) * 2 / 3;
            memset(got, 0, sizeof got);
            OK(tsr_source_read(s, info, from, length, got));
            assert_memory_equal(got, wanted + from, (size_t)length);
        }
    }
    tsr_source_destroy(&s);
}

static void tensors_out_of_their_storage_are_refused(void **state)
{
    (void)state;
    static const laid good = {"FloatStorage", "F32", 0, 60, 0, 2, {6, 10}, {10, 1}};
    static const struct {
        int64_t count, offset, shape[2], stride[2];
        const char *because;
    } cases[] = {
        {60, 1, {6, 10}, {10, 1}, "beyond its storage"},
        {60, -1, {6, 10}, {10, 1}, "beyond its storage"},
        {60, 0, {7, 10}, {10, 1}, "beyond its storage"},
        {60, 0, {10, 6}, {1, 11}, "beyond its end"},
        {60, INT64_MAX, {2, 2}, {2, 1}, "beyond its storage"},
        {60, INT64_MAX, {2, 2}, {1, 2}, "beyond its end"},
        {60, 0, {2, 2}, {INT64_MAX, INT64_MAX}, "beyond its end"},
        {60, 0, {2, 2}, {INT64_MIN, 1}, "strides"},
        {60, 0, {INT64_MAX, INT64_MAX}, {0, 0}, "too large"},
        {60, 0, {1 << 20, 1 << 20}, {0, 0}, "larger than its"},
        {60, 0, {-6, 10}, {10, 1}, "negative"},
        {61, 0, {6, 10}, {10, 1}, "found 240 bytes"},
        {59, 0, {6, 9}, {10, 1}, "found 240 bytes"},
        {INT64_MAX, 0, {6, 10}, {10, 1}, "found 240 bytes"},
        {-1, 0, {6, 10}, {10, 1}, "unknown way"},
    };
    static const uint8_t numbers[240];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        laid t = good;
        tsr_source *s;
        t.count = cases[i].count;
        t.offset = cases[i].offset;
        memcpy(t.shape, cases[i].shape, sizeof cases[i].shape);
        memcpy(t.stride, cases[i].stride, sizeof cases[i].stride);
        write_laid(&t, 1, 1, &(size_t){sizeof numbers}, numbers);
        assert_int_equal(tsr_source_open(folder, &s), TSR_ERR_FORMAT);
        assert_null(s);
        if (!strstr(tsr_error_text(), cases[i].because))
            fail_msg("case %zu: \"%s\" lacks \"%s\"", i, tsr_error_text(), cases[i].because);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(archives_are_read),
        cmocka_unit_test(archives_of_zip64_are_read),
        cmocka_unit_test(false_numbers_of_zip64_are_refused),
        cmocka_unit_test(false_entries_are_refused),
        cmocka_unit_test(entries_over_one_another_are_refused),
        cmocka_unit_test(numbers_are_read),
        cmocka_unit_test(classes_are_names_and_calls_are_nodes),
        cmocka_unit_test(protocols_4_and_5_are_read),
        cmocka_unit_test(spoilt_pickles_are_refused_or_read),
        cmocka_unit_test(tensors_lie_in_storages_in_all_manners),
        cmocka_unit_test(tensors_out_of_their_storage_are_refused),
    };
    tsr_log_setup(TSR_LOG_ERROR, 0);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
