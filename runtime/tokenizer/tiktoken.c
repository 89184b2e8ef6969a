/* tiktoken.c: reading a file of ranks, and encoding with it. */
#include "runtime/tokenizer/tiktoken.h"
#include "runtime/tokenizer/merge_queue.h"
#include "runtime/tokenizer/word_cache.h"
#include "base/memory.h"

#include <string.h>

/* --- The file --- */

enum { LINE_CAP = 4096 };

/* The six bits of a letter of base64, -1 if it is none. */
static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Bytes of text[0..n), a multiple of 4 letters with '=' at the end alone; -1 if it is no base64. */
static int64_t decode_base64(const char *text, int64_t n, char *out)
{
    int64_t length = 0;
    if (n == 0 || n % 4 != 0) return -1;
    int padding = text[n - 1] != '=' ? 0 : text[n - 2] != '=' ? 1 : 2;
    for (int64_t i = 0; i < n; i += 4) {
        int keep = i + 4 == n ? 4 - padding : 4;
        uint32_t bits = 0;
        for (int k = 0; k < 4; k++) {
            int value = k < keep ? base64_value(text[i + k]) : 0;
            if (value < 0) return -1;
            bits = bits << 6 | (uint32_t)value;
        }
        for (int k = 0; k < keep - 1; k++) out[length++] = (char)(bits >> (16 - 8 * k));
    }
    return length;
}

/* The number text[0..n), -1 if it is none or too large. */
static int64_t decode_number(const char *text, int64_t n)
{
    int64_t value = 0;
    if (n < 1 || n > 9) return -1;
    for (int64_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9') return -1;
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

typedef struct rank_line {
    char token[LINE_CAP];
    int64_t length, rank;
} rank_line;

static bool parse_line(const char *line, int64_t n, rank_line *out)
{
    const char *blank = memchr(line, ' ', (size_t)n);
    if (!blank || n > LINE_CAP) return false;
    out->length = decode_base64(line, blank - line, out->token);
    out->rank = decode_number(blank + 1, line + n - blank - 1);
    return out->length > 0 && out->rank >= 0;
}

/* The line at text[0..n) without its end; *used: bytes of it with its end. */
static int64_t line_length(const char *text, int64_t n, int64_t *used)
{
    const char *newline = memchr(text, '\n', (size_t)n);
    int64_t length = newline ? newline - text : n;
    *used = newline ? length + 1 : length;
    return length > 0 && text[length - 1] == '\r' ? length - 1 : length;
}

bool tsr_tiktoken_is(const char *bytes, int64_t n)
{
    rank_line line;
    int64_t used;
    if (n == 0) return false;
    return parse_line(bytes, line_length(bytes, n < LINE_CAP ? n : LINE_CAP, &used), &line);
}

static tsr_status read_lines(const char *bytes, int64_t n, const char *where, tsr_vocabulary *v)
{
    rank_line line;
    int64_t number = 1, used;
    for (int64_t i = 0; i < n; i += used, number++) {
        int64_t length = line_length(bytes + i, n - i, &used);
        if (length == 0) continue;
        if (!parse_line(bytes + i, length, &line))
            return tsr_fail(TSR_ERR_FORMAT, "%s: line %lld must be a token in base64, a blank and its rank",
                            where, (long long)number);
        TSR_TRY(tsr_vocabulary_add(v, where, line.rank, line.token, line.length));
    }
    return TSR_OK;
}

tsr_status tsr_tiktoken_load(const char *bytes, int64_t n, const char *where, tsr_model *model)
{
    *model = (tsr_model){.kind = &tsr_model_tiktoken};
    TSR_TRY(tsr_vocabulary_create(&model->vocabulary));
    TSR_TRY(read_lines(bytes, n, where, model->vocabulary));
    for (int b = 0; b < 256; b++) {
        char byte = (char)b;
        if (tsr_vocabulary_id(model->vocabulary, &byte, 1) < 0)
            return tsr_fail(TSR_ERR_FORMAT, "%s: the byte 0x%02X is no token", where, b);
    }
    return TSR_OK;
}

static void release(tsr_model *model)
{
    (void)model;
}

/* --- Encoding --- */

/* What work->model points to. */
typedef struct tiktoken_work {
    tsr_merge_queue queue;
    tsr_word_cache cache;
} tiktoken_work;

static tsr_status get_work(tsr_work *work, tiktoken_work **out)
{
    void *p;
    if (!work->model) {
        TSR_TRY(tsr_calloc(1, sizeof(tiktoken_work), "a BPE model", &p));
        work->model = p;
    }
    *out = work->model;
    return (*out)->cache.slot ? TSR_OK : tsr_word_cache_init(&(*out)->cache);
}

static void release_work(void *work_model)
{
    tiktoken_work *w = work_model;
    if (!w) return;
    tsr_merge_queue_free(&w->queue);
    tsr_word_cache_free(&w->cache);
    tsr_free(w);
}

static void trim_work(void *work_model)
{
    tiktoken_work *w = work_model;
    if (w) tsr_merge_queue_trim(&w->queue);
}

/* Queues the merge of the symbol at `left` with the next one, if the two are a token. */
static tsr_status push_pair(const tsr_vocabulary *v, tsr_merge_queue *q, const char *text, int32_t left)
{
    int32_t right = left < 0 ? -1 : q->symbol[left].next;
    if (right < 0) return TSR_OK;
    int32_t begin = q->symbol[left].begin, size = q->symbol[right].end - begin;
    int32_t id = tsr_vocabulary_id(v, text + begin, size);
    return id < 0 ? TSR_OK : tsr_merge_queue_push(q, (uint32_t)id, left, id, size);
}

static tsr_status merge_all(const tsr_vocabulary *v, tsr_merge_queue *q, const char *text)
{
    tsr_merge m;
    int32_t left;
    for (int32_t i = 0; i < q->symbols; i++) TSR_TRY(push_pair(v, q, text, i));
    while (tsr_merge_queue_pop(q, &m, &left)) {
        const tsr_symbol *l = &q->symbol[left];
        if (l->begin == l->end || l->next < 0 || q->symbol[l->next].end - l->begin != m.size)
            continue; /* outdated */
        tsr_merge_queue_join(q, left, m.id);
        TSR_TRY(push_pair(v, q, text, l->prev));
        TSR_TRY(push_pair(v, q, text, left));
    }
    return TSR_OK;
}

static tsr_status encode_word(const tsr_vocabulary *v, tsr_merge_queue *q, const char *text, int64_t n,
                              tsr_token_list *out)
{
    int32_t whole = tsr_vocabulary_id(v, text, n);
    if (whole >= 0) return tsr_token_list_add(out, whole);
    tsr_merge_queue_clear(q);
    for (int32_t i = 0; i < n; i++) {
        tsr_symbol s = {.id = tsr_vocabulary_id(v, text + i, 1), .begin = i, .end = i + 1};
        TSR_TRY(tsr_merge_queue_add(q, s));
    }
    TSR_TRY(merge_all(v, q, text));
    for (int32_t i = 0; i >= 0; i = q->symbol[i].next) TSR_TRY(tsr_token_list_add(out, q->symbol[i].id));
    return TSR_OK;
}

static tsr_status encode(const tsr_model *model, tsr_work *work, const char *text, int64_t n,
                         tsr_token_list *out)
{
    tiktoken_work *w;
    TSR_TRY(get_work(work, &w));
    tsr_cached_word *slot = tsr_word_cache_slot(&w->cache, text, n);
    if (slot && tsr_cached_word_is(slot, text, n)) return tsr_token_list_append(out, slot->id, slot->tokens);
    int64_t before = out->count;
    TSR_TRY(encode_word(model->vocabulary, &w->queue, text, n, out));
    if (slot) tsr_cached_word_set(slot, text, n, out->ids + before, out->count - before);
    return TSR_OK;
}

const tsr_model_kind tsr_model_tiktoken = {"tiktoken", NULL, encode, release, release_work, trim_work, NULL};
