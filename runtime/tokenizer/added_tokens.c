/* added_tokens.c: the list of added tokens, its tries, and cutting a text at them. */
#include "runtime/tokenizer/added_tokens.h"
#include "runtime/tokenizer/trie.h"
#include "runtime/tokenizer/normalizer.h"
#include "runtime/tokenizer/unicode.h"

#include <stdlib.h>
#include <string.h>

struct tsr_added_tokens {
    const tsr_vocabulary *model_pieces;
    tsr_vocabulary *pieces; /* content by place in `token` */
    tsr_arena *arena;
    tsr_added_token *token; /* [count], in order of addition */
    int32_t *by_id;         /* [count] places, sorted by id */
    int64_t count, capacity;
    int32_t next_id, size;
    tsr_trie *plain, *normalized;
};

tsr_status tsr_added_tokens_create(const tsr_vocabulary *model_pieces, tsr_added_tokens **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_added_tokens), "the added tokens", &p));
    tsr_added_tokens *a = p;
    a->model_pieces = model_pieces;
    a->next_id = tsr_vocabulary_count(model_pieces);
    tsr_status status = tsr_vocabulary_create(&a->pieces);
    if (status == TSR_OK) status = tsr_arena_create("the added tokens", &a->arena);
    if (status != TSR_OK) tsr_added_tokens_destroy(&a);
    *out = a;
    return status;
}

void tsr_added_tokens_destroy(tsr_added_tokens **added)
{
    tsr_added_tokens *a = *added;
    if (!a) return;
    tsr_vocabulary_destroy(&a->pieces);
    tsr_arena_destroy(&a->arena);
    tsr_trie_destroy(&a->plain);
    tsr_trie_destroy(&a->normalized);
    tsr_free(a->token);
    tsr_free(a->by_id);
    tsr_free(a);
    *added = NULL;
}

static tsr_status copy(tsr_arena *arena, const char *text, int64_t n, const char **out)
{
    void *p;
    TSR_TRY(tsr_arena_alloc(arena, n + 1, &p));
    *out = memcpy(p, text, (size_t)n);
    return TSR_OK;
}

static tsr_status append(tsr_added_tokens *a, const char *where, const tsr_added_token *token, bool keep_id)
{
    tsr_added_token t = *token;
    int32_t id = tsr_vocabulary_id(a->model_pieces, t.content, t.length);
    if (id < 0) id = keep_id ? t.id : a->next_id++;
    t.id = id;
    if (a->count == TSR_ADDED_TOKENS_CAP || id < 0 || id >= TSR_TOKEN_ID_CAP)
        return tsr_fail(TSR_ERR_FORMAT, "%s: added token \"%.*s\" has id %d, must lie in 0..%d", where,
                        t.length < 40 ? t.length : 40, t.content, id, TSR_TOKEN_ID_CAP - 1);
    TSR_TRY(copy(a->arena, token->content, token->length, &t.content));
    TSR_TRY(tsr_grow((void **)&a->token, &a->capacity, a->count + 1, sizeof *a->token, "the added tokens"));
    TSR_TRY(tsr_vocabulary_add(a->pieces, where, a->count, t.content, t.length));
    a->token[a->count++] = t;
    if (id >= a->size) a->size = id + 1;
    return TSR_OK;
}

tsr_status tsr_added_tokens_add(tsr_added_tokens *a, const char *where, const tsr_added_token *token,
                                bool keep_id)
{
    if (token->length == 0) return TSR_OK;
    if (token->length > TSR_ADDED_TOKEN_BYTES_CAP)
        return tsr_fail(TSR_ERR_FORMAT, "%s: an added token of %d bytes, at most %d are accepted", where,
                        token->length, TSR_ADDED_TOKEN_BYTES_CAP);
    int32_t place = tsr_vocabulary_id(a->pieces, token->content, token->length);
    if (place < 0) return append(a, where, token, keep_id);
    tsr_added_token *known = &a->token[place];
    bool special = known->special || token->special;
    tsr_added_token changed = *token;
    changed.content = known->content;
    changed.id = known->id;
    changed.special = special;
    *known = changed;
    return TSR_OK;
}

tsr_status tsr_added_token_read(tsr_object o, tsr_added_token *out)
{
    int64_t id;
    *out = (tsr_added_token){0};
    TSR_TRY(tsr_object_string(o, "content", NULL, &out->content));
    if (!out->content) return tsr_fail(TSR_ERR_FORMAT, "%s: \"content\" is missing", o.where);
    size_t length = json_string_length(json_object_get(o.object, "content"));
    out->length = length < INT32_MAX ? (int32_t)length : INT32_MAX;
    TSR_TRY(tsr_object_int(o, "id", -1, 0, TSR_TOKEN_ID_CAP - 1, &id));
    out->id = (int32_t)id;
    TSR_TRY(tsr_object_bool(o, "special", false, &out->special));
    TSR_TRY(tsr_object_bool(o, "normalized", !out->special, &out->normalized));
    TSR_TRY(tsr_object_bool(o, "single_word", false, &out->single_word));
    TSR_TRY(tsr_object_bool(o, "lstrip", false, &out->lstrip));
    return tsr_object_bool(o, "rstrip", false, &out->rstrip);
}

tsr_status tsr_added_tokens_load(tsr_added_tokens *a, const char *where, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        tsr_added_token token;
        tsr_object o = {json_array_get(list, i), where};
        if (!json_is_object(o.object))
            return tsr_fail(TSR_ERR_FORMAT, "%s: added_tokens[%zu] must be an object, found %s", where, i,
                            tsr_json_type_name(o.object));
        tsr_status status = tsr_added_token_read(o, &token);
        if (status != TSR_OK) return tsr_fail_in(status, "added_tokens[%zu]", i);
        TSR_TRY(tsr_added_tokens_add(a, where, &token, false));
    }
    return TSR_OK;
}

void tsr_added_tokens_stand_alone(tsr_added_tokens *a)
{
    for (int64_t i = 0; i < a->count; i++) {
        a->token[i].alone = a->token[i].single_word;
        a->token[i].single_word = false;
    }
}

/* The normalized form of a normalized token; the content of any other. */
static tsr_status decode_form(tsr_added_tokens *a, tsr_added_token *t, const tsr_components *normalizers,
                              tsr_work *work)
{
    const char *text = t->content;
    int64_t n = t->length;
    bool at_start = true;
    tsr_work_reset(work, n);
    if (t->normalized)
        TSR_TRY(tsr_normalizers_run(normalizers, work, t->content, t->length, &at_start, &text, &n));
    if (n > TSR_TEXT_NO_CAP || n > 1 << 20)
        return tsr_fail(TSR_ERR_FORMAT, "an added token is normalized to %lld bytes", (long long)n);
    t->decoded_length = (int32_t)n;
    return copy(a->arena, text, n, &t->decoded);
}

static int by_id(const void *left, const void *right, void *tokens)
{
    const tsr_added_token *t = tokens, *l = &t[*(const int32_t *)left], *r = &t[*(const int32_t *)right];
    return l->id < r->id ? -1 : l->id > r->id;
}

static tsr_status build_trie(tsr_added_tokens *a, bool normalized, tsr_trie **out)
{
    int64_t bytes = 0;
    for (int64_t i = 0; i < a->count; i++)
        if (a->token[i].normalized == normalized && !a->token[i].hidden) bytes += a->token[i].decoded_length;
    if (bytes == 0) return TSR_OK;
    TSR_TRY(tsr_trie_create(bytes, out));
    for (int64_t i = 0; i < a->count; i++) {
        const tsr_added_token *t = &a->token[i];
        if (t->normalized == normalized && !t->hidden)
            tsr_trie_add(*out, t->decoded, t->decoded_length, (int32_t)i);
    }
    return TSR_OK;
}

tsr_status tsr_added_tokens_finish(tsr_added_tokens *a, const tsr_components *normalizers)
{
    void *p;
    tsr_work *work;
    TSR_TRY(tsr_work_create(&work));
    tsr_status status = TSR_OK;
    for (int64_t i = 0; i < a->count && status == TSR_OK; i++)
        status = decode_form(a, &a->token[i], normalizers, work);
    tsr_work_destroy(&work);
    TSR_TRY(status);
    for (int64_t i = 0; i < a->count; i++) {
        /* A token is skipped if the text it decodes to is that of a special token. */
        int32_t same = tsr_vocabulary_id(a->pieces, a->token[i].decoded, a->token[i].decoded_length);
        a->token[i].skipped = same >= 0 && a->token[same].special;
    }
    TSR_TRY(tsr_alloc(a->count * (int64_t)sizeof *a->by_id, "the added tokens", &p));
    a->by_id = p;
    for (int64_t i = 0; i < a->count; i++) a->by_id[i] = (int32_t)i;
    if (a->count > 0) qsort_r(a->by_id, (size_t)a->count, sizeof *a->by_id, by_id, a->token);
    TSR_TRY(build_trie(a, false, &a->plain));
    return build_trie(a, true, &a->normalized);
}

/* The character before text[at], at > 0. */
static uint32_t char_before(const char *text, int64_t at, int64_t *begin)
{
    uint32_t c;
    for (*begin = at - 1; ((unsigned char)text[*begin] & 0xC0) == 0x80;) --*begin;
    tsr_char_decode(text + *begin, &c);
    return c;
}

static bool beside_word(const char *text, int64_t n, int64_t begin, int64_t end)
{
    int64_t before;
    uint32_t after;
    if (begin > 0 && tsr_char_is_word(char_before(text, begin, &before))) return true;
    return end < n && (tsr_char_decode(text + end, &after), tsr_char_is_word(after));
}

static int64_t strip_left(const char *text, int64_t begin, int64_t limit)
{
    int64_t before;
    while (begin > limit && tsr_char_is_space(char_before(text, begin, &before))) begin = before;
    return begin > limit ? begin : limit;
}

static int64_t strip_right(const char *text, int64_t end, int64_t n)
{
    while (end < n) {
        uint32_t c;
        int used = tsr_char_decode(text + end, &c);
        if (!tsr_char_is_space(c)) break;
        end += used;
    }
    return end;
}

tsr_status tsr_added_tokens_split(const tsr_added_tokens *a, bool normalized, const char *text, int64_t n,
                                  bool at_start, tsr_pieces *out)
{
    const tsr_trie *trie = normalized ? a->normalized : a->plain;
    int64_t done = 0; /* up to here the text is in *out */
    out->count = 0;
    for (int64_t at = 0; trie && at < n;) {
        int32_t place;
        int64_t length =
            tsr_trie_begins(trie, text[at]) ? tsr_trie_longest(trie, text + at, n - at, &place) : 0;
        if (length == 0) {
            at++;
            continue;
        }
        const tsr_added_token *t = &a->token[place];
        int64_t begin = at, end = at += length;
        if (t->single_word && beside_word(text, n, begin, end)) continue;
        if (t->alone && ((begin > 0 && text[begin - 1] != ' ') || (end < n && text[end] != ' '))) continue;
        if (t->lstrip) begin = strip_left(text, begin, done);
        if (t->rstrip) end = strip_right(text, end, n);
        if (done < begin) TSR_TRY(tsr_pieces_add(out, done, begin, -1, at_start && done == 0));
        TSR_TRY(tsr_pieces_add(out, begin, end, t->id, false));
        done = end;
    }
    return tsr_pieces_add(out, done, n, -1, at_start && done == 0);
}

const tsr_added_token *tsr_added_token_of(const tsr_added_tokens *a, int32_t id)
{
    int64_t low = 0, high = a->count;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (a->token[a->by_id[middle]].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < a->count && a->token[a->by_id[low]].id == id ? &a->token[a->by_id[low]] : NULL;
}

int32_t tsr_added_token_id(const tsr_added_tokens *a, const char *content, int64_t n)
{
    int32_t place = tsr_vocabulary_id(a->pieces, content, n);
    return place < 0 ? -1 : a->token[place].id;
}

int32_t tsr_added_tokens_size(const tsr_added_tokens *a)
{
    return a->size;
}
