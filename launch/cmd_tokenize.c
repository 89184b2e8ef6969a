/* cmd_tokenize.c: `tessera tokenize`: what a model's tokenizer makes of texts, ids or conversations. Needs no weights. */
#include "launch/command.h"
#include "runtime/tokenizer/tokenizer.h"

#include <stdio.h>
#include <string.h>

static tsr_status write_pieces(const tsr_tokenizer *t, const int32_t *ids, int64_t n, tsr_text *out)
{
    tsr_text piece;
    TSR_TRY(tsr_text_init(&piece, TSR_TEXT_NO_CAP));
    tsr_status s = TSR_OK;
    for (int64_t i = 0; i < n && s == TSR_OK; i++) {
        tsr_text_clear(&piece);
        s = tsr_tokenizer_decode(t, ids + i, 1, false, &piece);
        if (s == TSR_OK) s = tsr_text_format(out, "%8d  ", ids[i]);
        if (s == TSR_OK) s = tsr_text_json(out, piece.data, piece.length);
        if (s == TSR_OK) s = tsr_text_puts(out, "\n");
    }
    tsr_text_free(&piece);
    return s;
}

static tsr_status write_json(const char *text, int64_t length, const int32_t *ids, int64_t n, tsr_text *out)
{
    TSR_TRY(tsr_text_puts(out, "{\"ids\":"));
    TSR_TRY(tsr_json_ids(out, ids, n));
    TSR_TRY(tsr_text_puts(out, ",\"text\":"));
    TSR_TRY(tsr_text_json(out, text, length));
    return tsr_text_puts(out, "}\n");
}

static tsr_status show_ids(const tsr_tokenizer *t, const tsr_options *o, const tsr_input *in, tsr_text *out)
{
    tsr_text text;
    TSR_TRY(tsr_text_init(&text, TSR_TEXT_NO_CAP));
    tsr_status s = TSR_OK;
    int64_t size = tsr_tokenizer_size(t);
    for (int64_t i = 0; i < in->n_ids && s == TSR_OK; i++)
        if (in->ids[i] >= size)
            s = tsr_fail(TSR_ERR_USAGE, "id %d is outside the vocabulary of %lld tokens", in->ids[i],
                         (long long)size);
    if (s == TSR_OK) s = tsr_tokenizer_decode(t, in->ids, in->n_ids, false, &text);
    if (s == TSR_OK && o->flag[TSR_OPT_JSON]) s = write_json(text.data, text.length, in->ids, in->n_ids, out);
    if (s == TSR_OK && !o->flag[TSR_OPT_JSON]) s = tsr_text_append(out, text.data, text.length);
    if (s == TSR_OK && !o->flag[TSR_OPT_JSON]) s = tsr_text_puts(out, "\n");
    tsr_text_free(&text);
    return s;
}

/* The prompt of a conversation itself is what one wants to see; its pieces are there with --json. */
static tsr_status write_prompt(const char *text, int64_t n, tsr_text *out)
{
    TSR_TRY(tsr_text_append(out, text, n));
    return tsr_text_puts(out, "\n");
}

static tsr_status show_text(const tsr_tokenizer *t, const tsr_options *o, const tsr_input *in, tsr_text *out)
{
    tsr_token_list list = {0};
    int64_t n = (int64_t)strlen(in->text);
    tsr_status s = tsr_tokenizer_encode(t, in->text, n, !in->is_chat, &list);
    if (s == TSR_OK && o->flag[TSR_OPT_JSON])
        s = write_json(in->text, n, list.ids, list.count, out);
    else if (s == TSR_OK)
        s = in->is_chat ? write_prompt(in->text, n, out) : write_pieces(t, list.ids, list.count, out);
    tsr_token_list_free(&list);
    return s;
}

static tsr_status show_all(const tsr_tokenizer *t, const tsr_options *o, const tsr_input *inputs, int64_t n)
{
    tsr_text out;
    TSR_TRY(tsr_text_init(&out, TSR_TEXT_NO_CAP));
    tsr_status s = TSR_OK;
    for (int64_t i = 0; i < n && s == TSR_OK; i++)
        s = inputs[i].text ? show_text(t, o, &inputs[i], &out) : show_ids(t, o, &inputs[i], &out);
    if (s == TSR_OK) s = tsr_put(out.data, out.length);
    tsr_text_free(&out);
    return s;
}

tsr_status tsr_cmd_tokenize(tsr_world *world, const tsr_options *o)
{
    tsr_input *inputs = NULL;
    int64_t n = 0;
    tsr_tokenizer *t = NULL;
    tsr_status s = TSR_OK;
    if (tsr_world_rank(world) == 0) {
        s = o->text[TSR_OPT_MODEL] ? tsr_inputs_read(o, &inputs, &n)
                                   : tsr_fail(TSR_ERR_USAGE, "no model was named (--model DIR)");
        if (s == TSR_OK) s = tsr_tokenizer_load(o->text[TSR_OPT_MODEL], &t);
        if (s == TSR_OK) s = show_all(t, o, inputs, n);
        tsr_tokenizer_destroy(&t);
        tsr_inputs_free(&inputs, n);
    }
    return tsr_world_agree(world, s);
}
