/* step_builder.c: laying a step out for the kernels, and its rows for the sampler. */
#include "runtime/step_builder.h"

#include "base/checked.h"
#include "base/memory.h"
#include "layers/prefix.h"
#include "runtime/rope_memo.h"

struct tsr_step_builder {
    tsr_step_limits limits;
    const tsr_rope *ropes;
    int64_t n_ropes;
    int32_t *ids, *positions, *sequence, *row_tokens;
    int32_t *position_rows[2]; /* [max_tokens] each */
    tsr_step_sequence *sequences;
    float **rope;          /* [n_ropes] each [max_tokens][dims] */
    tsr_rope_memo **memos; /* [n_ropes] */
    tsr_sample_row *rows;
    tsr_step step;
    const tsr_generation_config *rules;
    tsr_banned_list banned; /* of all rows */
    int64_t *banned_from;   /* [max_rows] where those of a row begin */
    tsr_term_list terms;    /* of all rows, */
    int64_t *terms_from;    /* [max_rows] likewise */
};

static tsr_status make(int64_t count, size_t size, void **out)
{
    return tsr_calloc(count, (int64_t)size, "the buffers of a step", out);
}

static tsr_status make_buffers(tsr_step_builder *b)
{
    const tsr_step_limits *l = &b->limits;
    void *p;
    TSR_TRY(make(l->max_tokens, sizeof *b->ids, &p));
    b->ids = p;
    TSR_TRY(make(l->max_tokens, sizeof *b->positions, &p));
    b->positions = p;
    for (int i = 0; i < 2; i++) {
        TSR_TRY(make(l->max_tokens, sizeof(int32_t), &p));
        b->position_rows[i] = p;
    }
    TSR_TRY(make(l->max_tokens, sizeof *b->sequence, &p));
    b->sequence = p;
    TSR_TRY(make(l->max_sequences, sizeof *b->sequences, &p));
    b->sequences = p;
    TSR_TRY(make(l->max_rows, sizeof *b->row_tokens, &p));
    b->row_tokens = p;
    TSR_TRY(make(l->max_rows, sizeof *b->rows, &p));
    b->rows = p;
    TSR_TRY(make(l->max_rows, sizeof *b->banned_from, &p));
    b->banned_from = p;
    TSR_TRY(make(l->max_rows, sizeof *b->terms_from, &p));
    b->terms_from = p;
    TSR_TRY(make(b->n_ropes, sizeof *b->rope, &p));
    b->rope = p;
    for (int64_t i = 0; i < b->n_ropes; i++) {
        TSR_TRY(make(l->max_tokens, (size_t)b->ropes[i].dims * sizeof(float), &p));
        b->rope[i] = p;
    }
    TSR_TRY(make(b->n_ropes, sizeof *b->memos, &p));
    b->memos = p;
    for (int64_t i = 0; i < b->n_ropes; i++)
        TSR_TRY(tsr_rope_memo_create(&b->ropes[i], b->limits.max_context, &b->memos[i]));
    return TSR_OK;
}

tsr_status tsr_step_builder_create(const tsr_step_limits *limits, const tsr_rope *ropes, int64_t n_ropes,
                                   tsr_step_builder **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(make(1, sizeof(tsr_step_builder), &p));
    tsr_step_builder *b = p;
    b->limits = *limits;
    b->ropes = ropes;
    b->n_ropes = n_ropes;
    tsr_status status = make_buffers(b);
    if (status != TSR_OK) {
        tsr_step_builder_destroy(&b);
        return status;
    }
    b->step = (tsr_step){.ids = b->ids,
                         .positions = b->positions,
                         .position_rows = {b->position_rows[0], b->position_rows[1]},
                         .sequence = b->sequence,
                         .rows = b->row_tokens,
                         .sequences = b->sequences,
                         .rope = (const float *const *)b->rope};
    *out = b;
    return TSR_OK;
}

void tsr_step_builder_destroy(tsr_step_builder **builder)
{
    tsr_step_builder *b = *builder;
    if (!b) return;
    for (int64_t i = 0; b->rope && i < b->n_ropes; i++) tsr_free(b->rope[i]);
    for (int64_t i = 0; b->memos && i < b->n_ropes; i++) tsr_rope_memo_destroy(&b->memos[i]);
    tsr_free(b->rope);
    tsr_free(b->memos);
    tsr_free(b->ids);
    tsr_free(b->positions);
    tsr_free(b->position_rows[0]);
    tsr_free(b->position_rows[1]);
    tsr_free(b->sequence);
    tsr_free(b->sequences);
    tsr_free(b->row_tokens);
    tsr_free(b->rows);
    tsr_free(b->banned.ids);
    tsr_free(b->banned_from);
    tsr_free(b->terms.items);
    tsr_free(b->terms_from);
    tsr_free(b);
    *builder = NULL;
}

static void add_token(tsr_step_builder *b, int32_t t, int32_t position, const tsr_record_start *start)
{
    tsr_prefix prefix = {start->prefix_length, start->mask_position};
    int32_t first = tsr_prefix_first_row(&prefix, position),
            second = tsr_prefix_second_row(&prefix, position);
    b->position_rows[0][t] = first;
    b->position_rows[1][t] = second;
    b->positions[t] = position;
    for (int64_t i = 0; i < b->n_ropes; i++) {
        float *angles = b->rope[i] + (int64_t)t * b->ropes[i].dims;
        int64_t length = tsr_rope_length(&b->ropes[i], position, start->prompt_length);
        tsr_rope_memo_angles(b->memos[i], first, second, length, angles);
    }
}

static void add_sequence(tsr_step_builder *b, int32_t index, const tsr_record_sequence *q,
                         int32_t first_token, const tsr_slot *slot)
{
    b->sequences[index] = (tsr_step_sequence){.first_token = first_token,
                                              .n_tokens = q->n_tokens,
                                              .position = q->position,
                                              .pages = slot->pages,
                                              .prefix = slot->start.prefix_length,
                                              .prompt = q->position < slot->start.prompt_length};
    for (int32_t i = 0; i < q->n_tokens; i++) {
        b->sequence[first_token + i] = index;
        add_token(b, first_token + i, q->position + i, &slot->start);
    }
}

static void add_row(tsr_step_builder *b, int32_t index, const tsr_record_row *row, const tsr_slot *slot)
{
    const tsr_record_start *start = &slot->start;
    b->row_tokens[index] = row->token;
    b->rows[index] =
        (tsr_sample_row){.kind = (tsr_row_kind)row->kind,
                         .target = row->target,
                         .n_top = row->kind == TSR_ROW_SCORE ? start->n_prompt_top : start->n_top,
                         .draw = (int64_t)b->positions[row->token] + 1,
                         .sampling = start->sampling,
                         .seen = slot->seen,
                         .n_seen = slot->n_seen};
}

void tsr_step_builder_set_rules(tsr_step_builder *b, const tsr_generation_config *rules)
{
    b->rules = rules;
}

static tsr_status apply_rules(tsr_step_builder *b, int32_t index, const tsr_slot *slot)
{
    tsr_sample_row *row = &b->rows[index];
    int32_t forced;
    b->banned_from[index] = b->banned.n;
    if (!b->rules || row->kind != TSR_ROW_SAMPLE) return TSR_OK;
    tsr_text_so_far text = {slot->history, slot->n_history, slot->start.prompt_length, (int32_t)row->draw};
    TSR_TRY(tsr_token_rules_apply(b->rules, &slot->start.sampling, &text, &b->banned, &forced));
    row->n_banned = (int32_t)(b->banned.n - b->banned_from[index]);
    row->forced = forced >= 0;
    if (row->forced) row->target = forced;
    return TSR_OK;
}

static tsr_status add_terms(tsr_step_builder *b, int32_t index, const tsr_slot *slot)
{
    tsr_sample_row *row = &b->rows[index];
    b->terms_from[index] = b->terms.n;
    if (row->kind != TSR_ROW_SAMPLE) return TSR_OK;
    TSR_TRY(tsr_logit_terms_append(&b->terms, &row->sampling, slot->counts, slot->n_counts, slot->biases,
                                   slot->start.n_biases));
    row->n_terms = (int32_t)(b->terms.n - b->terms_from[index]);
    return TSR_OK;
}

/* Once the lists of all rows are whole, and do not move any more. */
static void point_to_lists(tsr_step_builder *b, int32_t n_rows)
{
    for (int32_t i = 0; i < n_rows; i++) {
        if (b->rows[i].n_banned > 0) b->rows[i].banned = b->banned.ids + b->banned_from[i];
        if (b->rows[i].n_terms > 0) b->rows[i].terms = b->terms.items + b->terms_from[i];
    }
}

tsr_status tsr_step_builder_build(tsr_step_builder *b, const tsr_step_record *record,
                                  const tsr_slot_table *slots, const tsr_step **step,
                                  const tsr_sample_row **rows)
{
    int32_t token = 0;
    b->banned.n = b->terms.n = 0;
    for (int32_t i = 0; i < record->n_sequences; i++) {
        const tsr_record_sequence *q = &record->sequences[i];
        add_sequence(b, i, q, token, tsr_slot_table_get(slots, q->slot));
        token += q->n_tokens;
    }
    for (int32_t t = 0; t < record->n_tokens; t++) b->ids[t] = tsr_slot_table_token(slots, record->ids[t]);
    for (int32_t i = 0; i < record->n_rows; i++) {
        const tsr_record_row *row = &record->rows[i];
        const tsr_slot *slot = tsr_slot_table_get(slots, record->sequences[row->sequence].slot);
        add_row(b, i, row, slot);
        TSR_TRY(apply_rules(b, i, slot));
        TSR_TRY(add_terms(b, i, slot));
    }
    point_to_lists(b, record->n_rows);
    b->step.n_tokens = record->n_tokens;
    b->step.n_sequences = record->n_sequences;
    b->step.n_rows = record->n_rows;
    *step = &b->step;
    *rows = b->rows;
    return TSR_OK;
}
