/* test_tokenizer_files.c: what a tokenizer is read from: which files count, what is wrong with them, use by many
 * threads, lack of memory. */
#include "support_tokenizer.h"

#include <pthread.h>
#include <unistd.h>

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
    assert_non_null(strstr(tsr_error_text(), "a file of ranks for tokenizer_class \"none\""));
    write_file(dir, "tokenizer_config.json", "{\"tokenizer_class\":\"QWenTokenizer\"}");
    assert_int_equal(tsr_tokenizer_load(dir, &t), TSR_ERR_FORMAT);
    assert_non_null(strstr(tsr_error_text(), "tokenizer.model: the byte 0x00 is no token"));
    write_file(dir, "tokenizer.model", "IQ== 0\nIg=x 1\n");
    assert_int_equal(tsr_tokenizer_load(dir, &t), TSR_ERR_FORMAT);
    assert_non_null(strstr(tsr_error_text(), "tokenizer.model: line 2 must be a token in base64"));
    write_file(dir, "tokenizer.model", "IQ 0\n");
    assert_int_equal(tsr_tokenizer_load(dir, &t), TSR_ERR_FORMAT);
    assert_non_null(strstr(tsr_error_text(), "tokenizer.model: not a SentencePiece model"));
    remove_dir(dir);
}

static void what_is_wrong_is_named(void **state)
{
    static const char *const cases[][2] = {
        {"{}", "tokenizer.json: model: the model is missing"},
        {"{\"model\":{\"type\":\"WordLevel\"}}", "unknown model \"WordLevel\"; we have BPE and Unigram"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}", "vocab[0] must be [piece, score]"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",1],[\"a\",2]]}}", "has two ids, 0 and 1"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",1]],\"unk_id\":1}}", "\"unk_id\" must lie in"},
        {"{\"model\":{\"type\":\"Unigram\"}}", "\"vocab\" has no pieces"},
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
