/* megatron_config.c: what config.json says of a Megatron-LM checkpoint's model; and where there is none, the config.json
 * that the arguments of its training run amount to. */
#include "base/checked.h"
#include "base/log.h"
#include "base/text.h"
#include "checkpoint/megatron_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PATH_CAP = 4096, VOCABULARY_CAP = 64 << 20, GPT2_END = 50256, NUMBER_CAP = 32 };

/* --- Reading --- */

/* Is there such a file in the model's folder? */
static bool in_model_dir(const tsr_source *s, const char *name, char path[PATH_CAP])
{
    struct stat st;
    return s->model_dir && snprintf(path, PATH_CAP, "%s/%s", s->model_dir, name) < PATH_CAP &&
           lstat(path, &st) == 0;
}

static tsr_status check_type(tsr_object config, const megatron_model *m)
{
    const char *type, *expected = m->bert ? "megatron-bert" : "gpt2";
    TSR_TRY(tsr_object_string(config, "model_type", expected, &type));
    if (strcmp(type, expected) == 0) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT,
                    "%s: \"model_type\": expected \"%s\" for the checkpoint %s, found \"%.64s\"",
                    config.where, expected, m->file, type);
}

static tsr_status take_config(tsr_object config, megatron_model *m)
{
    int64_t heads;
    TSR_TRY(check_type(config, m));
    TSR_TRY(tsr_object_int(config, "n_head|num_attention_heads", 0, 1, INT32_MAX, &heads));
    TSR_TRY(tsr_object_int(config, "vocab_size", 0, 1, INT32_MAX, &m->vocabulary));
    if (heads && m->heads && heads != m->heads)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: %" PRId64 " attention heads, but args.num_attention_heads of %s is %" PRId64,
                        config.where, heads, m->file, m->heads);
    if (heads) m->heads = heads;
    if (m->vocabulary <= m->rows) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT,
                    "%s: \"vocab_size\" is %" PRId64 ", but the word embeddings of %s have %" PRId64 " rows",
                    config.where, m->vocabulary, m->file, m->rows);
}

/* --- The vocabulary, if nothing tells it --- */

static tsr_status count_entries(const char *path, int64_t *out)
{
    tsr_json doc;
    TSR_TRY(tsr_json_read(path, VOCABULARY_CAP, &doc));
    *out = (int64_t)json_object_size(doc.root);
    tsr_json_free(&doc);
    return TSR_OK;
}

static tsr_status count_lines(const char *path, int64_t *out)
{
    char line[4096];
    FILE *f = fopen(path, "rb");
    if (!f) return tsr_fail(TSR_ERR_IO, "%s: cannot be opened", path);
    *out = 0;
    while (*out < INT32_MAX && fgets(line, sizeof line, f)) *out += strchr(line, '\n') != NULL || feof(f);
    fclose(f);
    return TSR_OK;
}

/* The entries of the tokenizer's vocabulary, if padding them gives what was trained. Else the padding stays. */
static tsr_status count_vocabulary(const tsr_source *s, megatron_model *m)
{
    char path[PATH_CAP];
    int64_t n = 0, unit;
    if (m->facts->divisible_by && in_model_dir(s, m->bert ? "vocab.txt" : "vocab.json", path))
        TSR_TRY(m->bert ? count_lines(path, &n) : count_entries(path, &n));
    if (n > 0 && tsr_mul(m->facts->divisible_by, m->ranks, &unit) && tsr_round_up(n, unit) == m->rows) {
        m->vocabulary = n;
        return TSR_OK;
    }
    m->vocabulary = m->rows;
    if (m->facts->args)
        tsr_log(TSR_LOG_INFO,
                "%s: nothing tells the size of the vocabulary without its padding: all %" PRId64 " are kept",
                m->file, m->rows);
    return TSR_OK;
}

tsr_status megatron_read_config(const tsr_source *s, megatron_model *m)
{
    char path[PATH_CAP];
    m->heads = m->facts->heads;
    m->has_config = in_model_dir(s, "config.json", path);
    if (m->has_config) {
        tsr_json doc;
        TSR_TRY(tsr_source_read_config(s, &doc));
        tsr_status status = take_config(tsr_json_root(&doc), m);
        tsr_json_free(&doc);
        TSR_TRY(status);
    }
    if (m->vocabulary) return TSR_OK;
    m->vocabulary = m->facts->vocabulary;
    if (!m->vocabulary) return count_vocabulary(s, m);
    if (m->vocabulary <= m->rows) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT,
                    "%s: args.vocab_size is %" PRId64 ", but the word embeddings have %" PRId64 " rows",
                    m->file, m->vocabulary, m->rows);
}

/* --- Writing --- */

static const char *architecture(const megatron_model *m)
{
    if (!m->bert) return "GPT2LMHeadModel";
    if (m->labels)
        return m->choices ? "MegatronBertForMultipleChoice" : "MegatronBertForSequenceClassification";
    if (!m->masked_lm) return "MegatronBertModel";
    return m->next_sentence ? "MegatronBertForPreTraining" : "MegatronBertForMaskedLM";
}

/* With as few digits as give this very number again. */
static void print_number(double number, char out[NUMBER_CAP])
{
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(out, NUMBER_CAP, "%.*g", digits, number);
        if (strtod(out, NULL) == number) return;
    }
}

static tsr_status put_labels(tsr_text *t, int64_t n)
{
    TSR_TRY(tsr_text_puts(t, ", \"id2label\": {"));
    for (int64_t i = 0; i < n; i++)
        TSR_TRY(tsr_text_format(t, "%s\"%" PRId64 "\": \"LABEL_%" PRId64 "\"", i ? ", " : "", i, i));
    return tsr_text_puts(t, "}");
}

static tsr_status print_bert(tsr_text *t, const megatron_model *m)
{
    const tsr_megatron_facts *f = m->facts;
    char epsilon[NUMBER_CAP];
    print_number(f->epsilon > 0 ? f->epsilon : 1e-5, epsilon);
    TSR_TRY(tsr_text_format(t,
                            "\"model_type\": \"megatron-bert\", \"max_position_embeddings\": %" PRId64
                            ", \"hidden_size\": %" PRId64 ", \"num_hidden_layers\": %" PRId64
                            ", \"num_attention_heads\": %" PRId64 ", \"intermediate_size\": %" PRId64
                            ", \"hidden_act\": \"%s\", \"layer_norm_eps\": %s",
                            f->positions, f->hidden, m->layers, f->heads, f->ffn ? f->ffn : 4 * f->hidden,
                            f->activation, epsilon));
    return m->labels && !m->choices ? put_labels(t, m->labels) : TSR_OK;
}

static tsr_status print_gpt2(tsr_text *t, const megatron_model *m)
{
    const tsr_megatron_facts *f = m->facts;
    char epsilon[NUMBER_CAP];
    print_number(f->epsilon > 0 ? f->epsilon : 1e-5, epsilon);
    TSR_TRY(tsr_text_format(t,
                            "\"model_type\": \"gpt2\", \"n_positions\": %" PRId64 ", \"n_embd\": %" PRId64
                            ", \"n_layer\": %" PRId64 ", \"n_head\": %" PRId64 ", \"n_inner\": %" PRId64
                            ", \"activation_function\": \"%s\", \"layer_norm_epsilon\": %s",
                            f->positions, f->hidden, m->layers, f->heads, f->ffn ? f->ffn : 4 * f->hidden,
                            f->activation, epsilon));
    if (!f->gpt2_tokenizer || m->vocabulary <= GPT2_END) return TSR_OK;
    return tsr_text_format(t, ", \"bos_token_id\": %d, \"eos_token_id\": %d", GPT2_END, GPT2_END);
}

static tsr_status print_config(tsr_text *t, const megatron_model *m)
{
    TSR_TRY(tsr_text_format(t, "{\"architectures\": [\"%s\"], ", architecture(m)));
    TSR_TRY(m->bert ? print_bert(t, m) : print_gpt2(t, m));
    return tsr_text_format(
        t, ", \"vocab_size\": %" PRId64 ", \"tie_word_embeddings\": %s, \"torch_dtype\": \"%s\"}\n",
        m->vocabulary, m->untied ? "false" : "true", m->dtype);
}

tsr_status megatron_print_config(tsr_arena *arena, const megatron_model *m, const char **out)
{
    const tsr_megatron_facts *f = m->facts;
    tsr_text text;
    *out = NULL;
    if (!f->args || !f->hidden || !f->layers || !f->heads || !f->positions) return TSR_OK;
    TSR_TRY(tsr_text_init(&text, TSR_TEXT_NO_CAP));
    tsr_status s = print_config(&text, m);
    if (s == TSR_OK) s = tsr_arena_strdup(arena, text.data, out);
    tsr_text_free(&text);
    return s;
}
