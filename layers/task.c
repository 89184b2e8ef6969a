/* task.c: tasks by name and by architecture; labels and scores of models that classify. */
#include "layers/task.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* --- Tasks --- */

static const char *const names[] = {[TSR_TASK_AUTO] = "auto",
                                    [TSR_TASK_TEXT_GENERATION] = "text-generation",
                                    [TSR_TASK_TEXT_CLASSIFICATION] = "text-classification",
                                    [TSR_TASK_TOKEN_CLASSIFICATION] = "token-classification"};

enum { N_TASKS = sizeof names / sizeof *names };

const char *tsr_task_name(tsr_task task)
{
    return (unsigned)task < N_TASKS ? names[task] : "unknown";
}

tsr_status tsr_task_from_name(const char *name, tsr_task *out)
{
    for (int i = 0; i < N_TASKS; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (tsr_task)i;
            return TSR_OK;
        }
    return tsr_fail(
        TSR_ERR_USAGE,
        "task must be auto, text-generation, text-classification or token-classification, found \"%.60s\"",
        name);
}

static bool ends_in(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

tsr_status tsr_task_of_config(tsr_object config, tsr_task *out)
{
    const json_t *list;
    *out = TSR_TASK_TEXT_GENERATION;
    TSR_TRY(tsr_object_array(config, "architectures", 64, &list));
    const char *name = json_string_value(json_array_get(list, 0));
    if (!name) return TSR_OK;
    if (ends_in(name, "ForSequenceClassification")) *out = TSR_TASK_TEXT_CLASSIFICATION;
    if (ends_in(name, "ForTokenClassification")) *out = TSR_TASK_TOKEN_CLASSIFICATION;
    if (!ends_in(name, "ForQuestionAnswering")) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT, "%s: \"architectures\" is \"%.64s\", a head that is not supported",
                    config.where, name);
}

tsr_status tsr_task_check(tsr_task task, bool classify, const char *model)
{
    if (classify == (task != TSR_TASK_TEXT_GENERATION)) return TSR_OK;
    if (classify)
        return tsr_fail(
            TSR_ERR_USAGE,
            "%s holds a language model, which has no labels (by \"architectures\" in config.json; "
            "--task text-classification or token-classification asks for another head)",
            model);
    return tsr_fail(TSR_ERR_USAGE, "%s is for %s and gives labels, no tokens: `tessera classify` shows them",
                    model, tsr_task_name(task));
}

/* --- Labels --- */

static tsr_status number_labels(tsr_arena *arena, int64_t n, const char **label)
{
    for (int64_t i = 0; i < n; i++) TSR_TRY(tsr_arena_format(arena, &label[i], "LABEL_%lld", (long long)i));
    return TSR_OK;
}

/* The label of number i: a string, or what is written as a number. */
static tsr_status copy_label(tsr_object config, tsr_object map, int64_t i, tsr_arena *arena, const char **out)
{
    char key[24];
    snprintf(key, sizeof key, "%lld", (long long)i);
    const json_t *value = json_object_get(map.object, key);
    if (json_is_string(value)) return tsr_arena_strdup(arena, json_string_value(value), out);
    if (json_is_integer(value))
        return tsr_arena_format(arena, out, "%lld", (long long)json_integer_value(value));
    return tsr_fail(TSR_ERR_FORMAT,
                    "%s: \"id2label\" of %zu labels must have a string under \"%s\", found %s", config.where,
                    json_object_size(map.object), key, value ? tsr_json_type_name(value) : "nothing");
}

static tsr_status read_labels(tsr_object config, tsr_arena *arena, tsr_classifier *c)
{
    tsr_object map;
    void *p;
    TSR_TRY(tsr_object_child(config, "id2label", &map));
    c->labels = (int64_t)json_object_size(map.object);
    if (!map.object) TSR_TRY(tsr_object_int(config, "num_labels", 2, 1, TSR_MAX_LABELS, &c->labels));
    if (c->labels < 1 || c->labels > TSR_MAX_LABELS)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"id2label\" must name 1..%d labels, found %lld", config.where,
                        TSR_MAX_LABELS, (long long)c->labels);
    TSR_TRY(tsr_arena_alloc(arena, c->labels * (int64_t)sizeof(char *), &p));
    const char **label = p;
    c->label = label;
    if (!map.object) return number_labels(arena, c->labels, label);
    for (int64_t i = 0; i < c->labels; i++) TSR_TRY(copy_label(config, map, i, arena, &label[i]));
    return TSR_OK;
}

tsr_status tsr_classifier_read(tsr_object config, tsr_task task, tsr_arena *arena, tsr_classifier *out)
{
    const char *problem;
    TSR_TRY(read_labels(config, arena, out));
    TSR_TRY(tsr_object_string(config, "problem_type", "", &problem));
    out->rule = TSR_SCORE_SOFTMAX;
    if (task == TSR_TASK_TOKEN_CLASSIFICATION) return TSR_OK;
    if (out->labels == 1 || strcmp(problem, "multi_label_classification") == 0) out->rule = TSR_SCORE_SIGMOID;
    if (strcmp(problem, "regression") == 0) out->rule = TSR_SCORE_NONE;
    return TSR_OK;
}

/* --- Use --- */

void tsr_scores_by_rule(tsr_score_rule rule, const float *logits, int64_t n, float *scores)
{
    double largest = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, (double)logits[i]);
    for (int64_t i = 0; i < n; i++) sum += exp((double)logits[i] - largest);
    for (int64_t i = 0; i < n; i++) {
        double x = (double)logits[i];
        scores[i] = rule == TSR_SCORE_SOFTMAX   ? (float)(exp(x - largest) / sum)
                    : rule == TSR_SCORE_SIGMOID ? (float)(1 / (1 + exp(-x)))
                                                : logits[i];
    }
}

void tsr_classifier_scores(const tsr_classifier *c, const float *logits, float *scores)
{
    tsr_scores_by_rule(c->rule, logits, c->labels, scores);
}

int64_t tsr_classifier_length(const tsr_classifier *c, const int32_t *ids, int64_t n)
{
    if (c->pad_id < 0) return n;
    while (n > 1 && ids[n - 1] == c->pad_id) n--;
    return n;
}
