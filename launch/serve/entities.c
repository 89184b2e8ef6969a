/* entities.c: tokens to words to entities, in place in one list. */
#include "launch/serve/entities.h"

#include "base/checked.h"
#include "base/memory.h"
#include "launch/serve/text_places.h"
#include "layers/task.h"

#include <string.h>

/* Memory for one call. */
typedef struct scratch {
    tsr_place *places; /* [n_ids] */
    float *scores;     /* [labels] of one token */
    double *sum;       /* [labels] */
} scratch;

const char *tsr_entity_group(const char *label)
{
    const char *dash = strchr(label, '-');
    return dash ? dash + 1 : label;
}

/* --- Tokens --- */

static void read_scores(const tsr_labelled_text *t, int64_t row, scratch *m)
{
    tsr_scores_by_rule(TSR_SCORE_SOFTMAX, t->logits + row * t->labels, t->labels, m->scores);
}

static void choose_label(const tsr_labelled_text *t, int64_t row, scratch *m, tsr_entity *e)
{
    read_scores(t, row, m);
    e->label = 0;
    for (int32_t i = 1; i < t->labels; i++)
        if (m->scores[i] > m->scores[e->label]) e->label = i;
    e->score = (double)m->scores[e->label];
}

/* Where no blank stands in front of a token, nor at its beginning, it goes on with a word. */
static bool goes_on(const tsr_labelled_text *t, const tsr_place *p)
{
    if (p->start <= 0 || t->text[p->first_byte - 1] == ' ') return false;
    return p->first_byte >= t->length || t->text[p->first_byte] != ' ';
}

static int64_t take_tokens(const tsr_labelled_text *t, scratch *m, tsr_entity *out)
{
    int64_t n = 0;
    for (int64_t i = 0; i < t->n_ids; i++) {
        const tsr_place *p = &m->places[i];
        if (tsr_tokenizer_is_special(t->tokenizer, t->ids[i])) continue;
        out[n] =
            (tsr_entity){.first = i, .last = i, .start = p->start, .end = p->end, .goes_on = goes_on(t, p)};
        choose_label(t, i, m, &out[n++]);
    }
    return n;
}

/* --- Words --- */

/* The label that is best in the mean of the scores of tokens [n]. */
static void average(const tsr_labelled_text *t, const tsr_entity *tokens, int64_t n, scratch *m,
                    tsr_entity *word)
{
    memset(m->sum, 0, (size_t)t->labels * sizeof *m->sum);
    for (int64_t k = 0; k < n; k++) {
        read_scores(t, tokens[k].first, m);
        for (int64_t i = 0; i < t->labels; i++) m->sum[i] += (double)m->scores[i];
    }
    word->label = 0;
    for (int32_t i = 1; i < t->labels; i++)
        if (m->sum[i] > m->sum[word->label]) word->label = i;
    word->score = m->sum[word->label] / (double)n;
}

static tsr_entity make_word(const tsr_labelled_text *t, tsr_aggregation how, const tsr_entity *tokens,
                            int64_t n, scratch *m)
{
    tsr_entity word = tokens[0];
    for (int64_t k = 1; k < n && how == TSR_AGGREGATE_MAX; k++)
        if (tokens[k].score > word.score) word.score = tokens[k].score, word.label = tokens[k].label;
    if (how == TSR_AGGREGATE_AVERAGE) average(t, tokens, n, m, &word);
    word.last = tokens[n - 1].last;
    word.end = tokens[n - 1].end;
    return word;
}

static int64_t make_words(const tsr_labelled_text *t, tsr_aggregation how, tsr_entity *list, int64_t n,
                          scratch *m)
{
    int64_t words = 0;
    for (int64_t from = 0, to; from < n; from = to) {
        for (to = from + 1; to < n && list[to].goes_on;) to++;
        list[words++] = make_word(t, how, list + from, to - from, m);
    }
    return words;
}

/* --- Groups --- */

static bool begins(const char *label)
{
    return strncmp(label, "B-", 2) == 0;
}

static const char *tag(const char *label)
{
    return begins(label) || strncmp(label, "I-", 2) == 0 ? label + 2 : label;
}

static int64_t make_groups(const tsr_labelled_text *t, tsr_entity *list, int64_t n)
{
    int64_t groups = 0;
    for (int64_t from = 0, to; from < n; from = to) {
        tsr_entity group = list[from];
        const char *name = tag(t->label[group.label]);
        for (to = from + 1; to < n; to++) {
            const char *next = t->label[list[to].label];
            if (begins(next) || strcmp(tag(next), name) != 0) break;
            group.score += list[to].score;
        }
        group.score /= (double)(to - from);
        group.last = list[to - 1].last;
        group.end = list[to - 1].end;
        list[groups++] = group;
    }
    return groups;
}

/* --- All --- */

static tsr_status reserve(const tsr_labelled_text *t, scratch *m)
{
    void *p;
    TSR_TRY(tsr_calloc(t->n_ids, sizeof *m->places, "places of tokens", &p));
    m->places = p;
    TSR_TRY(tsr_calloc(t->labels, sizeof *m->scores, "scores of a token", &p));
    m->scores = p;
    TSR_TRY(tsr_calloc(t->labels, sizeof *m->sum, "scores of a word", &p));
    m->sum = p;
    return TSR_OK;
}

tsr_status tsr_entities_find(const tsr_labelled_text *t, tsr_aggregation how, tsr_entity *entities,
                             int64_t *n)
{
    scratch m = {0};
    *n = 0;
    tsr_status s = reserve(t, &m);
    if (s == TSR_OK) s = tsr_text_places(t->tokenizer, t->text, t->length, t->ids, t->n_ids, m.places);
    if (s == TSR_OK) {
        *n = take_tokens(t, &m, entities);
        if (how > TSR_AGGREGATE_SIMPLE) *n = make_words(t, how, entities, *n, &m);
        if (how != TSR_AGGREGATE_NONE) *n = make_groups(t, entities, *n);
    }
    tsr_free(m.places);
    tsr_free(m.scores);
    tsr_free(m.sum);
    return s;
}
