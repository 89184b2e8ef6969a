/* rope_scaling.c: the inverse frequencies of each scaling rule.
 *
 * Models are trained and released with tables computed in float32, so the steps below round where those
 * tables do. Notation: d rotated dimensions, i = 0 .. d/2 - 1, f_i = theta^(-2i/d), s the factor, L0 the
 * original length.
 */
#include "layers/rope_scaling.h"

#include <math.h>
#include <string.h>

static const double PI = 3.14159265358979323846;

enum { MAX_POSITIONS_CAP = 1 << 30 };
static const double FACTOR_LOW = 1e-3, FACTOR_HIGH = 1e6;

float tsr_rope_power(double theta, int i, int exponent_dims)
{
    float exponent = (float)(2 * i) / (float)exponent_dims;
    return (float)pow((double)(float)theta, (double)exponent);
}

static tsr_status allocate(const tsr_rope_settings *s, const tsr_rope *r, float **out)
{
    void *p;
    TSR_TRY(tsr_arena_alloc(s->arena, (int64_t)sizeof(float) * (r->dims / 2), &p));
    *out = p;
    return TSR_OK;
}

static tsr_status need_number(tsr_object o, const char *key, double low, double high, double *out)
{
    if (!tsr_object_has(o, key)) return tsr_fail(TSR_ERR_FORMAT, "%s: \"%s\" is missing", o.where, key);
    return tsr_object_number(o, key, 0, low, high, out);
}

/* L0 stands in the rule or beside it (Phi-3); `fallback` if in neither. */
static tsr_status original_length(const tsr_rope_settings *s, int64_t fallback, int64_t *out)
{
    static const char key[] = "original_max_position_embeddings";
    int64_t inner;
    TSR_TRY(tsr_object_int(s->rule, key, fallback, 1, MAX_POSITIONS_CAP, &inner));
    TSR_TRY(tsr_object_int(s->config, key, inner, 1, MAX_POSITIONS_CAP, out));
    if (tsr_object_has(s->rule, key) && *out != inner)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"%s\" is %lld, but beside it %lld", s->rule.where, key,
                        (long long)inner, (long long)*out);
    return TSR_OK;
}

/* Plain rope: f_i. */
static tsr_status build_default(const tsr_rope_settings *s, tsr_rope *out)
{
    float *f;
    TSR_TRY(allocate(s, out, &f));
    for (int i = 0; i < out->dims / 2; i++) f[i] = 1.0f / tsr_rope_power(out->theta, i, out->exponent_dims);
    out->inv_freq = f;
    return TSR_OK;
}

/* Position interpolation: f_i / s. */
static tsr_status build_linear(const tsr_rope_settings *s, tsr_rope *out)
{
    float *f;
    TSR_TRY(need_number(s->rule, "factor", FACTOR_LOW, FACTOR_HIGH, &out->factor));
    TSR_TRY(allocate(s, out, &f));
    for (int i = 0; i < out->dims / 2; i++)
        f[i] = 1.0f / tsr_rope_power(out->theta, i, out->exponent_dims) / (float)out->factor;
    out->inv_freq = f;
    return TSR_OK;
}

/* NTK-aware: theta * (s L / Lmax - (s - 1))^(d / (d - 2)) once L exceeds Lmax; see tsr_rope_angles. */
static tsr_status build_dynamic(const tsr_rope_settings *s, tsr_rope *out)
{
    TSR_TRY(need_number(s->rule, "factor", FACTOR_LOW, FACTOR_HIGH, &out->factor));
    if (out->exponent_dims < 3)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: rope type \"dynamic\" needs at least 3 rotated dimensions, found %d",
                        s->rule.where, out->exponent_dims);
    out->kind = TSR_ROPE_DYNAMIC;
    return build_default(s, out);
}

/* 0.1 m ln(s) + 1: the temperature that YaRN found to fit. */
static double yarn_magnitude(double factor, double m)
{
    return factor <= 1 ? 1.0 : 0.1 * m * log(factor) + 1.0;
}

static tsr_status yarn_attention_factor(const tsr_rope_settings *s, double factor, float *out)
{
    double m, all, value;
    TSR_TRY(tsr_object_number(s->rule, "mscale", 0, 0, 1e3, &m));
    TSR_TRY(tsr_object_number(s->rule, "mscale_all_dim", 0, 0, 1e3, &all));
    bool pair = m != 0 && all != 0;
    value = pair ? yarn_magnitude(factor, m) / yarn_magnitude(factor, all) : yarn_magnitude(factor, 1);
    TSR_TRY(tsr_object_number(s->rule, "attention_factor", value, 0, 1e6, &value));
    *out = (float)value;
    return TSR_OK;
}

static tsr_status yarn_factor(const tsr_rope_settings *s, int64_t original, double *out)
{
    if (tsr_object_has(s->rule, "original_max_position_embeddings") && !tsr_object_has(s->rule, "factor")) {
        *out = (double)s->max_positions / (double)original;
        return TSR_OK;
    }
    return need_number(s->rule, "factor", FACTOR_LOW, FACTOR_HIGH, out);
}

/* The dimensions that turn beta_fast and beta_slow times within L0; the ramp runs between them. */
static tsr_status yarn_range(const tsr_rope_settings *s, int dims, int64_t original, double *low,
                             double *high)
{
    double fast, slow;
    bool truncate;
    TSR_TRY(tsr_object_number(s->rule, "beta_fast", 32, 0, 1e6, &fast));
    TSR_TRY(tsr_object_number(s->rule, "beta_slow", 1, 0, 1e6, &slow));
    TSR_TRY(tsr_object_bool(s->rule, "truncate", true, &truncate));
    if (fast == 0) fast = 32; /* zero means unset, as null does */
    if (slow == 0) slow = 1;
    if (fast < slow)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"beta_fast\" (%g) must not be less than \"beta_slow\" (%g)",
                        s->rule.where, fast, slow);
    *low = dims * log((double)original / (fast * 2 * PI)) / (2 * log(s->theta));
    *high = dims * log((double)original / (slow * 2 * PI)) / (2 * log(s->theta));
    if (truncate) {
        *low = floor(*low);
        *high = ceil(*high);
    }
    *low = fmax(*low, 0);
    *high = fmin(*high, dims - 1);
    if (*low == *high) *high += 0.001;
    return TSR_OK;
}

/* YaRN: f_i (1 - g_i) + f_i / s * g_i, where g ramps from 0 (fast dimensions) to 1 (slow ones). */
static tsr_status build_yarn(const tsr_rope_settings *s, tsr_rope *out)
{
    int64_t original;
    double low = 0, high = 0;
    float *f;
    if (out->exponent_dims % 2 != 0)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: rope type \"yarn\" needs an even number of rotated dimensions, found %d",
                        s->rule.where, out->exponent_dims);
    TSR_TRY(original_length(s, s->max_positions, &original));
    TSR_TRY(yarn_factor(s, original, &out->factor));
    TSR_TRY(yarn_range(s, out->dims, original, &low, &high));
    TSR_TRY(yarn_attention_factor(s, out->factor, &out->attention_factor));
    TSR_TRY(allocate(s, out, &f));
    for (int i = 0; i < out->dims / 2; i++) {
        float power = tsr_rope_power(out->theta, i, out->exponent_dims);
        float ramp = ((float)i - (float)low) / (float)(high - low);
        float keep = 1.0f - fminf(fmaxf(ramp, 0.0f), 1.0f);
        f[i] = 1.0f / ((float)out->factor * power) * (1.0f - keep) + 1.0f / power * keep;
    }
    out->inv_freq = f;
    return TSR_OK;
}

/* f_i / e_i with the list of divisors e under `key`. */
static tsr_status long_table(const tsr_rope_settings *s, const tsr_rope *r, const char *key,
                             const float **out)
{
    const json_t *list;
    float *f;
    size_t n = (size_t)r->dims / 2;
    TSR_TRY(tsr_object_array(s->rule, key, 1 << 20, &list));
    if (!list) return tsr_fail(TSR_ERR_FORMAT, "%s: \"%s\" is missing", s->rule.where, key);
    if (json_array_size(list) != n)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"%s\" has %zu numbers, but half the rotated dimensions are %zu",
                        s->rule.where, key, json_array_size(list), n);
    TSR_TRY(allocate(s, r, &f));
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(list, i);
        double e = json_number_value(value);
        if (!json_is_number(value) || !(e >= 1e-6 && e <= 1e9))
            return tsr_fail(TSR_ERR_FORMAT, "%s: \"%s\"[%zu] must be a number in 1e-6..1e9", s->rule.where,
                            key, i);
        f[i] = 1.0f / ((float)e * tsr_rope_power(r->theta, (int)i, r->exponent_dims));
    }
    *out = f;
    return TSR_OK;
}

/* LongRoPE: short divisors up to L0, long ones beyond; cos and sin times sqrt(1 + ln s / ln L0). */
static tsr_status build_longrope(const tsr_rope_settings *s, tsr_rope *out)
{
    int64_t original;
    double value;
    TSR_TRY(original_length(s, s->max_positions, &original));
    TSR_TRY(tsr_object_number(s->rule, "factor", (double)s->max_positions / (double)original, FACTOR_LOW,
                              FACTOR_HIGH, &out->factor));
    bool stretched = out->factor > 1 && original > 1;
    value = stretched ? sqrt(1 + log(out->factor) / log((double)original)) : 1.0;
    TSR_TRY(tsr_object_number(s->rule, "attention_factor", value, 0, 1e6, &value));
    TSR_TRY(long_table(s, out, "short_factor", &out->inv_freq));
    TSR_TRY(long_table(s, out, "long_factor", &out->inv_freq_long));
    out->attention_factor = (float)value;
    out->max_positions = original;
    out->kind = TSR_ROPE_LONG;
    return TSR_OK;
}

/* Llama 3: f_i / s for wavelengths beyond L0 / low, f_i below L0 / high, blended between. */
static tsr_status build_llama3(const tsr_rope_settings *s, tsr_rope *out)
{
    int64_t original;
    double low, high;
    float *f;
    TSR_TRY(need_number(s->rule, "factor", FACTOR_LOW, FACTOR_HIGH, &out->factor));
    TSR_TRY(need_number(s->rule, "low_freq_factor", 1e-3, 1e6, &low));
    TSR_TRY(need_number(s->rule, "high_freq_factor", 1e-3, 1e6, &high));
    if (high <= low)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"high_freq_factor\" (%g) must exceed \"low_freq_factor\" (%g)",
                        s->rule.where, high, low);
    TSR_TRY(original_length(s, 0, &original));
    if (original == 0)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"original_max_position_embeddings\" is missing", s->rule.where);
    TSR_TRY(allocate(s, out, &f));
    for (int i = 0; i < out->dims / 2; i++) {
        float inv = 1.0f / tsr_rope_power(out->theta, i, out->exponent_dims);
        float wavelength = 1.0f / inv * (float)(2 * PI);
        float smooth = (1.0f / wavelength * (float)original - (float)low) / (float)(high - low);
        if (wavelength > (float)((double)original / low))
            f[i] = inv / (float)out->factor;
        else if (wavelength < (float)((double)original / high))
            f[i] = inv;
        else
            f[i] = (1.0f - smooth) * inv / (float)out->factor + smooth * inv;
    }
    out->inv_freq = f;
    return TSR_OK;
}

static const tsr_rope_rule rules[] = {
    {"default", build_default}, {"linear", build_linear},     {"dynamic", build_dynamic},
    {"yarn", build_yarn},       {"longrope", build_longrope}, {"llama3", build_llama3},
};

const tsr_rope_rule *tsr_rope_rule_find(const char *name)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (strcmp(rules[i].name, name) == 0) return &rules[i];
    return NULL;
}

const char *tsr_rope_rule_names(void)
{
    return "default, linear, dynamic, yarn, longrope, llama3";
}
