/* test_tokenizer.c: the tokenizer's interface: merges, added tokens, splits, the vocabulary, streams. That ids and text
 * are right is the business of test_tokenizer_reference.c. */
#include "support_tokenizer.h"

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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
