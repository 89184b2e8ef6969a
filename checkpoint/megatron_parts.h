/* megatron_parts.h: the insides of megatron*.c. */
#ifndef TSR_CHECKPOINT_MEGATRON_PARTS_H
#define TSR_CHECKPOINT_MEGATRON_PARTS_H

#include "checkpoint/megatron.h"

/* How a tensor lies on the ranks. */
typedef enum megatron_cut {
    MEGATRON_NONE,  /* there is no such tensor */
    MEGATRON_WHOLE, /* the same on each */
    MEGATRON_ROWS,
    MEGATRON_COLUMNS,
    MEGATRON_VOCABULARY, /* rows, with padding at the end */
    MEGATRON_QKV         /* rows, in the order of the version */
} megatron_cut;

typedef struct megatron_place {
    const char *gpt2,
        *bert;        /* Hugging Face's name without ".weight"; within a layer without the layer's; NULL: that
                                model has none */
    const char *leaf; /* "weight", "bias" */
    int64_t layer;    /* -1: in none */
    megatron_cut cut;
    bool matrix; /* of rank 2, else 1 */
} megatron_place;

/* megatron_names.c: where a plain name belongs. False: nowhere. */
bool megatron_find_place(const char *name, megatron_place *out);
/* The name without what wraps the model. */
const char *megatron_plain_name(const char *name);

/* What is known of the model, from all sides. */
typedef struct megatron_model {
    const tsr_megatron_facts *facts;
    const char *file; /* of rank 0, for messages */
    bool bert;
    /* As found in the weights. */
    int ranks;
    int64_t layers, rows; /* rows: of the padded vocabulary */
    bool untied, masked_lm, next_sentence, choices;
    int64_t labels; /* of a classifier; 0: there is none */
    const char *dtype;
    /* As told. */
    bool has_config;
    int64_t heads;      /* 0: by nobody */
    int64_t vocabulary; /* rows to keep, 1 .. rows */
} megatron_model;

/* megatron_config.c */
/* Heads and vocabulary: from config.json of the source's model folder, else the facts, else the tokenizer's files. */
tsr_status megatron_read_config(const tsr_source *source, megatron_model *m);
/* The facts as a config.json; *out stays NULL where they do not tell enough. */
tsr_status megatron_print_config(tsr_arena *arena, const megatron_model *m, const char **out);

#endif
