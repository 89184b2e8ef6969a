/* test_tokenizer.c: the tokenizer's interface: added tokens, streams, vocabulary, threads, errors, lack of
 * memory. That ids and text are right is the business of test_tokenizer_reference.c. */
#include "runtime/tokenizer/formats.h"
#include "runtime/tokenizer/parts.h"
#include "runtime/tokenizer/pattern.h"
#include "runtime/tokenizer/tokenizer.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define DATA TSR_TEST_DATA "/tokenizer"

static tsr_status parse(const char *json, tsr_tokenizer **out)
{
    tsr_json doc;
    *out = NULL;
    if (tsr_json_parse(json, (int64_t)strlen(json), "tokenizer.json", &doc) != TSR_OK)
        fail_msg("%s", tsr_error_text());
    tsr_status s = tsr_tokenizer_create(out);
    if (s == TSR_OK) s = tsr_tokenizer_from_json(&doc, *out);
    if (s != TSR_OK) tsr_tokenizer_destroy(out);
    tsr_json_free(&doc);
    return s;
}

static tsr_tokenizer *make(const char *json)
{
    tsr_tokenizer *t;
    if (parse(json, &t) != TSR_OK) fail_msg("%s", tsr_error_text());
    return t;
}

static tsr_tokenizer *load(const char *name)
{
    char dir[512];
    tsr_tokenizer *t;
    snprintf(dir, sizeof dir, DATA "/%s", name);
    if (tsr_tokenizer_load(dir, &t) != TSR_OK) fail_msg("%s", tsr_error_text());
    return t;
}

/* Compares the ids of a text with a list ended by -1. */
static void expect(const tsr_tokenizer *t, const char *text, int64_t n, const int32_t *wanted)
{
    tsr_token_list got = {0};
    int64_t count = 0;
    while (wanted[count] >= 0) count++;
    if (tsr_tokenizer_encode(t, text, n, false, &got) != TSR_OK) fail_msg("%s", tsr_error_text());
    bool same =
        got.count == count && (count == 0 || memcmp(got.ids, wanted, (size_t)count * sizeof *wanted) == 0);
    for (int64_t i = 0; !same && i < got.count; i++) print_error("%d ", got.ids[i]);
    if (!same) fail_msg("\"%s\" has other ids", text);
    tsr_token_list_free(&got);
}

#define EXPECT(t, text, ...) expect(t, text, (int64_t)sizeof(text) - 1, (const int32_t[]){__VA_ARGS__, -1})

#define MODEL(vocab, merges)  "\"model\":{\"type\":\"BPE\",\"vocab\":{" vocab "},\"merges\":[" merges "]}"
#define LETTERS               "\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"abc\":4,\" \":5,\"?\":6,\"\xEF\xBF\xBD\":9"
#define SMALL                 MODEL(LETTERS, "\"a b\",[\"ab\",\"c\"]")
#define TOKEN(content, flags) "{\"content\":\"" content "\"" flags "}"

static void merges_go_in_order_of_rank(void **state)
{
    (void)state;
    tsr_tokenizer *t = make("{" SMALL "}");
    EXPECT(t, "abcab", 4, 3);
    EXPECT(t, "aabbcc", 0, 3, 1, 2, 2);
    EXPECT(t, "xaybzc", 4); /* no unk_token: unknown characters vanish, and what is left merges */
    EXPECT(t, "", -1);
    tsr_tokenizer_destroy(&t);
    t = make("{" MODEL(LETTERS ",\"bc\":7", "\"b c\",\"a b\",\"ab c\"") "}");
    EXPECT(t, "abc", 0, 7);
    tsr_tokenizer_destroy(&t);
    /* Of a pair that is listed twice, the last rank counts. */
    t = make("{" MODEL(LETTERS ",\"bc\":7", "\"a b\",\"b c\",\"a b\"") "}");
    EXPECT(t, "abc", 0, 7);
    tsr_tokenizer_destroy(&t);
}

static void invalid_utf8_is_replaced(void **state)
{
    (void)state;
    tsr_tokenizer *t = make("{" SMALL "}");
    EXPECT(t,
           "a\xFF"
           "b",
           0, 9, 1);
    EXPECT(t, "\xE2\x82", 9); /* one maximal part */
    EXPECT(t,
           "\xE2\x82"
           "a",
           9, 0);
    EXPECT(t, "\xF0\x80\x80", 9, 9, 9); /* three bytes that begin nothing */
    EXPECT(t, "\xED\xA0\x80", 9, 9, 9); /* a surrogate */
    tsr_tokenizer_destroy(&t);
}

static void added_tokens_are_cut_out(void **state)
{
    (void)state;
    tsr_tokenizer *t = make("{" SMALL ",\"added_tokens\":[" TOKEN("<s>", ",\"special\":true") "," TOKEN(
        "<s>>",
        ",\"normalized\":"
        "false") "," TOKEN("L",
                           ",\"lstrip\":true") "," TOKEN("R",
                                                         ",\"rstrip\":true") "," TOKEN("W",
                                                                                       ",\"single_word\":"
                                                                                       "true") "," TOKEN("ab",
                                                                                                         "") "]}");
    assert_int_equal(tsr_tokenizer_id(t, "<s>"),
                     8); /* eight pieces: ids follow the number of pieces, as in the reference */
    assert_int_equal(tsr_tokenizer_id(t, "W"), 12);
    assert_int_equal(tsr_tokenizer_id(t, "ab"), 3); /* a piece of the model keeps its id */
    EXPECT(t, "a<s>b", 0, 8, 1);
    EXPECT(t, "<s>>", 9); /* the longest */
    EXPECT(t, "<s><s", 8);
    EXPECT(t, "a  L b", 0, 10, 5, 1);
    EXPECT(t, "a  R  b", 0, 5, 5, 11, 1);
    EXPECT(t, "a W?", 0, 5, 12, 6);
    EXPECT(t, "aW", 0);
    EXPECT(t, "W_", -1);
    EXPECT(t, "abc", 3, 2); /* "abc" never forms, for "ab" is cut out first */
    assert_true(tsr_tokenizer_is_special(t, 8));
    assert_false(tsr_tokenizer_is_special(t, 9));
    assert_false(tsr_tokenizer_is_special(t, 0));
    tsr_tokenizer_destroy(&t);
    t = make("{" SMALL ",\"normalizer\":{\"type\":\"Lowercase\"},\"added_tokens\":[" TOKEN(
        "<S>", "") "," TOKEN("<T>", ",\"normalized\":false") "]}");
    EXPECT(t, "A<s>B<S>", 0, 8, 1, 8);
    EXPECT(t, "A<t>B<T>", 3, 9); /* "<t>" is none, and its characters are unknown */
    tsr_tokenizer_destroy(&t);
}

/* Splits text at '-' and joins the pieces with '|'. */
static void expect_split(tsr_split_behavior behavior, bool invert, const char *text, const char *wanted)
{
    tsr_spans spans = {0};
    char got[128] = "";
    tsr_pattern dash = {.literal = "-", .literal_length = 1};
    tsr_regex_work *work;
    assert_int_equal(tsr_regex_work_create(&work), TSR_OK);
    assert_int_equal(tsr_pattern_spans(&dash, work, text, (int64_t)strlen(text), &spans), TSR_OK);
    tsr_spans_split(&spans, behavior, invert);
    for (int64_t i = 0; i < spans.count; i++) {
        tsr_span s = spans.span[i];
        if (s.match) continue;
        if (*got) strcat(got, "|");
        strncat(got, text + s.begin, (size_t)(s.end - s.begin));
    }
    assert_string_equal(got, wanted);
    tsr_regex_work_destroy(&work);
    tsr_free(spans.span);
}

static void there_are_five_ways_to_split(void **state)
{
    static const char text[] = "the-final--countdown-";
    (void)state;
    expect_split(TSR_SPLIT_REMOVED, false, text, "the|final|countdown");
    expect_split(TSR_SPLIT_ISOLATED, false, text, "the|-|final|-|-|countdown|-");
    expect_split(TSR_SPLIT_WITH_PREVIOUS, false, text, "the-|final-|-|countdown-");
    expect_split(TSR_SPLIT_WITH_NEXT, false, text, "the|-final|-|-countdown|-");
    expect_split(TSR_SPLIT_CONTIGUOUS, false, text, "the|-|final|--|countdown|-");
    expect_split(TSR_SPLIT_REMOVED, true, text, "-|-|-|-");
    expect_split(TSR_SPLIT_WITH_PREVIOUS, true, text, "the|-final|-|-countdown|-");
    expect_split(TSR_SPLIT_WITH_PREVIOUS, false, "--a", "-|-|a");
}

/* Metaspace's "first" asks where a piece stood in the text as it was given, before normalization. */
static void the_first_piece_is_the_first_of_the_text(void **state)
{
#define FIRST ",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"?\",\"prepend_scheme\":\"first\"}"
    (void)state;
    tsr_tokenizer *t = make("{" SMALL FIRST "}");
    EXPECT(t, "a b", 6, 0, 6, 1);
    EXPECT(t, " a", 6, 0);
    tsr_tokenizer_destroy(&t);
    t = make("{" SMALL FIRST ",\"normalizer\":{\"type\":\"Strip\"}}");
    EXPECT(t, "a ", 6, 0);
    EXPECT(t, "  a", 0);
    tsr_tokenizer_destroy(&t);
    t = make("{" SMALL FIRST
             ",\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"c+\"},\"content\":\"b\"}}");
    EXPECT(t, "ca", 6, 1, 0);
    EXPECT(t, "cca", 1, 0);
    tsr_tokenizer_destroy(&t);
    t = make("{" SMALL FIRST ",\"added_tokens\":[" TOKEN("<s>", ",\"special\":true") "]}");
    EXPECT(t, "a<s>a", 6, 0, 8, 0);
    EXPECT(t, "<s>a", 8, 0);
    tsr_tokenizer_destroy(&t);
}

static void the_vocabulary_can_be_asked(void **state)
{
    int64_t n;
    (void)state;
    tsr_tokenizer *t = make("{" MODEL("\"a\":0,\"b\":700", "") ",\"added_tokens\":[" TOKEN("<x>", "") "]}");
    assert_int_equal(tsr_tokenizer_size(t), 701);
    assert_int_equal(tsr_tokenizer_id(t, "b"), 700);
    assert_int_equal(tsr_tokenizer_id(t, "c"), -1);
    assert_int_equal(tsr_tokenizer_id(t, "<x>"), 2);
    assert_memory_equal(tsr_tokenizer_piece(t, 2, &n), "<x>", 3);
    assert_int_equal(n, 3);
    assert_null(tsr_tokenizer_piece(t, 1, &n));
    assert_null(tsr_tokenizer_piece(t, -1, &n));
    assert_null(tsr_tokenizer_piece(t, INT32_MAX, &n));
    tsr_tokenizer_destroy(&t);
}

static void encode_appends(void **state)
{
    (void)state;
    tsr_tokenizer *t = load("llama3");
    tsr_token_list ids = {0};
    assert_int_equal(tsr_token_list_add(&ids, 7), TSR_OK);
    assert_int_equal(tsr_tokenizer_encode(t, "a", 1, true, &ids), TSR_OK);
    assert_int_equal(ids.count, 3);
    assert_int_equal(ids.ids[0], 7);
    assert_int_equal(ids.ids[1], tsr_tokenizer_id(t, "<|begin_of_text|>"));
    assert_int_equal(tsr_tokenizer_encode(t, "a", 1, false, &ids), TSR_OK);
    assert_int_equal(ids.count, 4);
    assert_int_equal(ids.ids[2], ids.ids[3]);
    assert_int_equal(tsr_tokenizer_encode(t, "a", (int64_t)TSR_TOKENIZER_TEXT_CAP + 1, false, &ids),
                     TSR_ERR_CAPACITY);
    tsr_token_list_free(&ids);
    tsr_tokenizer_destroy(&t);
}

static void expect_text(const tsr_text *text, const char *wanted)
{
    assert_int_equal(text->length, strlen(wanted));
    assert_memory_equal(text->data, wanted, strlen(wanted));
}

static void a_stream_shows_whole_characters(void **state)
{
    static const char *const names[] = {"gpt2", "llama", "sentencepiece_llama"};
    static const char text[] = "x \xF0\x9F\x91\xA9 \xE6\xBC\xA2\xEA\xB0\x81";
    (void)state;
    for (int i = 0; i < 3; i++) {
        tsr_tokenizer *t = load(names[i]);
        tsr_detokenizer *d;
        tsr_token_list ids = {0};
        tsr_text out;
        bool waited = false;
        assert_int_equal(tsr_text_init(&out, 1000), TSR_OK);
        assert_int_equal(tsr_tokenizer_encode(t, text, (int64_t)strlen(text), false, &ids), TSR_OK);
        assert_int_equal(tsr_detokenizer_create(t, true, &d), TSR_OK);
        for (int round = 0; round < 2; round++) { /* finish leaves it as new */
            tsr_text_clear(&out);
            for (int64_t k = 0; k < ids.count; k++) {
                int64_t before = out.length;
                assert_int_equal(tsr_detokenizer_push(d, ids.ids[k], &out), TSR_OK);
                assert_true(tsr_utf8_valid(out.data, out.length));
                waited |= out.length == before;
            }
            assert_int_equal(tsr_detokenizer_finish(d, &out), TSR_OK);
            expect_text(&out, text);
        }
        assert_true(waited); /* else nothing was split over tokens */
        tsr_detokenizer_destroy(&d);
        tsr_text_free(&out);
        tsr_token_list_free(&ids);
        tsr_tokenizer_destroy(&t);
    }
}

static void push(tsr_detokenizer *d, const tsr_tokenizer *t, const char *piece, tsr_text *out)
{
    assert_int_equal(tsr_detokenizer_push(d, tsr_tokenizer_id(t, piece), out), TSR_OK);
}

/* A run of byte tokens of Llama's tokenizer.json is valid as a whole or not at all; SentencePiece looks at
 * characters. */
static void byte_tokens_wait_for_what_may_change_them(void **state)
{
    (void)state;
    tsr_tokenizer *t = load("llama");
    tsr_detokenizer *d;
    tsr_text out;
    assert_int_equal(tsr_text_init(&out, 1000), TSR_OK);
    assert_int_equal(tsr_detokenizer_create(t, true, &d), TSR_OK);
    push(d, t, "<0xC3>", &out), push(d, t, "<0xA9>", &out);
    expect_text(&out, "");
    push(d, t, "a", &out);
    expect_text(&out, "\xC3\xA9"
                      "a");
    push(d, t, "<0xC3>", &out), push(d, t, "<0xA9>", &out), push(d, t, "<0xFF>", &out), push(d, t, "a", &out);
    expect_text(&out, "\xC3\xA9"
                      "a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"
                      "a");
    tsr_detokenizer_destroy(&d);
    tsr_tokenizer_destroy(&t);
    t = load("sentencepiece_llama");
    tsr_text_clear(&out);
    assert_int_equal(tsr_detokenizer_create(t, true, &d), TSR_OK);
    push(d, t, "<0xC3>", &out);
    expect_text(&out, "");
    push(d, t, "<0xA9>", &out);
    expect_text(&out, "\xC3\xA9");
    push(d, t, "<0xE2>", &out), push(d, t, "<0x82>", &out);
    expect_text(&out, "\xC3\xA9");
    assert_int_equal(tsr_detokenizer_finish(d, &out), TSR_OK);
    expect_text(&out, "\xC3\xA9\xEF\xBF\xBD\xEF\xBF\xBD");
    tsr_detokenizer_destroy(&d);
    tsr_text_free(&out);
    tsr_tokenizer_destroy(&t);
}

static void special_tokens_can_be_shown(void **state)
{
    (void)state;
    tsr_tokenizer *t = load("sentencepiece_llama");
    tsr_token_list ids = {0};
    tsr_text out;
    assert_int_equal(tsr_text_init(&out, 1000), TSR_OK);
    assert_int_equal(tsr_tokenizer_encode(t, "one two", 7, true, &ids), TSR_OK);
    assert_int_equal(tsr_tokenizer_decode(t, ids.ids, ids.count, true, &out), TSR_OK);
    expect_text(&out, "one two");
    tsr_text_clear(&out);
    assert_int_equal(tsr_tokenizer_decode(t, ids.ids, ids.count, false, &out), TSR_OK);
    expect_text(&out, "<s> one two"); /* as the tokenizer.json of the same model */
    assert_true(tsr_tokenizer_is_special(t, 1));
    assert_false(tsr_tokenizer_is_special(t, 300));
    tsr_text_free(&out);
    tsr_token_list_free(&ids);
    tsr_tokenizer_destroy(&t);
}

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    fclose(f);
}

static void remove_dir(const char *dir)
{
    static const char *const names[] = {"tokenizer.json", "vocab.json", "merges.txt", "tokenizer.model",
                                        "tokenizer_config.json"};
    for (int i = 0; i < 5; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

static void the_first_format_that_is_present_counts(void **state)
{
    char dir[] = "/tmp/tsr_tokenizer_XXXXXX", source[512];
    tsr_tokenizer *t;
    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(tsr_tokenizer_load(dir, &t), TSR_ERR_IO);
    assert_null(t);
    assert_non_null(strstr(tsr_error_text(), "tokenizer.json"));
    assert_int_equal(tsr_tokenizer_load("/nonexistent", &t), TSR_ERR_IO);
    write_file(dir, "vocab.json", "{\"a\":0,\"b\":1,\"ab\":2,\"</s>\":3}");
    assert_int_equal(tsr_tokenizer_load(dir, &t), TSR_ERR_IO); /* half a format is none */
    write_file(dir, "merges.txt", "#version: 0.2\r\na b\r\n");
    assert_int_equal(tsr_tokenizer_load(dir, &t), TSR_OK);
    EXPECT(t, "ab</s>", 2); /* "</s>" is no special token of GPT-2, and its characters are unknown */
    tsr_tokenizer_destroy(&t);
    write_file(dir, "tokenizer_config.json", "{\"eos_token\":{\"content\":\"</s>\"},\"add_eos_token\":true}");
    assert_int_equal(tsr_tokenizer_load(dir, &t), TSR_OK);
    EXPECT(t, "ab</s>", 2, 3);
    tsr_token_list ids = {0};
    assert_int_equal(tsr_tokenizer_encode(t, "a", 1, true, &ids), TSR_OK);
    assert_int_equal(ids.count, 2);
    assert_int_equal(ids.ids[1], 3);
    tsr_token_list_free(&ids);
    tsr_tokenizer_destroy(&t);
    write_file(dir, "tokenizer.json", "{" SMALL "}");
    assert_int_equal(tsr_tokenizer_load(dir, &t), TSR_OK);
    assert_int_equal(tsr_tokenizer_id(t, "abc"), 4);
    tsr_tokenizer_destroy(&t);
    write_file(dir, "tokenizer.json", "{\"model\"");
    assert_int_equal(tsr_tokenizer_load(dir, &t), TSR_ERR_FORMAT);
    assert_null(t);
    snprintf(source, sizeof source, "%s/tokenizer.json", dir);
    unlink(source);
    write_file(dir, "merges.txt", "a b c\n");
    assert_int_equal(tsr_tokenizer_load(dir, &t), TSR_ERR_FORMAT);
    assert_non_null(strstr(tsr_error_text(), "merges.txt: merge 1"));
    remove_dir(dir);
}

/* The configuration beside a SentencePiece model: which special tokens stand around, and further tokens. */
static void a_configuration_adds_to_sentencepiece(void **state)
{
    char dir[] = "/tmp/tsr_tokenizer_XXXXXX", command[1200];
    tsr_tokenizer *t;
    tsr_token_list ids = {0};
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(command, sizeof command, "cp " DATA "/sentencepiece_llama/tokenizer.model %s/tokenizer.model",
             dir);
    assert_int_equal(system(command), 0);
    write_file(dir, "tokenizer_config.json",
               "{\"add_bos_token\":false,\"add_eos_token\":true,\"legacy\":false,\"bos_token\":\"<s>\","
               "\"added_tokens_decoder\":"
               "{\"950\":{\"content\":\"<|im_end|>\",\"special\":true},\"951\":{\"content\":\"<tool>\","
               "\"special\":false}}}");
    if (tsr_tokenizer_load(dir, &t) != TSR_OK) fail_msg("%s", tsr_error_text());
    assert_int_equal(tsr_tokenizer_size(t), 952);
    assert_int_equal(tsr_tokenizer_encode(t, "a<|im_end|>a<s><tool>", 21, true, &ids), TSR_OK);
    int32_t with_blank = tsr_tokenizer_id(t, "\xE2\x96\x81"
                                             "a"),
            without = tsr_tokenizer_id(t, "a");
    const int32_t wanted[] = {with_blank, 950, without, 1, 951, 2}; /* not legacy: one blank in front */
    assert_int_equal(ids.count, 6);
    assert_memory_equal(ids.ids, wanted, sizeof wanted);
    tsr_text out;
    assert_int_equal(tsr_text_init(&out, 1000), TSR_OK);
    assert_int_equal(tsr_tokenizer_decode(t, ids.ids, ids.count, true, &out), TSR_OK);
    expect_text(&out, "aa<tool>");
    tsr_text_free(&out);
    tsr_token_list_free(&ids);
    tsr_tokenizer_destroy(&t);
    write_file(dir, "tokenizer_config.json", "{\"added_tokens_decoder\":{\"4194304\":{\"content\":\"x\"}}}");
    assert_int_equal(tsr_tokenizer_load(dir, &t), TSR_ERR_FORMAT);
    assert_non_null(strstr(tsr_error_text(), "tokenizer_config.json"));
    write_file(dir, "tokenizer.model", "IQ== 0\nIg== 1\n");
    assert_int_equal(tsr_tokenizer_load(dir, &t), TSR_ERR_FORMAT);
    assert_non_null(strstr(tsr_error_text(), "tokenizer.model: not a SentencePiece model"));
    remove_dir(dir);
}

static void what_is_wrong_is_named(void **state)
{
    static const char *const cases[][2] = {
        {"{}", "tokenizer.json: model: the model is missing"},
        {"{\"model\":{\"type\":\"Unigram\"}}", "unknown model \"Unigram\"; we have BPE"},
        {"{\"version\":\"2.0\"," SMALL "}", "\"version\" must be 1.0"},
        {"{" MODEL("\"a\":0,\"b\":0", "") "}", "id 0 belongs to two pieces"},
        {"{" MODEL("\"a\":-1", "") "}", "has id -1"},
        {"{" MODEL("\"a\":4194304", "") "}", "has id 4194304"},
        {"{" MODEL("\"a\":1.5", "") "}", "a real number for its id"},
        {"{" MODEL("\"a\":0", "\"a b\"") "}", "merge 1 needs \"b\""},
        {"{" MODEL("\"a\":0,\"b\":1", "\"a b\"") "}", "merge 1 needs \"ab\""},
        {"{" MODEL(LETTERS, "\"ab\"") "}", "merge 1 must be two pieces"},
        {"{" MODEL(LETTERS, "[\"a\"]") "}", "merge 1 must be"},
        {"{" MODEL(LETTERS, "7") "}", "merge 1 must be"},
        {"{\"model\":{\"type\":\"BPE\",\"merges\":[]}}", "\"vocab\" is missing"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{}}}", "\"merges\" is missing"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[],\"dropout\":0.1}}",
         "\"dropout\" is 0.1, must be null"},
        {"{" SMALL ",\"normalizer\":{\"type\":\"Magic\"}}",
         "tokenizer.json: normalizer: unknown normalizer \"Magic\"; we have Sequence, NFC, NFD"},
        {"{" SMALL ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\"},{"
         "\"type\":\"Magic\"}]}}",
         "tokenizer.json: pre_tokenizer.pretokenizers[1]: unknown pre-tokenizer \"Magic\"; we have Sequence, "
         "ByteLevel"},
        {"{" SMALL ",\"decoder\":{\"type\":\"CTC\"}}",
         "unknown decoder \"CTC\"; we have Sequence, ByteLevel"},
        {"{" SMALL ",\"post_processor\":{\"type\":\"Magic\"}}",
         "unknown post-processor \"Magic\"; we have Sequence, Templ"},
        {"{" SMALL ",\"normalizer\":{\"a\":1}}", "normalizer: \"type\" is missing"},
        {"{" SMALL ",\"normalizer\":7}", "\"normalizer\" must be an object, found an integer"},
        {"{" SMALL ",\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\"}}",
         "\"pattern\" must be"},
        {"{" SMALL
         ",\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Odd\",\"pattern\":{\"String\":\"a\"}}}",
         "found \"Odd\""},
        {"{" SMALL
         ",\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"(\"}}}",
         "without its ')'"},
        {"{" SMALL ",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"ab\"}}",
         "\"replacement\" must be one character"},
        {"{" SMALL ",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"prepend_scheme\":\"odd\"}}",
         "found \"odd\""},
        {"{" SMALL ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{"
         "\"id\":\"x\"}}]}}",
         "\"x\" has no ids"},
        {"{" SMALL ",\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"x\",-1],\"sep\":[\"y\",1]}}",
         "must be [token, id]"},
        {"{" SMALL ",\"added_tokens\":[7]}", "added_tokens[0] must be an object"},
        {"{" SMALL ",\"added_tokens\":[{\"id\":1}]}", "\"content\" is missing"},
        {"{" SMALL ",\"added_tokens\":[{\"content\":\"x\",\"special\":1}]}",
         "\"special\" must be true or false"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tsr_tokenizer *t;
        if (parse(cases[i][0], &t) != TSR_ERR_FORMAT) fail_msg("case %zu was accepted: %s", i, cases[i][0]);
        assert_null(t);
        if (!strstr(tsr_error_text(), cases[i][1])) fail_msg("%s\n  said: %s", cases[i][0], tsr_error_text());
    }
}

static void deep_and_long_sequences_end(void **state)
{
    char json[8192] = "{" SMALL ",\"normalizer\":";
    tsr_tokenizer *t;
    (void)state;
    for (int i = 0; i < 100; i++) strcat(json, "{\"type\":\"Sequence\",\"normalizers\":[");
    for (int i = 0; i < 100; i++) strcat(json, "]}");
    strcat(json, "}");
    assert_int_equal(parse(json, &t), TSR_ERR_FORMAT);
    strcpy(json, "{" SMALL ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}");
    for (int i = 0; i < TSR_COMPONENTS_CAP; i++) strcat(json, ",{\"type\":\"NFC\"}");
    strcat(json, "]}}");
    assert_int_equal(parse(json, &t), TSR_ERR_FORMAT);
}

/* A normalizer that would grow a text without end. */
static void growth_is_bounded(void **state)
{
    char json[4096] = "{" SMALL ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}";
    tsr_token_list ids = {0};
    (void)state;
    for (int i = 0; i < 24; i++)
        strcat(json, ",{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aaaa\"}");
    strcat(json, "]}}");
    tsr_tokenizer *t = make(json);
    assert_int_equal(tsr_tokenizer_encode(t, "a", 1, false, &ids), TSR_ERR_CAPACITY);
    tsr_token_list_free(&ids);
    tsr_tokenizer_destroy(&t);
}

typedef struct thread_work {
    const tsr_tokenizer *t;
    tsr_token_list ids;
    bool same;
} thread_work;

static void *encode_often(void *argument)
{
    static const char text[] = "Many threads, one tokenizer: \xE6\xBC\xA2\xE5\xAD\x97 123 <|im_start|>  x";
    thread_work *w = argument;
    w->same = true;
    for (int i = 0; i < 200; i++) {
        tsr_token_list ids = {0};
        if (tsr_tokenizer_encode(w->t, text, (int64_t)strlen(text), true, &ids) != TSR_OK) w->same = false;
        if (i == 0)
            w->ids = ids;
        else {
            w->same &= ids.count == w->ids.count && memcmp(ids.ids, w->ids.ids, (size_t)ids.count * 4) == 0;
            tsr_token_list_free(&ids);
        }
    }
    return NULL;
}

static void threads_share_a_tokenizer(void **state)
{
    enum { THREADS = 4 };
    pthread_t thread[THREADS];
    thread_work work[THREADS];
    (void)state;
    tsr_tokenizer *t = load("qwen2");
    for (int i = 0; i < THREADS; i++) {
        work[i] = (thread_work){.t = t};
        assert_int_equal(pthread_create(&thread[i], NULL, encode_often, &work[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < THREADS; i++) {
        assert_true(work[i].same);
        assert_int_equal(work[i].ids.count, work[0].ids.count);
        assert_memory_equal(work[i].ids.ids, work[0].ids.ids, (size_t)work[0].ids.count * 4);
    }
    for (int i = 0; i < THREADS; i++) tsr_token_list_free(&work[i].ids);
    tsr_tokenizer_destroy(&t);
}

/* Loads, encodes and decodes once; any allocation may have failed. */
static tsr_status use_once(const char *dir)
{
    static const char text[] = "Some text\xFF, e\xCC\x81 \xE6\xBC\xA2 <s> 123";
    tsr_tokenizer *t = NULL;
    tsr_token_list ids = {0};
    tsr_text out = {0};
    tsr_status status = tsr_tokenizer_load(dir, &t);
    if (status == TSR_OK) status = tsr_tokenizer_encode(t, text, (int64_t)strlen(text), true, &ids);
    if (status == TSR_OK) status = tsr_text_init(&out, 1 << 20);
    if (status == TSR_OK) status = tsr_tokenizer_decode(t, ids.ids, ids.count, true, &out);
    tsr_text_free(&out);
    tsr_token_list_free(&ids);
    tsr_tokenizer_destroy(&t);
    return status;
}

static void lack_of_memory_is_an_error(void **state)
{
    static const char *const names[] = {"words_and_marks", "llama3", "sentencepiece_plain",
                                        "vocab_merges_clip", "openai_gpt"};
    (void)state;
    for (int i = 0; i < 5; i++) {
        char dir[512];
        snprintf(dir, sizeof dir, DATA "/%s", names[i]);
        assert_int_equal(use_once(dir), TSR_OK);
        for (int64_t k = 1;; k += 1 + k / 50) { /* all of the first fifty, then fewer */
            tsr_memory_fail_after(k);
            tsr_status status = use_once(dir);
            tsr_memory_fail_after(0);
            if (status == TSR_OK) {
                assert_true(k > 50);
                break;
            }
            if (status != TSR_ERR_MEMORY)
                fail_msg("%s, allocation %lld: %s", names[i], (long long)k, tsr_error_text());
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_go_in_order_of_rank),
        cmocka_unit_test(invalid_utf8_is_replaced),
        cmocka_unit_test(added_tokens_are_cut_out),
        cmocka_unit_test(there_are_five_ways_to_split),
        cmocka_unit_test(the_first_piece_is_the_first_of_the_text),
        cmocka_unit_test(the_vocabulary_can_be_asked),
        cmocka_unit_test(encode_appends),
        cmocka_unit_test(a_stream_shows_whole_characters),
        cmocka_unit_test(byte_tokens_wait_for_what_may_change_them),
        cmocka_unit_test(special_tokens_can_be_shown),
        cmocka_unit_test(the_first_format_that_is_present_counts),
        cmocka_unit_test(a_configuration_adds_to_sentencepiece),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(deep_and_long_sequences_end),
        cmocka_unit_test(growth_is_bounded),
        cmocka_unit_test(threads_share_a_tokenizer),
        cmocka_unit_test(lack_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
