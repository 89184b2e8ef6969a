/* sentencepiece_load.c: reading the ModelProto of a SentencePiece file. */
#include "runtime/tokenizer/sentencepiece.h"
#include "runtime/tokenizer/protobuf.h"
#include "base/utf8.h"

#include <math.h>
#include <stdio.h>

typedef struct loader {
    const char *where;
    tsr_arena *arena;
    tsr_model *model;
    tsr_sentencepiece *s;
    const tsr_piece_ids *ids;
    int64_t user_defined_bytes;
    int32_t pieces; /* read so far */
    int model_type;
} loader;

static tsr_status broken(const loader *l, const char *what)
{
    return tsr_fail(TSR_ERR_FORMAT, "%s: not a SentencePiece model: %s is malformed", l->where, what);
}

/* The id of piece `index` of the file. */
static int32_t id_of(const tsr_piece_ids *ids, int32_t index, const char *text, int64_t n)
{
    if (!ids->fairseq) return index + ids->offset;
    if (n == 3 && memcmp(text, "<s>", 3) == 0) return 0;
    if (n == 4 && memcmp(text, "</s>", 4) == 0) return 2;
    if (n == 5 && memcmp(text, "<unk>", 5) == 0) return 3;
    return index + 1;
}

/* ModelProto.pieces: 1 piece, 2 score, 3 type. */
static tsr_status read_piece(loader *l, const tsr_protobuf_field *message)
{
    tsr_sentencepiece *s = l->s;
    tsr_protobuf p = {message->bytes, message->bytes + message->n, false};
    tsr_protobuf_field f, text = {0};
    float score = 0;
    uint64_t type = TSR_PIECE_NORMAL;
    while (tsr_protobuf_next(&p, &f)) {
        uint32_t bits = (uint32_t)f.value;
        if (f.number == 1 && f.kind == TSR_PROTOBUF_BYTES) text = f;
        if (f.number == 2 && f.kind == TSR_PROTOBUF_FIXED32) memcpy(&score, &bits, 4);
        if (f.number == 3 && f.kind == TSR_PROTOBUF_INTEGER) type = f.value;
    }
    if (p.broken || text.n == 0 || !tsr_utf8_valid(text.bytes, text.n) || !isfinite(score) || type < 1 ||
        type > 6)
        return broken(l, "a piece");
    int32_t id = id_of(l->ids, l->pieces++, text.bytes, text.n);
    TSR_TRY(tsr_vocabulary_add(l->model->vocabulary, l->where, id, text.bytes, text.n));
    TSR_TRY(
        tsr_grow((void **)&s->score, &s->score_capacity, id + 1, sizeof *s->score, "the scores of pieces"));
    TSR_TRY(tsr_grow((void **)&s->type, &s->type_capacity, id + 1, sizeof *s->type, "the types of pieces"));
    s->score[id] = score + 0.0f; /* no negative zero: scores are compared by their bits */
    s->type[id] = (uint8_t)type;
    if (type == TSR_PIECE_UNKNOWN) {
        if (s->unk_id >= 0) return tsr_fail(TSR_ERR_FORMAT, "%s: two pieces are of type UNKNOWN", l->where);
        s->unk_id = id;
    }
    if (type == TSR_PIECE_USER_DEFINED) l->user_defined_bytes += text.n;
    s->has_unused |= type == TSR_PIECE_UNUSED;
    if (id >= s->size) s->size = id + 1;
    return TSR_OK;
}

/* TrainerSpec */
static tsr_status read_trainer(loader *l, const tsr_protobuf_field *message)
{
    tsr_sentencepiece *s = l->s;
    tsr_protobuf p = {message->bytes, message->bytes + message->n, false};
    tsr_protobuf_field f;
    while (tsr_protobuf_next(&p, &f)) {
        if (f.number == 44 && f.kind == TSR_PROTOBUF_BYTES) {
            void *copy;
            if (!tsr_utf8_valid(f.bytes, f.n) || memchr(f.bytes, 0, (size_t)f.n))
                return broken(l, "unk_surface");
            TSR_TRY(tsr_arena_alloc(l->arena, f.n + 1, &copy));
            s->unk_surface = memcpy(copy, f.bytes, (size_t)f.n);
        }
        if (f.kind != TSR_PROTOBUF_INTEGER) continue;
        switch (f.number) {
        case 3:
            l->model_type = f.value > 4 ? 0 : (int)f.value;
            break;
        case 24:
            s->whitespace_as_suffix = f.value != 0;
            break;
        case 35:
            s->byte_fallback = f.value != 0;
            break;
        case 41:
            s->bos_id = (int32_t)(uint32_t)f.value;
            break;
        case 42:
            s->eos_id = (int32_t)(uint32_t)f.value;
            break;
        default:
            break;
        }
    }
    return p.broken ? broken(l, "trainer_spec") : TSR_OK;
}

/* NormalizerSpec */
static tsr_status read_normalizer(loader *l, const tsr_protobuf_field *message)
{
    tsr_sentencepiece *s = l->s;
    tsr_protobuf p = {message->bytes, message->bytes + message->n, false};
    tsr_protobuf_field f;
    while (tsr_protobuf_next(&p, &f)) {
        if (f.number == 2 && f.kind == TSR_PROTOBUF_BYTES && f.n > 0)
            TSR_TRY(tsr_charsmap_load(f.bytes, f.n, l->where, l->arena, &s->charsmap));
        if (f.kind != TSR_PROTOBUF_INTEGER) continue;
        if (f.number == 3) s->add_dummy_prefix = f.value != 0;
        if (f.number == 4) s->remove_extra_whitespaces = f.value != 0;
        if (f.number == 5) s->escape_whitespaces = f.value != 0;
    }
    return p.broken ? broken(l, "normalizer_spec") : TSR_OK;
}

static tsr_status read_denormalizer(loader *l, const tsr_protobuf_field *message)
{
    tsr_protobuf p = {message->bytes, message->bytes + message->n, false};
    tsr_protobuf_field f;
    while (tsr_protobuf_next(&p, &f))
        if (f.number == 2 && f.kind == TSR_PROTOBUF_BYTES && f.n > 0)
            return tsr_fail(TSR_ERR_FORMAT, "%s: rules of a denormalizer_spec are not supported", l->where);
    return p.broken ? broken(l, "denormalizer_spec") : TSR_OK;
}

static tsr_status read_model(loader *l, const char *bytes, int64_t n)
{
    tsr_protobuf p = {bytes, bytes + n, false};
    tsr_protobuf_field f;
    while (tsr_protobuf_next(&p, &f)) {
        if (f.kind != TSR_PROTOBUF_BYTES) continue;
        if (f.number == 1) TSR_TRY(read_piece(l, &f));
        if (f.number == 2) TSR_TRY(read_trainer(l, &f));
        if (f.number == 3) TSR_TRY(read_normalizer(l, &f));
        if (f.number == 5) TSR_TRY(read_denormalizer(l, &f));
    }
    return p.broken ? broken(l, "the file") : TSR_OK;
}

/* The piece of a control token that the trainer named, if the model has it. */
static void check_control(const loader *l, int32_t *id)
{
    const tsr_sentencepiece *s = l->s;
    if (*id >= 0 && *id < l->pieces) *id = l->ids->fairseq ? (*id == 1 ? 0 : 2) : *id + l->ids->offset;
    if (*id < 0 || *id >= s->size || s->type[*id] != TSR_PIECE_CONTROL) *id = -1;
}

static tsr_status find_bytes(loader *l)
{
    tsr_sentencepiece *s = l->s;
    for (int i = 0; i < 256 && s->byte_fallback; i++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", i);
        s->byte_id[i] = tsr_vocabulary_id(s->pieces, text, 6);
        if (s->byte_id[i] < 0 || s->type[s->byte_id[i]] != TSR_PIECE_BYTE)
            return tsr_fail(TSR_ERR_FORMAT, "%s: byte_fallback without the byte piece %s", l->where, text);
    }
    int64_t bytes = 0;
    for (int32_t id = 0; id < s->size; id++) bytes += s->type[id] == TSR_PIECE_BYTE;
    if (bytes != (s->byte_fallback ? 256 : 0))
        return tsr_fail(TSR_ERR_FORMAT, "%s: %lld byte pieces, expected %d", l->where, (long long)bytes,
                        s->byte_fallback ? 256 : 0);
    return TSR_OK;
}

static tsr_status collect_user_defined(loader *l)
{
    tsr_sentencepiece *s = l->s;
    if (l->user_defined_bytes == 0) return TSR_OK;
    TSR_TRY(tsr_trie_create(l->user_defined_bytes, &s->user_defined));
    for (int32_t id = 0; id < s->size; id++) {
        int64_t n;
        const char *piece = tsr_vocabulary_piece(s->pieces, id, &n);
        if (s->type[id] == TSR_PIECE_USER_DEFINED) tsr_trie_add(s->user_defined, piece, n, id);
    }
    return TSR_OK;
}

tsr_status tsr_sentencepiece_load(const char *bytes, int64_t n, const char *where, const tsr_piece_ids *ids,
                                  tsr_arena *arena, tsr_model *model)
{
    static const char *const types[] = {"an unknown one", "UNIGRAM", "BPE", "WORD", "CHAR"};
    void *p;
    *model = (tsr_model){.kind = &tsr_model_sentencepiece};
    TSR_TRY(tsr_vocabulary_create(&model->vocabulary));
    TSR_TRY(tsr_calloc(1, sizeof(tsr_sentencepiece), "a SentencePiece model", &p));
    model->state = p;
    tsr_sentencepiece *s = p;
    *s = (tsr_sentencepiece){.pieces = model->vocabulary,
                             .unk_id = -1,
                             .bos_id = 1,
                             .eos_id = 2,
                             .unk_surface = " \xE2\x81\x87 ",
                             .add_dummy_prefix = true,
                             .remove_extra_whitespaces = true,
                             .escape_whitespaces = true};
    loader l = {.where = where, .arena = arena, .model = model, .s = s, .ids = ids, .model_type = 1};
    TSR_TRY(read_model(&l, bytes, n));
    if (s->size == 0) return broken(&l, "the file");
    if (l.model_type != 1 && l.model_type != 2)
        return tsr_fail(TSR_ERR_FORMAT, "%s: the SentencePiece model type is %s; we have BPE and UNIGRAM",
                        where, types[l.model_type]);
    if (s->unk_id < 0) return tsr_fail(TSR_ERR_FORMAT, "%s: no piece is of type UNKNOWN", where);
    check_control(&l, &s->bos_id);
    check_control(&l, &s->eos_id);
    TSR_TRY(find_bytes(&l));
    TSR_TRY(collect_user_defined(&l));
    if (l.model_type == 2) return TSR_OK;
    model->kind = &tsr_model_sentencepiece_unigram;
    return tsr_sentencepiece_prepare_unigram(s, where);
}

void tsr_sentencepiece_release(tsr_model *model)
{
    tsr_sentencepiece *s = model->state;
    if (!s) return;
    tsr_trie_destroy(&s->user_defined);
    tsr_unigram_release(&s->unigram);
    tsr_free(s->score);
    tsr_free(s->type);
    tsr_free(s);
    model->state = NULL;
}
