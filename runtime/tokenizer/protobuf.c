/* protobuf.c: fields of a message: a key (number << 3 | wire type), then an integer, bytes, or 4 or 8 bytes.
 */
#include "runtime/tokenizer/protobuf.h"

static bool fail(tsr_protobuf *p)
{
    p->broken = true;
    return false;
}

static bool read_integer(tsr_protobuf *p, uint64_t *out)
{
    *out = 0;
    for (int shift = 0; shift < 64 && p->at < p->end; shift += 7) {
        unsigned char b = (unsigned char)*p->at++;
        *out |= (uint64_t)(b & 0x7F) << shift;
        if (b < 0x80) return true;
    }
    return fail(p);
}

static bool read_fixed(tsr_protobuf *p, int bytes, uint64_t *out)
{
    if (p->end - p->at < bytes) return fail(p);
    *out = 0;
    for (int i = 0; i < bytes; i++) *out |= (uint64_t)(unsigned char)*p->at++ << (8 * i);
    return true;
}

static bool read_bytes(tsr_protobuf *p, tsr_protobuf_field *f)
{
    uint64_t n;
    if (!read_integer(p, &n)) return false;
    if (n > (uint64_t)(p->end - p->at)) return fail(p);
    f->bytes = p->at;
    f->n = (int64_t)n;
    p->at += n;
    return true;
}

bool tsr_protobuf_next(tsr_protobuf *p, tsr_protobuf_field *out)
{
    uint64_t key;
    *out = (tsr_protobuf_field){0};
    if (p->broken || p->at >= p->end || !read_integer(p, &key)) return false;
    out->number = (int64_t)(key >> 3);
    if (out->number == 0 || out->number >= 1 << 29) return fail(p);
    switch (key & 7) {
    case 0:
        out->kind = TSR_PROTOBUF_INTEGER;
        return read_integer(p, &out->value);
    case 1:
        out->kind = TSR_PROTOBUF_FIXED64;
        return read_fixed(p, 8, &out->value);
    case 2:
        out->kind = TSR_PROTOBUF_BYTES;
        return read_bytes(p, out);
    case 5:
        out->kind = TSR_PROTOBUF_FIXED32;
        return read_fixed(p, 4, &out->value);
    default:
        return fail(p); /* groups, which no file of ours has */
    }
}
