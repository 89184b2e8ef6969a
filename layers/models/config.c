/* config.c: checks and defaults that many families' configs share. */
#include "layers/models/config.h"

bool tsr_config_is_null(tsr_object config, const char *key)
{
    return json_is_null(json_object_get(config.object, key));
}

tsr_status tsr_config_size(tsr_object config, const char *keys, int64_t fallback, int64_t high, int64_t *out)
{
    return tsr_object_int(config, keys, fallback, 1, high, out);
}

tsr_status tsr_config_epsilon(tsr_object config, const char *keys, double fallback, float *out)
{
    double value;
    TSR_TRY(tsr_object_number(config, keys, fallback, 0, 1, &value));
    *out = (float)value;
    return TSR_OK;
}

tsr_status tsr_config_activation(tsr_object config, const char *keys, const char *fallback,
                                 tsr_activation *out)
{
    const char *name;
    TSR_TRY(tsr_object_string(config, keys, fallback, &name));
    return tsr_activation_from_name(name, config.where, out);
}

tsr_status tsr_config_even_head_dim(tsr_object config, int64_t hidden, int64_t heads, int64_t *out)
{
    *out = hidden / heads;
    if (hidden % heads != 0)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: the hidden size (%lld) is not a multiple of the number of heads (%lld)",
                        config.where, (long long)hidden, (long long)heads);
    return TSR_OK;
}

tsr_status tsr_config_check_kv_heads(tsr_object config, int64_t heads, int64_t kv_heads)
{
    if (heads % kv_heads == 0) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT,
                    "%s: the number of heads (%lld) is not a multiple of that of kv heads (%lld)",
                    config.where, (long long)heads, (long long)kv_heads);
}

tsr_status tsr_config_rotary_fraction(tsr_object config, const char *keys, double fallback, double *out)
{
    tsr_object parameters;
    TSR_TRY(tsr_object_number(config, keys, fallback, 0, 1, out));
    TSR_TRY(tsr_object_child(config, "rope_parameters", &parameters));
    return tsr_object_number(parameters, "partial_rotary_factor", *out, 0, 1, out);
}

tsr_status tsr_config_check_rotary_dims(tsr_object config, int64_t dims, int64_t head_dim, int64_t least)
{
    if (dims >= least && dims + dims % 2 <= head_dim) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT,
                    "%s: %lld rotated dimensions in heads of %lld: need an even number of %lld or more",
                    config.where, (long long)dims, (long long)head_dim, (long long)(least < 2 ? 2 : least));
}

tsr_status tsr_config_rope(tsr_object config, tsr_model *m, int64_t dims, int64_t head_dim,
                           const char *theta_keys, int *out)
{
    tsr_rope rope;
    TSR_TRY(tsr_config_check_rotary_dims(config, dims, head_dim, 1));
    TSR_TRY(tsr_rope_from_config(m->arena, config, (int)dims, theta_keys, 10000.0, m->max_positions, &rope));
    return tsr_model_add_rope(m, &rope, out);
}
