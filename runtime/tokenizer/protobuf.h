/* protobuf.h: reading the wire format of Protocol Buffers from memory, never past the end. Local,
 * thread-safe.
 *
 *     tsr_protobuf p = {bytes, bytes + n};
 *     tsr_protobuf_field f;
 *     while (tsr_protobuf_next(&p, &f)) ... f.number, f.kind, f.value or f.bytes ...
 *     if (p.broken) ...
 */
#ifndef TSR_TOKENIZER_PROTOBUF_H
#define TSR_TOKENIZER_PROTOBUF_H

#include <stdbool.h>
#include <stdint.h>

typedef struct tsr_protobuf {
    const char *at, *end;
    bool broken; /* the bytes are no message */
} tsr_protobuf;

typedef enum tsr_protobuf_kind {
    TSR_PROTOBUF_INTEGER,
    TSR_PROTOBUF_FIXED64,
    TSR_PROTOBUF_BYTES,
    TSR_PROTOBUF_FIXED32
} tsr_protobuf_kind;

typedef struct tsr_protobuf_field {
    int64_t number; /* 1 and up */
    tsr_protobuf_kind kind;
    uint64_t value;    /* all but BYTES */
    const char *bytes; /* BYTES: [n], a string or a message */
    int64_t n;
} tsr_protobuf_field;

/* False at the end, or when broken. */
bool tsr_protobuf_next(tsr_protobuf *p, tsr_protobuf_field *out);

#endif
