/* test_tokenizer_robust.c: tokenizer files that are cut short or damaged end in an error that says something,
 * or in a tokenizer that works; never in a crash, a hang or a huge allocation. Sanitizers make it strict. */
#include "runtime/tokenizer/formats.h"
#include "runtime/tokenizer/parts.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define DATA TSR_TEST_DATA "/tokenizer"

typedef struct file {
    char *data;
    int64_t n;
} file;

static file read_file(const char *name)
{
    file f;
    if (tsr_tokenizer_read_bytes(DATA, name, &f.data, &f.n) != TSR_OK) fail_msg("%s", tsr_error_text());
    return f;
}

static tsr_status from_json(const char *data, int64_t n, tsr_tokenizer *t)
{
    tsr_json doc;
    TSR_TRY(tsr_json_parse(data, n, "tokenizer.json", &doc));
    tsr_status status = tsr_tokenizer_from_json(&doc, &(tsr_json){0}, t);
    tsr_json_free(&doc);
    return status;
}

static tsr_status from_sentencepiece(const char *data, int64_t n, tsr_tokenizer *t)
{
    return tsr_tokenizer_from_sentencepiece(data, n, "tokenizer.model", &(tsr_json){0}, t);
}

static file vocab; /* for from_merges */

static tsr_status from_merges(const char *data, int64_t n, tsr_tokenizer *t)
{
    tsr_json doc;
    TSR_TRY(tsr_json_parse(vocab.data, vocab.n, "vocab.json", &doc));
    tsr_status status = tsr_tokenizer_from_vocab_merges(&doc, data, n, &(tsr_json){0}, t);
    tsr_json_free(&doc);
    return status;
}

typedef tsr_status (*parser)(const char *data, int64_t n, tsr_tokenizer *t);

static void use(const tsr_tokenizer *t)
{
    static const char text[] = "It's 12345 e\xCC\x81 \xE6\xBC\xA2\xF0\x9F\x98\x80  <s>[MASK] \xFF end";
    tsr_token_list ids = {0};
    tsr_text out;
    assert_int_equal(tsr_text_init(&out, 1 << 24), TSR_OK);
    tsr_status status = tsr_tokenizer_encode(t, text, (int64_t)sizeof text - 1, true, &ids);
    for (int32_t id = 0; id < 300 && status == TSR_OK; id++) status = tsr_token_list_add(&ids, id * 7 % 1000);
    if (status == TSR_OK) status = tsr_tokenizer_decode(t, ids.ids, ids.count, false, &out);
    if (status != TSR_OK) assert_int_not_equal(strlen(tsr_error_text()), 0);
    assert_true(tsr_utf8_valid(out.data, out.length));
    tsr_text_free(&out);
    tsr_token_list_free(&ids);
}

/* Returns whether the bytes made a tokenizer. */
static bool try_bytes(parser parse, const char *data, int64_t n)
{
    tsr_tokenizer *t;
    char *exact = malloc((size_t)n + 1); /* so that reading past the end shows */
    memcpy(exact, data, (size_t)n);
    assert_int_equal(tsr_tokenizer_create(&t), TSR_OK);
    tsr_error_clear();
    tsr_status status = parse(exact = realloc(exact, n > 0 ? (size_t)n : 1), n, t);
    if (status == TSR_OK)
        use(t);
    else if (status != TSR_ERR_FORMAT || strlen(tsr_error_text()) == 0)
        fail_msg("%s: \"%s\"", tsr_status_name(status), tsr_error_text());
    tsr_tokenizer_destroy(&t);
    free(exact);
    return status == TSR_OK;
}

static void damage(parser parse, const char *name, int rounds)
{
    file f = read_file(name);
    int refused = 0;
    assert_true(try_bytes(parse, f.data, f.n));
    for (int i = 0; i < rounds; i++) refused += !try_bytes(parse, f.data, f.n * i / rounds);
    srand(1);
    for (int i = 0; i < rounds; i++) {
        int64_t at = (rand() % 4 ? rand() % f.n : rand() % (f.n < 4096 ? f.n : 4096));
        char kept = f.data[at];
        f.data[at] = rand() % 2 ? (char)(kept ^ 1 << rand() % 8) : (char)rand();
        refused += !try_bytes(parse, f.data, f.n);
        f.data[at] = kept;
    }
    assert_true(refused > rounds / 4);
    tsr_free(f.data);
}

static void tokenizer_json(void **state)
{
    static const char *const names[] = {"gpt2",  "llama3",          "falcon", "words_and_marks",
                                        "llama", "metaspace_first", "clip"};
    (void)state;
    for (int i = 0; i < 7; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s/tokenizer.json", names[i]);
        damage(from_json, name, 60);
    }
}

static void sentencepiece(void **state)
{
    (void)state;
    damage(from_sentencepiece, "sentencepiece_llama/tokenizer.model", 600);
    damage(from_sentencepiece, "sentencepiece_plain/tokenizer.model", 300);
    damage(from_sentencepiece, "sentencepiece_rules/tokenizer.model", 600);
}

static void merges(void **state)
{
    (void)state;
    vocab = read_file("vocab_merges_gpt2/vocab.json");
    damage(from_merges, "vocab_merges_gpt2/merges.txt", 100);
    tsr_free(vocab.data);
}

/* Every field of a small SentencePiece file, with every byte changed. */
static void every_byte_of_a_small_model(void **state)
{
    (void)state;
    /* pieces <unk> (UNKNOWN), a, b, ab; trainer_spec: BPE; normalizer_spec: flags */
    static const char model[] = "\x0A\x0E\x0A\x05<unk>\x15\0\0\0\0\x18\x02"
                                "\x0A\x08\x0A\x01"
                                "a\x15\0\0\x80\xBF"
                                "\x0A\x08\x0A\x01"
                                "b\x15\0\0\0\xC0"
                                "\x0A\x09\x0A\x02"
                                "ab\x15\0\0\0\0"
                                "\x12\x02\x18\x02"
                                "\x1A\x06\x18\0\x20\0\x28\x01";
    enum { N = sizeof model - 1 };
    char copy[N];
    assert_true(try_bytes(from_sentencepiece, model, N));
    for (int i = 0; i < N; i++) {
        try_bytes(from_sentencepiece, model, i);
        for (int b = 0; b < 256; b++) {
            memcpy(copy, model, N);
            copy[i] = (char)b;
            try_bytes(from_sentencepiece, copy, N);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokenizer_json),
        cmocka_unit_test(sentencepiece),
        cmocka_unit_test(merges),
        cmocka_unit_test(every_byte_of_a_small_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
