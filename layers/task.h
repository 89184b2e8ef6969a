/* task.h: what a model is to give, and the labels of one that classifies.
 *
 * A language model gives the logits of the next token. The same layers may stand under a head that classifies: the
 * whole text by the row of its last token, or each token by its own. Which of them a checkpoint is, its config.json
 * says under "architectures" (LlamaForSequenceClassification); the labels under "id2label", or "num_labels" alone:
 * else there are two, LABEL_0 and LABEL_1. Local. TSR_ERR_FORMAT names file and key; TSR_ERR_USAGE.
 */
#ifndef TSR_LAYERS_TASK_H
#define TSR_LAYERS_TASK_H

#include "base/json.h"
#include "base/memory.h"

#include <stdbool.h>

enum { TSR_MAX_LABELS = 1 << 16 };

typedef enum tsr_task {
    TSR_TASK_AUTO, /* what the config says */
    TSR_TASK_TEXT_GENERATION,
    TSR_TASK_TEXT_CLASSIFICATION, /* logits [1, labels] of a text: those of its last token */
    TSR_TASK_TOKEN_CLASSIFICATION /* logits [tokens, labels] */
} tsr_task;

/* How scores follow from the logits of a row. */
typedef enum tsr_score_rule {
    TSR_SCORE_SOFTMAX,
    TSR_SCORE_SIGMOID, /* of each label for itself: several may hold, or there is but one */
    TSR_SCORE_NONE     /* the logits are the answer: regression */
} tsr_score_rule;

/* The head of a model that classifies. */
typedef struct tsr_classifier {
    const char *tensor;       /* NAME.weight [labels, E] */
    bool bias;                /* and NAME.bias [labels] */
    const char *const *label; /* [labels] */
    int64_t labels;
    tsr_score_rule rule;
    int64_t pad_id; /* a text ends at its last token that is another; -1: at its last */
} tsr_classifier;

/* "auto", "text-generation", "text-classification", "token-classification". */
const char *tsr_task_name(tsr_task task);
tsr_status tsr_task_from_name(const char *name, tsr_task *out);

/* Of a config. Text generation where it names no architecture or any other one; the head for questions and answers, which
 * we do not have and beside which a file has no language model's, is refused. */
tsr_status tsr_task_of_config(tsr_object config, tsr_task *out);

/* Whether a command that wants labels (`classify`), or tokens, suits a model of that task: TSR_ERR_USAGE with a line
 * that names `model` and the way out. */
tsr_status tsr_task_check(tsr_task task, bool classify, const char *model);

/* Labels and rule. */
tsr_status tsr_classifier_read(tsr_object config, tsr_task task, tsr_arena *arena, tsr_classifier *out);

/* scores [n] from logits [n]. */
void tsr_scores_by_rule(tsr_score_rule rule, const float *logits, int64_t n, float *scores);

/* scores [labels] from logits [labels], by the classifier's rule. */
void tsr_classifier_scores(const tsr_classifier *c, const float *logits, float *scores);

/* How many of a text's ids count: up to the last that is not padding; of padding alone the first one. */
int64_t tsr_classifier_length(const tsr_classifier *c, const int32_t *ids, int64_t n);

#endif
