/* decoder.c: the table of decoders, and the chain they form. */
#include "runtime/tokenizer/decoder.h"
#include "base/memory.h"

#include <string.h>

enum { HELD_CAP = 1 << 30 };

tsr_status tsr_pass_text(tsr_decode_stage *stage, const char *bytes, int64_t n)
{
    return n > 0 ? stage->next->kind->text(stage->next, bytes, n) : TSR_OK;
}

tsr_status tsr_pass_end(tsr_decode_stage *stage)
{
    return stage->next->kind->end(stage->next);
}

tsr_status tsr_pass_token(tsr_decode_stage *stage, const char *bytes, int64_t n)
{
    TSR_TRY(tsr_pass_text(stage, bytes, n));
    return tsr_pass_end(stage);
}

tsr_status tsr_hold_text(tsr_decode_stage *stage, const char *bytes, int64_t n)
{
    return tsr_text_append(&stage->held, bytes, n);
}

static tsr_status append_out(tsr_decode_stage *stage, const char *bytes, int64_t n)
{
    return tsr_text_append(stage->chain->out, bytes, n);
}

static tsr_status end_out(tsr_decode_stage *stage)
{
    (void)stage;
    return TSR_OK;
}

static const tsr_decoder_kind sink = {{"", NULL, NULL}, append_out, end_out, NULL};

static const tsr_component_kind *const rows[] = {
    &tsr_decoder_byte_level.base, &tsr_decoder_byte_fallback.base, &tsr_decoder_metaspace.base,
    &tsr_decoder_bpe.base,        &tsr_decoder_word_piece.base,    &tsr_decoder_fuse.base,
    &tsr_decoder_strip.base,      &tsr_decoder_replace.base,
};

tsr_status tsr_decoders_load(tsr_object o, tsr_arena *arena, tsr_components *out)
{
    static const tsr_component_family family = {"decoder", "decoders", rows, sizeof rows / sizeof rows[0], 0};
    if (o.object) return tsr_components_load(o, &family, arena, out);
    *out = (tsr_components){.item = {{&tsr_decoder_joined.base, NULL}}, .count = 1};
    return TSR_OK;
}

static tsr_status init_stage(tsr_decode_chain *chain, int i, const tsr_decoder_kind *kind,
                             const void *options)
{
    tsr_decode_stage *s = &chain->stage[i];
    *s = (tsr_decode_stage){.kind = kind, .options = options, .chain = chain, .next = s + 1};
    chain->count = i + 1;
    TSR_TRY(tsr_text_init(&s->held, HELD_CAP));
    return tsr_text_init(&s->bytes, HELD_CAP);
}

tsr_status tsr_decode_chain_create(const tsr_components *decoders, bool skip_special_tokens,
                                   tsr_decode_chain **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_decode_chain), "a detokenizer", &p));
    tsr_decode_chain *chain = p;
    chain->skip_special_tokens = skip_special_tokens;
    tsr_status status = TSR_OK;
    for (int i = 0; i < decoders->count && status == TSR_OK; i++)
        status =
            init_stage(chain, i, (const tsr_decoder_kind *)decoders->item[i].kind, decoders->item[i].state);
    if (status == TSR_OK) status = init_stage(chain, decoders->count, &sink, NULL);
    if (status != TSR_OK) tsr_decode_chain_destroy(&chain);
    *out = chain;
    return status;
}

void tsr_decode_chain_destroy(tsr_decode_chain **chain)
{
    tsr_decode_chain *c = *chain;
    if (!c) return;
    for (int i = 0; i < c->count; i++) {
        tsr_text_free(&c->stage[i].held);
        tsr_text_free(&c->stage[i].bytes);
    }
    tsr_regex_work_destroy(&c->regex);
    tsr_free(c->spans.span);
    tsr_free(c);
    *chain = NULL;
}

tsr_status tsr_decode_chain_token(tsr_decode_chain *chain, int32_t id, const char *piece, int64_t n,
                                  tsr_text *out)
{
    tsr_decode_stage *first = &chain->stage[0];
    chain->out = out;
    chain->id = id;
    if (n > 0) TSR_TRY(first->kind->text(first, piece, n));
    return first->kind->end(first);
}

tsr_status tsr_decode_chain_finish(tsr_decode_chain *chain, tsr_text *out)
{
    chain->out = out;
    for (int i = 0; i < chain->count; i++) {
        tsr_decode_stage *s = &chain->stage[i];
        if (s->kind->finish) TSR_TRY(s->kind->finish(s));
        tsr_text_clear(&s->held);
        tsr_text_clear(&s->bytes);
        s->tokens = s->seen = 0;
        s->open = false;
    }
    return TSR_OK;
}
