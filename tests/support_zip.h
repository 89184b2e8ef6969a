/* support_zip.h: for tests: zip archives of stored entries, built in memory, byte by byte, so that they may be wrong.
 *
 *     zip_out z = {0};
 *     zip_add(&z, "archive/data.pkl", pickle, n);
 *     zip_add(&z, "archive/data/0", numbers, 24);
 *     zip_finish(&z);                                 // the archive: z.bytes [z.size]
 *     zip_free(&z);
 *
 * Between adding and finishing z.bytes may be spoilt, and with it the local headers; z.directory holds the central ones.
 */
#ifndef TSR_TESTS_SUPPORT_ZIP_H
#define TSR_TESTS_SUPPORT_ZIP_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct zip_buffer {
    uint8_t *bytes;
    size_t size;
} zip_buffer;

typedef struct zip_out {
    union {
        zip_buffer file;
        struct {
            uint8_t *bytes;
            size_t size;
        };
    };
    zip_buffer directory;
    int entries;
} zip_out;

static inline void zip_put(zip_buffer *b, const void *bytes, size_t n)
{
    b->bytes = realloc(b->bytes, b->size + n + 1);
    if (!b->bytes) abort();
    if (n) memcpy(b->bytes + b->size, bytes, n);
    b->size += n;
}

/* `width` bytes, the least first. */
static inline void zip_put_int(zip_buffer *b, uint64_t value, int width)
{
    for (int i = 0; i < width; i++, value >>= 8) zip_put(b, &(uint8_t){(uint8_t)value}, 1);
}

/* What both headers of an entry share: version to extract .. extra length. */
static inline void zip_put_header(zip_buffer *b, size_t name, size_t n)
{
    static const uint8_t version_flags_method_time_date[10] = {20};
    zip_put(b, version_flags_method_time_date, 10);
    zip_put_int(b, 0, 4); /* the checksum: left out */
    zip_put_int(b, n, 4);
    zip_put_int(b, n, 4);
    zip_put_int(b, name, 2);
    zip_put_int(b, 0, 2);
}

static inline void zip_add(zip_out *z, const char *name, const void *bytes, size_t n)
{
    size_t length = strlen(name), at = z->size;
    zip_put(&z->file, "PK\3\4", 4);
    zip_put_header(&z->file, length, n);
    zip_put(&z->file, name, length);
    zip_put(&z->file, bytes, n);
    zip_put(&z->directory, "PK\1\2", 4);
    zip_put_int(&z->directory, 20, 2);
    zip_put_header(&z->directory, length, n);
    zip_put_int(&z->directory, 0, 2 + 2 + 2 + 4); /* comment, disk, attributes */
    zip_put_int(&z->directory, at, 4);
    zip_put(&z->directory, name, length);
    z->entries++;
}

static inline void zip_finish(zip_out *z)
{
    size_t at = z->size;
    zip_put(&z->file, z->directory.bytes, z->directory.size);
    zip_put(&z->file, "PK\5\6", 4);
    zip_put_int(&z->file, 0, 4);
    zip_put_int(&z->file, (uint64_t)z->entries, 2);
    zip_put_int(&z->file, (uint64_t)z->entries, 2);
    zip_put_int(&z->file, z->directory.size, 4);
    zip_put_int(&z->file, at, 4);
    zip_put_int(&z->file, 0, 2);
}

static inline void zip_free(zip_out *z)
{
    free(z->bytes);
    free(z->directory.bytes);
    *z = (zip_out){0};
}

/* A torch file: its pickle, and storages "0", "1", ... one behind the other in `numbers`. */
static inline void zip_torch(zip_out *z, const void *pickle, size_t n, int storages, const size_t *bytes,
                             const void *numbers)
{
    char name[64];
    const uint8_t *at = numbers;
    *z = (zip_out){0};
    zip_add(z, "archive/data.pkl", pickle, n);
    for (int i = 0; i < storages; at += bytes[i++]) {
        snprintf(name, sizeof name, "archive/data/%d", i);
        zip_add(z, name, at, bytes[i]);
    }
    zip_finish(z);
}

#endif
