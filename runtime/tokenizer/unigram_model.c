/* unigram_model.c: the Unigram model of a tokenizer.json: {"vocab": [[piece, score], ..], "unk_id", "byte_fallback"}. */
#include "runtime/tokenizer/model.h"
#include "runtime/tokenizer/unigram.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>

static const double UNKNOWN_PENALTY = 10;

typedef struct unigram_model {
    tsr_unigram unigram;
    int32_t unk_id; /* -1: none */
    bool byte_fallback;
    int32_t byte_id[256]; /* of <0xHH>, -1 if none */
} unigram_model;

static tsr_status read_piece(tsr_object o, size_t i, const json_t *entry, tsr_vocabulary *v, double *score)
{
    const json_t *piece = json_array_get(entry, 0), *value = json_array_get(entry, 1);
    *score = json_number_value(value);
    if (json_array_size(entry) != 2 || !json_is_string(piece) || !json_is_number(value) || !isfinite(*score))
        return tsr_fail(TSR_ERR_FORMAT, "%s: vocab[%zu] must be [piece, score], found %s", o.where, i,
                        tsr_json_type_name(entry));
    return tsr_vocabulary_add(v, o.where, (int64_t)i, json_string_value(piece),
                              (int64_t)json_string_length(piece));
}

/* Reads the pieces; all can be found, the ones that look special too. */
static tsr_status read_vocabulary(tsr_object o, tsr_model *model, unigram_model *m)
{
    const json_t *list;
    void *score, *usable = NULL;
    TSR_TRY(tsr_object_array(o, "vocab", TSR_TOKEN_ID_CAP, &list));
    size_t n = json_array_size(list);
    if (n == 0) return tsr_fail(TSR_ERR_FORMAT, "%s: \"vocab\" has no pieces", o.where);
    double lowest = INFINITY;
    TSR_TRY(tsr_alloc((int64_t)(n * sizeof(double)), "a Unigram model", &score));
    tsr_status status = tsr_alloc((int64_t)n, "a Unigram model", &usable);
    for (size_t i = 0; i < n && status == TSR_OK; i++) {
        double *at = (double *)score + i;
        status = read_piece(o, i, json_array_get(list, i), model->vocabulary, at);
        if (*at < lowest) lowest = *at;
        ((bool *)usable)[i] = true;
    }
    if (status == TSR_OK) {
        status = tsr_unigram_init(&m->unigram, o.where, model->vocabulary, score, usable);
        m->unigram.unk_score = lowest - UNKNOWN_PENALTY;
        score = NULL; /* the model's now */
    }
    tsr_free(score);
    tsr_free(usable);
    return status;
}

static tsr_status load(tsr_object o, tsr_model *model)
{
    void *p;
    int64_t unk;
    TSR_TRY(tsr_calloc(1, sizeof(unigram_model), "a Unigram model", &p));
    unigram_model *m = model->state = p;
    TSR_TRY(read_vocabulary(o, model, m));
    TSR_TRY(tsr_object_int(o, "unk_id", -1, 0, m->unigram.size - 1, &unk));
    TSR_TRY(tsr_object_bool(o, "byte_fallback", false, &m->byte_fallback));
    m->unk_id = (int32_t)unk;
    for (int i = 0; i < 256; i++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", i);
        m->byte_id[i] = tsr_vocabulary_id(model->vocabulary, text, 6);
    }
    return TSR_OK;
}

static void release(tsr_model *model)
{
    unigram_model *m = model->state;
    if (!m) return;
    tsr_unigram_release(&m->unigram);
    tsr_free(m);
    model->state = NULL;
}

static void release_work(void *work_model)
{
    if (!work_model) return;
    tsr_unigram_work_free(work_model);
    tsr_free(work_model);
}

static void trim_work(void *work_model)
{
    if (work_model) tsr_unigram_work_trim(work_model);
}

/* The bytes of text[0..n) as tokens; *done = false if one of them has none. */
static tsr_status add_bytes(const unigram_model *m, const char *text, int64_t n, tsr_token_list *out,
                            bool *done)
{
    *done = false;
    for (int64_t i = 0; i < n; i++)
        if (m->byte_id[(unsigned char)text[i]] < 0) return TSR_OK;
    for (int64_t i = 0; i < n; i++) TSR_TRY(tsr_token_list_add(out, m->byte_id[(unsigned char)text[i]]));
    *done = true;
    return TSR_OK;
}

/* Neighbouring unknown characters are one token, or the tokens of their bytes. The piece of unk_id itself counts as
 * unknown where it stands in the text; on its own it is again that piece. */
static tsr_status add_unknown(const tsr_model *model, const char *text, int64_t n, tsr_token_list *out)
{
    const unigram_model *m = model->state;
    bool done = false;
    int32_t id = tsr_vocabulary_id(model->vocabulary, text, n);
    if (id >= 0) return tsr_token_list_add(out, id);
    if (m->byte_fallback) TSR_TRY(add_bytes(m, text, n, out, &done));
    return done ? TSR_OK : tsr_token_list_add(out, m->unk_id);
}

static tsr_status encode(const tsr_model *model, tsr_work *work, const char *text, int64_t n,
                         tsr_token_list *out)
{
    const unigram_model *m = model->state;
    void *p;
    if (!work->model) {
        TSR_TRY(tsr_calloc(1, sizeof(tsr_unigram_work), "a segmentation", &p));
        work->model = p;
    }
    tsr_unigram_work *w = work->model;
    TSR_TRY(tsr_unigram_search(&m->unigram, w, text, n));
    for (int64_t i = w->parts; i > 0;) {
        tsr_unigram_part part = w->part[--i];
        bool unknown = part.id < 0 || part.id == m->unk_id;
        if (part.id < 0 && m->unk_id < 0)
            return tsr_fail(TSR_ERR_FORMAT, "the text has an unknown character, and the tokenizer no unk_id");
        if (!unknown) {
            TSR_TRY(tsr_token_list_add(out, part.id));
            continue;
        }
        for (; i > 0 && (w->part[i - 1].id < 0 || w->part[i - 1].id == m->unk_id); i--)
            part.end = w->part[i - 1].end;
        TSR_TRY(add_unknown(model, text + part.begin, part.end - part.begin, out));
    }
    return TSR_OK;
}

const tsr_model_kind tsr_model_unigram = {"Unigram", load, encode, release, release_work, trim_work, NULL};
