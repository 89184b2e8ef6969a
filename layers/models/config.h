/* config.h: reading what many families' configs have in common. Errors name file and key. */
#ifndef TSR_LAYERS_MODELS_CONFIG_H
#define TSR_LAYERS_MODELS_CONFIG_H

#include "layers/model.h"

/* Present with the value null: where a class gives null another meaning than its default. */
bool tsr_config_is_null(tsr_object config, const char *key);

/* A size of at least 1, `fallback` if absent. */
tsr_status tsr_config_size(tsr_object config, const char *keys, int64_t fallback, int64_t high, int64_t *out);

/* The epsilon of a norm. */
tsr_status tsr_config_epsilon(tsr_object config, const char *keys, double fallback, float *out);

tsr_status tsr_config_activation(tsr_object config, const char *keys, const char *fallback,
                                 tsr_activation *out);

/* hidden / heads, which must come out even. */
tsr_status tsr_config_even_head_dim(tsr_object config, int64_t hidden, int64_t heads, int64_t *out);

/* kv heads must divide the heads. */
tsr_status tsr_config_check_kv_heads(tsr_object config, int64_t heads, int64_t kv_heads);

/* The part of a head that is rotated, in 0..1: partial_rotary_factor of "rope_parameters", else one of
 * `keys`. */
tsr_status tsr_config_rotary_fraction(tsr_object config, const char *keys, double fallback, double *out);

/* `dims` of `head_dim` dimensions are rotated in pairs; there must be at least `least`. */
tsr_status tsr_config_check_rotary_dims(tsr_object config, int64_t dims, int64_t head_dim, int64_t least);

/* Reads the rotary settings for the first `dims` of `head_dim` dimensions and adds the table to the model. */
tsr_status tsr_config_rope(tsr_object config, tsr_model *m, int64_t dims, int64_t head_dim,
                           const char *theta_keys, int *out);

#endif
