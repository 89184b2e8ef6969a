/* rope.c: reads a model's rotary settings in either spelling, and computes the angles of a position. */
#include "layers/rope.h"
#include "layers/rope_scaling.h"

#include <math.h>
#include <string.h>

enum { MAX_DIMS = 1 << 16 };

/* Newer configs may hold one set of parameters per kind of layer: an object of objects. */
static tsr_status refuse_nested(tsr_object rule)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)rule.object, key, value)
    {
        if (json_is_object(value))
            return tsr_fail(TSR_ERR_FORMAT,
                            "%s: rope parameters per kind of layer (\"%.64s\") are not supported", rule.where,
                            key);
    }
    return TSR_OK;
}

/* The object with the scaling rule under either name; its `object` is NULL where there is none. */
static tsr_status find_rule(tsr_arena *arena, tsr_object config, tsr_object *rule)
{
    tsr_object newer;
    TSR_TRY(tsr_object_child(config, "rope_scaling", rule));
    TSR_TRY(tsr_object_child(config, "rope_parameters", &newer));
    if (rule->object && newer.object && !json_equal(rule->object, newer.object))
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"rope_scaling\" and \"rope_parameters\" contradict each other",
                        config.where);
    const char *key = rule->object ? "rope_scaling" : "rope_parameters";
    if (!rule->object) *rule = newer;
    if (!rule->object) return TSR_OK;
    TSR_TRY(tsr_arena_format(arena, &rule->where, "%s: %s", config.where, key));
    return refuse_nested(*rule);
}

static tsr_status rule_name(tsr_object rule, const char **out)
{
    const char *newer, *older;
    TSR_TRY(tsr_object_string(rule, "rope_type", NULL, &newer));
    TSR_TRY(tsr_object_string(rule, "type", newer, &older));
    if (newer && strcmp(newer, older) != 0)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"rope_type\" is \"%.64s\", but \"type\" is \"%.64s\"",
                        rule.where, newer, older);
    *out = older ? older : "default";
    return TSR_OK;
}

tsr_status tsr_rope_from_config(tsr_arena *arena, tsr_object config, int dims, const char *theta_keys,
                                double default_theta, int64_t max_positions, tsr_rope *out)
{
    tsr_rope_settings s = {.arena = arena, .config = config, .max_positions = max_positions};
    const char *name = NULL;
    *out = (tsr_rope){0};
    if (dims < 1 || dims > MAX_DIMS || max_positions < 1)
        return tsr_fail(TSR_ERR_FORMAT, "%s: %d rotated dimensions and %lld positions cannot be",
                        config.where, dims, (long long)max_positions);
    TSR_TRY(find_rule(arena, config, &s.rule));
    TSR_TRY(rule_name(s.rule, &name));
    const tsr_rope_rule *rule = tsr_rope_rule_find(name);
    if (!rule)
        return tsr_fail(TSR_ERR_FORMAT, "%s: rope type \"%.64s\" is not one of those we have: %s",
                        s.rule.where, name, tsr_rope_rule_names());
    TSR_TRY(tsr_object_number(config, theta_keys, default_theta, 1.001, 1e15, &s.theta));
    TSR_TRY(tsr_object_number(s.rule, "rope_theta", s.theta, 1.001, 1e15, &s.theta));
    *out = (tsr_rope){.kind = TSR_ROPE_STATIC,
                      .dims = dims + dims % 2,
                      .exponent_dims = dims,
                      .theta = s.theta,
                      .factor = 1,
                      .max_positions = max_positions,
                      .attention_factor = 1};
    return rule->build(&s, out);
}

tsr_status tsr_rope_plain(tsr_arena *arena, int dims, double theta, tsr_rope *out)
{
    tsr_rope_settings s = {.arena = arena, .theta = theta};
    *out = (tsr_rope){.kind = TSR_ROPE_STATIC,
                      .dims = dims + dims % 2,
                      .exponent_dims = dims,
                      .theta = theta,
                      .factor = 1,
                      .attention_factor = 1};
    return tsr_rope_rule_find("default")->build(&s, out);
}

/* How far a sequence of `length` > max_positions tokens stretches theta. STEPPED: 2^ceil(log2(L / Lmax) + 1) - 1,
 * which is 3 up to twice the length, 7 up to four times, ... */
static float growth_of(const tsr_rope *r, int64_t length)
{
    if (r->kind == TSR_ROPE_DYNAMIC)
        return (float)r->factor * (float)length / (float)r->max_positions - (float)(r->factor - 1);
    return (float)(pow(2, ceil(log2((double)length / (double)r->max_positions) + 1)) - 1);
}

/* theta stretched for a sequence of `length` > max_positions tokens. */
static float dynamic_theta(const tsr_rope *r, int64_t length)
{
    float growth = growth_of(r, length);
    double exponent = (double)r->exponent_dims / (r->exponent_dims - 2);
    return (float)r->theta * (float)pow((double)growth, exponent);
}

static float attention_factor(const tsr_rope *r, int64_t position)
{
    if (r->log_base < 2 || position < r->log_base) return r->attention_factor;
    return r->attention_factor * (float)(log((double)position + 1) / log((double)r->log_base));
}

void tsr_rope_angles(const tsr_rope *rope, int64_t position, int64_t length, float *cos_out, float *sin_out)
{
    tsr_rope_angles_of_rows(rope, position, 0, length, cos_out, sin_out);
}

void tsr_rope_angles_of_rows(const tsr_rope *rope, int64_t position, int64_t second, int64_t length,
                             float *cos_out, float *sin_out)
{
    bool beyond = rope->kind != TSR_ROPE_STATIC && length > rope->max_positions;
    const float *inv_freq = beyond && rope->kind == TSR_ROPE_LONG ? rope->inv_freq_long : rope->inv_freq;
    bool stretched = beyond && rope->kind != TSR_ROPE_LONG;
    float factor = attention_factor(rope, position);
    float theta = stretched ? dynamic_theta(rope, length) : 0;
    for (int i = 0; i < rope->dims / 2; i++) {
        float f = stretched ? 1.0f / tsr_rope_power(theta, i, rope->exponent_dims) : inv_freq[i];
        bool other = rope->two_rows && i >= rope->dims / 4;
        double angle = (double)((float)(other ? second : position) * f);
        cos_out[i] = (float)cos(angle) * factor;
        sin_out[i] = (float)sin(angle) * factor;
    }
}

/* Up to its max_positions a rope is as a static one. Beyond, LONG has one other table: how many such ropes are beyond
 * says which, since a greater length is beyond all that a smaller one is. The others turn by the length itself. */
int64_t tsr_rope_regime(const tsr_rope *ropes, int64_t n, int64_t position, int64_t prompt_length)
{
    int64_t n_long = 0, stretched = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t length = tsr_rope_length(&ropes[i], position, prompt_length);
        if (ropes[i].kind == TSR_ROPE_STATIC || length <= ropes[i].max_positions) continue;
        if (ropes[i].kind == TSR_ROPE_LONG) {
            n_long++;
            continue;
        }
        if (stretched > 0 && stretched != length) return TSR_NO_REGIME;
        stretched = length;
    }
    if (stretched > 0 && n_long > 0) return TSR_NO_REGIME;
    return stretched > 0 ? n + stretched : n_long;
}
