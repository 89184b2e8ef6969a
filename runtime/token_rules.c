/* token_rules.c: the rules, one function each. */
#include "runtime/token_rules.h"

#include "base/checked.h"

#include <string.h>

bool tsr_token_rules_need_history(const tsr_generation_config *g, const tsr_sampling *s)
{
    return s->no_repeat_ngram > 0 || g->n_bad_words > 0;
}

static tsr_status ban(tsr_banned_list *banned, const int32_t *ids, int64_t n)
{
    TSR_TRY(tsr_grow((void **)&banned->ids, &banned->capacity, banned->n + n, sizeof *ids,
                     "the tokens to leave out"));
    if (n > 0) memcpy(banned->ids + banned->n, ids, (size_t)n * sizeof *ids);
    banned->n += n;
    return TSR_OK;
}

/* The last token of each bad word whose others have just been said. */
static tsr_status ban_bad_words(const tsr_generation_config *g, const tsr_text_so_far *text,
                                tsr_banned_list *banned)
{
    for (int32_t i = 0; i < g->n_bad_words; i++) {
        const tsr_id_sequence *word = &g->bad_words[i];
        int32_t before = word->n - 1;
        if (word->n > text->n) continue; /* as the reference has it: longer than the text so far */
        if (memcmp(text->ids + text->n - before, word->ids, (size_t)before * sizeof *word->ids) == 0)
            TSR_TRY(ban(banned, &word->ids[before], 1));
    }
    return TSR_OK;
}

/* What has followed, anywhere before, on the n - 1 tokens that were said last. */
static tsr_status ban_repeated(int32_t ngram, const tsr_text_so_far *text, tsr_banned_list *banned)
{
    int32_t before = ngram - 1;
    const int32_t *last = text->ids + text->n - before;
    for (int32_t i = 0; i + ngram <= text->n; i++)
        if (memcmp(text->ids + i, last, (size_t)before * sizeof *last) == 0)
            TSR_TRY(ban(banned, &text->ids[i + before], 1));
    return TSR_OK;
}

static int32_t forced_token(const tsr_generation_config *g, const tsr_sampling *s, int32_t position)
{
    if (g->forced_eos_id >= 0 && s->max_length > 0 && position == s->max_length - 1) return g->forced_eos_id;
    return position == 1 ? g->forced_bos_id : -1;
}

tsr_status tsr_token_rules_apply(const tsr_generation_config *g, const tsr_sampling *s,
                                 const tsr_text_so_far *text, tsr_banned_list *banned, int32_t *forced)
{
    *forced = forced_token(g, s, text->position);
    if (*forced >= 0) return TSR_OK;
    bool after_forced = text->prompt_length == 1 && g->forced_bos_id >= 0;
    if (text->position == text->prompt_length + after_forced)
        TSR_TRY(ban(banned, g->begin_suppress.ids, g->begin_suppress.n));
    TSR_TRY(ban(banned, g->suppress.ids, g->suppress.n));
    if (text->position < s->min_length) TSR_TRY(ban(banned, g->eos_ids, g->n_eos));
    if (g->n_bad_words > 0) TSR_TRY(ban_bad_words(g, text, banned));
    return s->no_repeat_ngram > 0 && text->n + 1 >= s->no_repeat_ngram
               ? ban_repeated(s->no_repeat_ngram, text, banned)
               : TSR_OK;
}
