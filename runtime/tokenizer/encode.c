/* encode.c: text to ids: repair, cut out added tokens, normalize, cut into pieces, run the model, put tokens
 * around. */
#include "runtime/tokenizer/normalizer.h"
#include "runtime/tokenizer/parts.h"
#include "runtime/tokenizer/pre_tokenizer.h"
#include "base/utf8.h"

/* Appends the text with invalid sequences replaced. */
static tsr_status repair(const char *text, int64_t n, tsr_text *out)
{
    int64_t good = 0;
    for (int64_t i = 0; i < n;) {
        uint32_t c;
        int used = tsr_utf8_decode(text + i, n - i, &c);
        if (used > 0) {
            i += used;
            continue;
        }
        TSR_TRY(tsr_text_append(out, text + good, i - good));
        TSR_TRY(tsr_text_puts(out, "\xEF\xBF\xBD"));
        good = i += -used;
    }
    return tsr_text_append(out, text + good, n - good);
}

/* One stretch of text without added tokens: normalized, and cut at those that are found then, to work->now.
 */
static tsr_status normalize(const tsr_tokenizer *t, tsr_work *work, const char *text, int64_t n,
                            bool at_start)
{
    const char *normal;
    int64_t length;
    tsr_pieces *now = &work->now, *cut = &work->next; /* of `cut` only the list is used */
    TSR_TRY(tsr_normalizers_run(&t->normalizers, work, text, n, &at_start, &normal, &length));
    TSR_TRY(tsr_added_tokens_split(t->added, true, normal, length, at_start, cut));
    int64_t base = now->text.length;
    TSR_TRY(tsr_text_append(&now->text, normal, length));
    for (int64_t i = 0; i < cut->count; i++) {
        tsr_piece p = cut->piece[i];
        TSR_TRY(tsr_pieces_add(now, base + p.begin, base + p.end, p.id, p.at_start));
    }
    return TSR_OK;
}

/* Fills work->now with the pieces of the text; `plain` is its first cut. */
static tsr_status cut(const tsr_tokenizer *t, tsr_work *work, const char *text, int64_t n, tsr_pieces *plain)
{
    TSR_TRY(tsr_added_tokens_split(t->added, false, text, n, true, plain));
    for (int64_t i = 0; i < plain->count; i++) {
        tsr_piece p = plain->piece[i];
        if (p.id >= 0)
            TSR_TRY(tsr_pieces_append(&work->now, text + p.begin, p.end - p.begin, p.id, p.at_start));
        else
            TSR_TRY(normalize(t, work, text + p.begin, p.end - p.begin, p.at_start));
    }
    return tsr_pre_tokenizers_run(&t->pre_tokenizers, work);
}

static tsr_status run_model(const tsr_tokenizer *t, tsr_work *work, tsr_token_list *out)
{
    const tsr_pieces *now = &work->now;
    for (int64_t i = 0; i < now->count; i++) {
        tsr_piece p = now->piece[i];
        if (p.id >= 0)
            TSR_TRY(tsr_token_list_add(out, p.id));
        else
            TSR_TRY(t->model.kind->encode(&t->model, work, now->text.data + p.begin, p.end - p.begin, out));
    }
    return TSR_OK;
}

static tsr_status put_around(const tsr_tokenizer *t, tsr_work *work, bool add_special_tokens,
                             tsr_token_list *out)
{
    for (int i = 0; i < t->around.count; i++) {
        int32_t item = t->around.item[i];
        if (item == TSR_TEMPLATE_TEXT)
            TSR_TRY(run_model(t, work, out));
        else if (add_special_tokens)
            TSR_TRY(tsr_token_list_add(out, item));
    }
    return TSR_OK;
}

tsr_status tsr_tokenizer_encode(const tsr_tokenizer *t, const char *text, int64_t n, bool add_special_tokens,
                                tsr_token_list *out)
{
    if (n > TSR_TOKENIZER_TEXT_CAP)
        return tsr_fail(TSR_ERR_CAPACITY, "a text of %lld bytes, at most %d can be tokenized", (long long)n,
                        TSR_TOKENIZER_TEXT_CAP);
    tsr_work *work;
    tsr_text repaired = {0};
    tsr_pieces plain = {0};
    TSR_TRY(tsr_tokenizer_take_work(t, &work));
    tsr_work_reset(work, n);
    tsr_status status = TSR_OK;
    if (!tsr_utf8_valid(text, n)) {
        TSR_TRY_OUT(tsr_text_init(&repaired, TSR_TEXT_NO_CAP));
        TSR_TRY_OUT(repair(text, n, &repaired));
        text = repaired.data;
        n = repaired.length;
    }
    TSR_TRY_OUT(cut(t, work, text, n, &plain));
    status = put_around(t, work, add_special_tokens, out);
out:
    tsr_text_free(&repaired);
    tsr_pieces_free(&plain);
    tsr_tokenizer_return_work(t, work);
    return status;
}
