/* support_tokenizer.h: making and loading tokenizers in tests, and saying what ids or text are wanted. Not every test
 * uses every function. */
#ifndef TSR_TESTS_SUPPORT_TOKENIZER_H
#define TSR_TESTS_SUPPORT_TOKENIZER_H

#include "runtime/tokenizer/formats.h"
#include "runtime/tokenizer/parts.h"
#include "runtime/tokenizer/pattern.h"
#include "runtime/tokenizer/tokenizer.h"
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

static inline tsr_status parse(const char *json, tsr_tokenizer **out)
{
    tsr_json doc;
    *out = NULL;
    if (tsr_json_parse(json, (int64_t)strlen(json), "tokenizer.json", &doc) != TSR_OK)
        fail_msg("%s", tsr_error_text());
    tsr_status s = tsr_tokenizer_create(out);
    if (s == TSR_OK) s = tsr_tokenizer_from_json(&doc, &(tsr_json){0}, *out);
    if (s != TSR_OK) tsr_tokenizer_destroy(out);
    tsr_json_free(&doc);
    return s;
}

static inline tsr_tokenizer *make(const char *json)
{
    tsr_tokenizer *t;
    if (parse(json, &t) != TSR_OK) fail_msg("%s", tsr_error_text());
    return t;
}

static inline tsr_tokenizer *load(const char *name)
{
    char dir[512];
    tsr_tokenizer *t;
    snprintf(dir, sizeof dir, DATA "/%s", name);
    if (tsr_tokenizer_load(dir, &t) != TSR_OK) fail_msg("%s", tsr_error_text());
    return t;
}

/* Compares the ids of a text with a list ended by -1. */
static inline void expect(const tsr_tokenizer *t, const char *text, int64_t n, const int32_t *wanted)
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

static inline void expect_text(const tsr_text *text, const char *wanted)
{
    assert_int_equal(text->length, strlen(wanted));
    assert_memory_equal(text->data, wanted, strlen(wanted));
}

#endif
