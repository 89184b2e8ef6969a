/* detokenizer.c: ids to text, as a stream or at once: pieces are looked up and fed to the chain of decoders.
 */
#include "runtime/tokenizer/decoder.h"
#include "runtime/tokenizer/parts.h"
#include "base/memory.h"

struct tsr_detokenizer {
    const tsr_tokenizer *tokenizer;
    tsr_decode_chain *chain;
    bool skip_special_tokens;
};

tsr_status tsr_detokenizer_create(const tsr_tokenizer *t, bool skip_special_tokens, tsr_detokenizer **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_detokenizer), "a detokenizer", &p));
    tsr_detokenizer *d = p;
    *d = (tsr_detokenizer){.tokenizer = t, .skip_special_tokens = skip_special_tokens};
    tsr_status status = tsr_decode_chain_create(&t->decoders, skip_special_tokens, &d->chain);
    if (status != TSR_OK) tsr_detokenizer_destroy(&d);
    *out = d;
    return status;
}

void tsr_detokenizer_destroy(tsr_detokenizer **d)
{
    if (!*d) return;
    tsr_decode_chain_destroy(&(*d)->chain);
    tsr_free(*d);
    *d = NULL;
}

tsr_status tsr_detokenizer_push(tsr_detokenizer *d, int32_t id, tsr_text *out)
{
    const tsr_tokenizer *t = d->tokenizer;
    const tsr_added_token *added = tsr_added_token_of(t->added, id);
    if (added && added->skipped && d->skip_special_tokens) return TSR_OK;
    if (added) return tsr_decode_chain_token(d->chain, id, added->decoded, added->decoded_length, out);
    int64_t n;
    const char *piece = tsr_vocabulary_piece(t->model.vocabulary, id, &n);
    return piece ? tsr_decode_chain_token(d->chain, id, piece, n, out) : TSR_OK;
}

tsr_status tsr_detokenizer_finish(tsr_detokenizer *d, tsr_text *out)
{
    return tsr_decode_chain_finish(d->chain, out);
}

tsr_status tsr_tokenizer_decode(const tsr_tokenizer *t, const int32_t *ids, int64_t n,
                                bool skip_special_tokens, tsr_text *out)
{
    tsr_detokenizer *d;
    TSR_TRY(tsr_detokenizer_create(t, skip_special_tokens, &d));
    tsr_status status = TSR_OK;
    for (int64_t i = 0; i < n && status == TSR_OK; i++) status = tsr_detokenizer_push(d, ids[i], out);
    if (status == TSR_OK) status = tsr_detokenizer_finish(d, out);
    tsr_detokenizer_destroy(&d);
    return status;
}
