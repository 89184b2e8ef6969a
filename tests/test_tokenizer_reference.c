/* test_tokenizer_reference.c: ids and text equal to what the reference libraries give, on every tokenizer
 * under tests/tokenizer and every string of the corpus there (reference.py describes the files).
 *
 * TSR_TOKENIZER_CASES=DIR:DIR.. checks other tokenizers instead, each directory with its own corpus.bin and
 * expected.bin (make_data.py --compare makes them).
 */
#include "runtime/tokenizer/tokenizer.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { SHOWN_FAILURES = 5 };

typedef struct reader {
    char *data;
    int64_t n, at;
} reader;

static reader open_file(const char *dir, const char *file, const char *magic)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    FILE *f = fopen(path, "rb");
    if (!f) return (reader){0};
    fseek(f, 0, SEEK_END);
    reader r = {.n = ftell(f), .at = 4};
    rewind(f);
    r.data = malloc((size_t)r.n + 1);
    assert_int_equal(fread(r.data, 1, (size_t)r.n, f), r.n);
    fclose(f);
    assert_memory_equal(r.data, magic, 4);
    return r;
}

static int64_t number(reader *r)
{
    int64_t value = 0;
    for (int shift = 0;; shift += 7) {
        assert_true(r->at < r->n && shift < 63);
        unsigned char b = (unsigned char)r->data[r->at++];
        value |= (int64_t)(b & 0x7F) << shift;
        if (b < 0x80) return value;
    }
}

static const char *bytes(reader *r, int64_t n)
{
    assert_true(n >= 0 && n <= r->n - r->at);
    r->at += n;
    return r->data + r->at - n;
}

static void id_list(reader *r, tsr_token_list *out)
{
    int64_t n = number(r), last = 0;
    out->count = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t z = number(r);
        last += z & 1 ? -(z + 1) / 2 : z / 2;
        assert_int_equal(tsr_token_list_add(out, (int32_t)last), TSR_OK);
    }
}

/* A text that is stored by how it differs from another. */
static void compared_text(reader *r, const tsr_text *other, tsr_text *out)
{
    int64_t kind = number(r), n;
    tsr_text_clear(out);
    if (kind > 0) {
        n = number(r);
        assert_int_equal(tsr_text_append(out, bytes(r, n), n), TSR_OK);
    }
    if (kind == 2) return;
    assert_int_equal(tsr_text_append(out, other->data, other->length), TSR_OK);
    if (kind == 0) return;
    n = number(r);
    assert_int_equal(tsr_text_append(out, bytes(r, n), n), TSR_OK);
}

typedef struct check {
    const char *dir;
    tsr_tokenizer *t;
    int64_t checks, failures;
    tsr_token_list wanted, plain, got;
    tsr_text input, without, shown, text;
} check;

static void print_bytes(const char *label, const char *text, int64_t n)
{
    fprintf(stderr, "    %s: \"", label);
    for (int64_t i = 0; i < n && i < 300; i++) {
        unsigned char b = (unsigned char)text[i];
        fprintf(stderr, b >= ' ' && b != '"' && b != '\\' && b != 0x7F ? "%c" : "\\x%02x", b);
    }
    fprintf(stderr, "\"\n");
}

static void print_ids(const char *label, const tsr_token_list *ids)
{
    fprintf(stderr, "    %s:", label);
    for (int64_t i = 0; i < ids->count && i < 60; i++) fprintf(stderr, " %d", ids->ids[i]);
    fprintf(stderr, "\n");
}

static bool failed(check *c, bool good, const char *what)
{
    c->checks++;
    if (good) return false;
    if (++c->failures > SHOWN_FAILURES) return false;
    fprintf(stderr, "  %s: %s differs\n", c->dir, what);
    print_bytes("input", c->input.data, c->input.length);
    return true;
}

static void check_encode(check *c, bool special, const tsr_token_list *wanted)
{
    c->got.count = 0;
    tsr_status s = tsr_tokenizer_encode(c->t, c->input.data, c->input.length, special, &c->got);
    bool same = s == TSR_OK && c->got.count == wanted->count &&
                memcmp(c->got.ids, wanted->ids, (size_t)wanted->count * sizeof *wanted->ids) == 0;
    if (!failed(c, same || (s == TSR_OK && wanted->count == 0 && c->got.count == 0),
                special ? "ids" : "ids without special tokens"))
        return;
    if (s != TSR_OK) fprintf(stderr, "    %s\n", tsr_error_text());
    print_ids("wanted", wanted);
    print_ids("got   ", &c->got);
}

static void compare_text(check *c, const char *what, const tsr_token_list *ids, const tsr_text *wanted)
{
    bool same =
        c->text.length == wanted->length && memcmp(c->text.data, wanted->data, (size_t)wanted->length) == 0;
    if (!failed(c, same, what)) return;
    print_ids("ids   ", ids);
    print_bytes("wanted", wanted->data, wanted->length);
    print_bytes("got   ", c->text.data, c->text.length);
}

/* Text at once, and as a stream that must be valid and only grow. */
static void check_decode(check *c, const tsr_token_list *ids, bool skip, const tsr_text *wanted)
{
    tsr_detokenizer *d;
    tsr_text_clear(&c->text);
    assert_int_equal(tsr_tokenizer_decode(c->t, ids->ids, ids->count, skip, &c->text), TSR_OK);
    compare_text(c, skip ? "text" : "text with special tokens", ids, wanted);
    tsr_text_clear(&c->text);
    assert_int_equal(tsr_detokenizer_create(c->t, skip, &d), TSR_OK);
    bool good = true;
    for (int64_t i = 0, before = 0; i < ids->count && good; i++, before = c->text.length) {
        assert_int_equal(tsr_detokenizer_push(d, ids->ids[i], &c->text), TSR_OK);
        int64_t n = c->text.length - before;
        good = c->text.length <= wanted->length &&
               memcmp(c->text.data + before, wanted->data + before, (size_t)n) == 0 &&
               tsr_utf8_valid(c->text.data + before, n);
    }
    if (!good) compare_text(c, "stream", ids, wanted);
    assert_int_equal(tsr_detokenizer_finish(d, &c->text), TSR_OK);
    compare_text(c, "streamed text", ids, wanted);
    tsr_detokenizer_destroy(&d);
}

/* The string with invalid sequences replaced. */
static void repair(const tsr_text *in, tsr_text *out)
{
    tsr_text_clear(out);
    for (int64_t i = 0; i < in->length;) {
        uint32_t u;
        int used = tsr_utf8_decode(in->data + i, in->length - i, &u);
        tsr_text_append(out, used > 0 ? in->data + i : "\xEF\xBF\xBD", used > 0 ? used : 3);
        i += used > 0 ? used : -used;
    }
}

static void check_string(check *c, reader *expected, bool skip_only)
{
    id_list(expected, &c->wanted);
    check_encode(c, true, &c->wanted);
    if (number(expected) == 0) {
        int64_t front = number(expected), back = number(expected);
        c->plain.count = 0;
        tsr_token_list_append(&c->plain, c->wanted.ids + front, c->wanted.count - front - back);
    } else {
        id_list(expected, &c->plain);
    }
    check_encode(c, false, &c->plain);
    repair(&c->input, &c->text);
    tsr_text same = c->text;
    compared_text(expected, &same, &c->without);
    compared_text(expected, &c->without, &c->shown);
    check_decode(c, &c->wanted, true, &c->without);
    if (!skip_only) check_decode(c, &c->wanted, false, &c->shown);
}

static void check_random_ids(check *c, reader *expected, bool skip_only)
{
    tsr_text empty = {.data = ""};
    for (int64_t n = number(expected); n > 0; n--) {
        id_list(expected, &c->wanted);
        compared_text(expected, &empty, &c->without);
        compared_text(expected, &c->without, &c->shown);
        check_decode(c, &c->wanted, true, &c->without);
        if (!skip_only) check_decode(c, &c->wanted, false, &c->shown);
    }
}

/* Compares one tokenizer; returns the number of comparisons. */
static int64_t check_directory(const char *dir, const char *corpus_dir, int64_t *failures)
{
    check c = {.dir = dir};
    reader expected = open_file(dir, "expected.bin", "TSRT"),
           corpus = open_file(corpus_dir, "corpus.bin", "TSRC");
    assert_non_null(expected.data);
    assert_non_null(corpus.data);
    tsr_text *texts[] = {&c.input, &c.without, &c.shown, &c.text};
    for (int i = 0; i < 4; i++) assert_int_equal(tsr_text_init(texts[i], 1 << 28), TSR_OK);
    tsr_status s = tsr_tokenizer_load(dir, &c.t);
    if (s != TSR_OK) fail_msg("%s: %s", dir, tsr_error_text());
    bool skip_only = number(&expected) == 1;
    int64_t n = number(&expected);
    assert_true(n > 0 && n <= number(&corpus));
    for (int64_t i = 0; i < n; i++) {
        int64_t length = number(&corpus);
        tsr_text_clear(&c.input);
        tsr_text_append(&c.input, bytes(&corpus, length), length);
        check_string(&c, &expected, skip_only);
    }
    check_random_ids(&c, &expected, skip_only);
    assert_int_equal(expected.at, expected.n);
    printf("%-40s %6lld strings, %7lld comparisons, %lld differ\n", dir, (long long)n, (long long)c.checks,
           (long long)c.failures);
    *failures += c.failures;
    tsr_tokenizer_destroy(&c.t);
    for (int i = 0; i < 4; i++) tsr_text_free(texts[i]);
    tsr_token_list_free(&c.wanted), tsr_token_list_free(&c.plain), tsr_token_list_free(&c.got);
    free(expected.data), free(corpus.data);
    return c.checks;
}

static void tokenizers_equal_the_reference(void **state)
{
    (void)state;
    int64_t failures = 0, checks = 0;
    char *others = getenv("TSR_TOKENIZER_CASES");
    for (char *dir = others ? strtok(others, ":") : NULL; dir; dir = strtok(NULL, ":"))
        checks += check_directory(dir, dir, &failures);
    DIR *d = others ? NULL : opendir(TSR_TEST_DATA "/tokenizer");
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        char dir[1024], file[1100];
        snprintf(dir, sizeof dir, TSR_TEST_DATA "/tokenizer/%s", e->d_name);
        snprintf(file, sizeof file, "%s/expected.bin", dir);
        FILE *f = fopen(file, "rb");
        if (!f) continue;
        fclose(f);
        checks += check_directory(dir, TSR_TEST_DATA "/tokenizer", &failures);
    }
    if (d) closedir(d);
    printf("%lld comparisons\n", (long long)checks);
    assert_int_equal(failures, 0);
    assert_true(others ? checks > 0 : checks > 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(tokenizers_equal_the_reference)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
