/* rope_scaling.h: the scaling rules of rope.c, one table. Private to layers/rope*.c. */
#ifndef TSR_LAYERS_ROPE_SCALING_H
#define TSR_LAYERS_ROPE_SCALING_H

#include "layers/rope.h"

/* What a rule reads: its own object ("rope_scaling" or "rope_parameters"; empty for plain rope) and the
 * config. */
typedef struct tsr_rope_settings {
    tsr_arena *arena;
    tsr_object config, rule;
    double theta;
    int64_t max_positions;
} tsr_rope_settings;

typedef struct tsr_rope_rule {
    const char *name;
    /* `out` comes with kind STATIC, dims, exponent_dims, theta, attention_factor 1 and max_positions set. */
    tsr_status (*build)(const tsr_rope_settings *settings, tsr_rope *out);
} tsr_rope_rule;

/* NULL if there is none of that name. */
const tsr_rope_rule *tsr_rope_rule_find(const char *name);
const char *tsr_rope_rule_names(void); /* "default, linear, ..." */

/* theta^(2i/d) in float32, the step that all rules and the dynamic one at run time share. */
float tsr_rope_power(double theta, int i, int exponent_dims);

#endif
