/* rope.h: rotary position tables, with every scaling rule that checkpoints use.
 *
 * A tsr_rope holds the inverse frequencies of the rotated dimensions. Angles of a token depend on its
 * position and, for two rules, on a length: `dynamic` and `longrope` choose their frequencies by how long the
 * sequence is. We take for a token max(length of its prompt, its position + 1): what a reference that sees
 * the whole prompt at once and then decodes with a cache does, and independent of how the prompt is cut into
 * chunks; tsr_rope_length says it. Formulas: default theta^(-2i/d); the scaled ones as in the papers on position interpolation,
 * NTK-aware scaling, YaRN, LongRoPE and the Llama 3 report. Local; a finished table may be read by many
 * threads.
 */
#ifndef TSR_LAYERS_ROPE_H
#define TSR_LAYERS_ROPE_H

#include "base/json.h"
#include "base/memory.h"

#include <stdbool.h>

typedef enum tsr_rope_kind {
    TSR_ROPE_STATIC,  /* default, linear, yarn, llama3: one table for every length */
    TSR_ROPE_DYNAMIC, /* NTK: theta grows with the length past max_positions */
    TSR_ROPE_STEPPED, /* NTK in steps: theta grows at each doubling of the prompt past max_positions */
    TSR_ROPE_LONG     /* two tables: short up to original_positions, long beyond */
} tsr_rope_kind;

typedef struct tsr_rope {
    tsr_rope_kind kind;
    int dims;              /* rotated dimensions, even */
    int exponent_dims;     /* d of the formulas: dims, or dims - 1 where a config asks for an odd number */
    const float *inv_freq; /* [dims/2]; for TSR_ROPE_LONG the short one */
    const float *inv_freq_long; /* [dims/2], TSR_ROPE_LONG only */
    double theta, factor;       /* TSR_ROPE_DYNAMIC, STEPPED */
    int64_t max_positions;      /* DYNAMIC, STEPPED: where growth begins; LONG: original_positions */
    int64_t log_base;           /* 0, or n: cos and sin of position p times max(1, log(p + 1) / log(n)) */
    bool two_rows;              /* the second half of the frequencies turns by the second row of prefix.h */
    float attention_factor;     /* multiplies cos and sin (1 unless yarn or longrope) */
} tsr_rope;

/* Reads theta and scaling from a model's config: `rope_theta` + `rope_scaling` (key `type` or `rope_type`),
 * or the newer `rope_parameters`. `dims` rotated dimensions: an odd number is rounded up, while the exponents
 * keep it, which is what int(head_dim * fraction) = 3 means to the models that were trained so; `theta_keys`
 * are the spellings of the base ("rope_theta", "rotary_emb_base"); `max_positions` the model's. Memory from
 * `arena`. TSR_ERR_FORMAT for a rule we lack (the line lists those we have) or contradictory numbers. */
tsr_status tsr_rope_from_config(tsr_arena *arena, tsr_object config, int dims, const char *theta_keys,
                                double default_theta, int64_t max_positions, tsr_rope *out);

/* The table of a rule-less rope, of `dims` >= 1 dimensions; a caller may then make it DYNAMIC or STEPPED. */
tsr_status tsr_rope_plain(tsr_arena *arena, int dims, double theta, tsr_rope *out);

/* The length that a token's angles are those of: see above. STEPPED: that of the prompt alone, since its base
 * stays as it was when the prompt was read. */
static inline int64_t tsr_rope_length(const tsr_rope *rope, int64_t position, int64_t prompt_length)
{
    return prompt_length > position || rope->kind == TSR_ROPE_STEPPED ? prompt_length : position + 1;
}

/* What the angles of the token at `position` depend on besides its position, as a number: equal numbers, equal angles, in
 * whatever text. TSR_NO_REGIME: not to be compared. For a given prompt_length it never falls as positions rise. */
enum { TSR_NO_REGIME = -1 };
int64_t tsr_rope_regime(const tsr_rope *ropes, int64_t n, int64_t position, int64_t prompt_length);

/* cos and sin [dims/2] of one position; `length` as above. Angles are rounded to float32, as in the models'
 * training. */
void tsr_rope_angles(const tsr_rope *rope, int64_t position, int64_t length, float *cos_out, float *sin_out);
/* The same by two rows of positions, of which a table without two_rows takes the first. */
void tsr_rope_angles_of_rows(const tsr_rope *rope, int64_t first, int64_t second, int64_t length,
                             float *cos_out, float *sin_out);

#endif
