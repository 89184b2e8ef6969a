/* zip.c: reading and checking the directory of a zip archive. All numbers in it are little endian. */
#include "checkpoint/zip.h"
#include "base/checked.h"

#include <stdlib.h>
#include <string.h>

enum {
    END_BYTES = 22,
    END64_BYTES = 56,
    LOCATOR_BYTES = 20,
    CENTRAL_BYTES = 46,
    LOCAL_BYTES = 30,
    COMMENT_CAP = 65535,
    NAME_CAP = 1024,
    ENTRY_CAP = 1 << 20,
    DIRECTORY_CAP = 256 << 20
};
/* Bits that say nothing about how the contents lie: sizes follow the contents, names are UTF-8. */
enum { HARMLESS_FLAGS = 0x0808 };

typedef struct archive {
    const tsr_source *source;
    const char *name; /* of the file */
    int file;
    int64_t bytes;
    int64_t directory, directory_bytes, entries; /* where the central directory lies */
    int64_t directory_end;                       /* where the end records begin */
} archive;

/* An entry as the directory tells of it. */
typedef struct listed {
    const unsigned char *name;
    int name_bytes, flags, method;
    int64_t header, bytes, stored_bytes;
} listed;

static uint16_t u16(const unsigned char *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t u32(const unsigned char *p)
{
    return (uint32_t)u16(p) | (uint32_t)u16(p + 2) << 16;
}

/* Numbers past the largest signed one become -1, which every check refuses. */
static int64_t i64(const unsigned char *p)
{
    uint64_t n = (uint64_t)u32(p) | (uint64_t)u32(p + 4) << 32;
    return n > INT64_MAX ? -1 : (int64_t)n;
}

static bool has_signature(const unsigned char *p, int third, int fourth)
{
    return p[0] == 'P' && p[1] == 'K' && p[2] == third && p[3] == fourth;
}

static tsr_status bad(const archive *a, const char *what)
{
    return tsr_fail(TSR_ERR_FORMAT, "%s: malformed zip archive: %s", a->name, what);
}

static tsr_status bad_entry(const archive *a, const listed *e, const char *what)
{
    return tsr_fail(TSR_ERR_FORMAT, "%s: malformed zip archive: entry \"%.*s\": %s", a->name, e->name_bytes,
                    e->name, what);
}

/* --- The end records --- */

/* Torch writes the records of zip64 into every file, needed or not. */
static tsr_status read_end64(archive *a, int64_t end)
{
    unsigned char locator[LOCATOR_BYTES], record[END64_BYTES];
    bool needed = a->entries == UINT16_MAX || a->directory_bytes == UINT32_MAX || a->directory == UINT32_MAX;
    if (end < LOCATOR_BYTES + END64_BYTES)
        return needed ? bad(a, "no room for its zip64 end record") : TSR_OK;
    TSR_TRY(tsr_source_pread(a->source, a->file, end - LOCATOR_BYTES, LOCATOR_BYTES, locator));
    if (!needed && !has_signature(locator, 6, 7)) return TSR_OK;
    if (!has_signature(locator, 6, 7) || u32(locator + 4) != 0 || u32(locator + 16) != 1)
        return bad(a, "no zip64 locator before its end record");
    int64_t at = i64(locator + 8);
    if (at != end - LOCATOR_BYTES - END64_BYTES)
        return bad(a, "its zip64 end record does not stand at the end");
    TSR_TRY(tsr_source_pread(a->source, a->file, at, END64_BYTES, record));
    if (!has_signature(record, 6, 6) || i64(record + 4) != END64_BYTES - 12)
        return bad(a, "no zip64 end record");
    if (u32(record + 16) != 0 || u32(record + 20) != 0 || i64(record + 24) != i64(record + 32))
        return bad(a, "it is part of a set of disks");
    a->entries = i64(record + 32);
    a->directory_bytes = i64(record + 40);
    a->directory = i64(record + 48);
    a->directory_end = at;
    return TSR_OK;
}

static tsr_status read_end(archive *a, const unsigned char *end, int64_t at)
{
    a->entries = u16(end + 10);
    a->directory_bytes = u32(end + 12);
    a->directory = u32(end + 16);
    a->directory_end = at;
    if (u16(end + 4) != 0 || u16(end + 6) != 0 || u16(end + 8) != u16(end + 10))
        return bad(a, "it is part of a set of disks");
    TSR_TRY(read_end64(a, at));
    if (a->entries < 0 || a->entries > ENTRY_CAP || a->directory_bytes < 0 ||
        a->directory_bytes > DIRECTORY_CAP)
        return bad(a, "its directory is too large");
    if (a->directory < 0 || a->directory > a->directory_end ||
        a->directory_end - a->directory != a->directory_bytes)
        return bad(a, "its directory does not end where the end record begins");
    return TSR_OK;
}

/* The end record is the last thing in the file but for a comment. */
static tsr_status find_end(archive *a, unsigned char *tail, int64_t tail_bytes)
{
    TSR_TRY(tsr_source_pread(a->source, a->file, a->bytes - tail_bytes, tail_bytes, tail));
    for (int64_t at = tail_bytes - END_BYTES; at >= 0; at--)
        if (has_signature(tail + at, 5, 6) && at + END_BYTES + u16(tail + at + 20) == tail_bytes)
            return read_end(a, tail + at, a->bytes - tail_bytes + at);
    return bad(a, "no end record");
}

/* --- The directory --- */

/* The numbers that do not fit 32 bits stand in an extra field, in this order. */
static bool read_extra64(const unsigned char *extra, int64_t n, listed *e)
{
    int64_t *wide[] = {&e->bytes, &e->stored_bytes, &e->header};
    while (n >= 4) {
        int id = u16(extra), length = u16(extra + 2);
        if (length > n - 4) return false;
        if (id == 1) {
            int at = 0;
            for (int i = 0; i < 3; i++) {
                if (*wide[i] != UINT32_MAX) continue;
                if (at + 8 > length) return false;
                *wide[i] = i64(extra + 4 + at);
                at += 8;
            }
            return true;
        }
        extra += 4 + length;
        n -= 4 + length;
    }
    return false;
}

/* Reads one record; *used is its length. */
static tsr_status read_central(const archive *a, const unsigned char *p, int64_t left, listed *e,
                               int64_t *used)
{
    if (left < CENTRAL_BYTES || !has_signature(p, 1, 2)) return bad(a, "its directory is cut off");
    int name = u16(p + 28), extra = u16(p + 30), comment = u16(p + 32);
    *used = (int64_t)CENTRAL_BYTES + name + extra + comment;
    if (*used > left) return bad(a, "its directory is cut off");
    *e = (listed){.name = p + CENTRAL_BYTES, .name_bytes = name, .flags = u16(p + 8), .method = u16(p + 10)};
    e->stored_bytes = u32(p + 20);
    e->bytes = u32(p + 24);
    e->header = u32(p + 42);
    if (name < 1 || name > NAME_CAP || memchr(e->name, 0, (size_t)name))
        return bad(a, "an entry without a proper name");
    if (u16(p + 34) != 0) return bad_entry(a, e, "it lies on another disk");
    bool wide = e->bytes == UINT32_MAX || e->stored_bytes == UINT32_MAX || e->header == UINT32_MAX;
    if (wide && !read_extra64(e->name + name, extra, e))
        return bad_entry(a, e, "its zip64 sizes are missing");
    if (e->method != 0)
        return tsr_fail(
            TSR_ERR_FORMAT,
            "%s: entry \"%.*s\" is compressed (method %d); expected a torch file as torch.save writes it, "
            "with stored entries",
            a->name, name, e->name, e->method);
    if (e->flags & ~HARMLESS_FLAGS) return bad_entry(a, e, "it is encrypted or uses other features of zip");
    if (e->bytes != e->stored_bytes) return bad_entry(a, e, "stored, yet with two sizes");
    return TSR_OK;
}

/* The local header must tell of the same entry; its contents follow it. */
static tsr_status check_local(const archive *a, const listed *e, int64_t *offset)
{
    unsigned char local[LOCAL_BYTES + NAME_CAP];
    int64_t end, room = LOCAL_BYTES + e->name_bytes;
    if (e->header < 0 || e->bytes < 0 || !tsr_add(e->header, room, &end) || end > a->directory)
        return bad_entry(a, e, "it lies outside of the archive");
    TSR_TRY(tsr_source_pread(a->source, a->file, e->header, room, local));
    if (!has_signature(local, 3, 4) || u16(local + 6) != e->flags || u16(local + 8) != e->method ||
        u16(local + 26) != e->name_bytes || memcmp(local + LOCAL_BYTES, e->name, (size_t)e->name_bytes) != 0)
        return bad_entry(a, e, "its own header and the directory disagree");
    *offset = e->header + room + u16(local + 28);
    if (!tsr_add(*offset, e->bytes, &end) || end > a->directory)
        return bad_entry(a, e, "it is larger than the archive");
    return TSR_OK;
}

static int by_offset(const void *a, const void *b)
{
    const tsr_zip_entry *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const tsr_zip_entry *)a)->name, ((const tsr_zip_entry *)b)->name);
}

/* Contents begin behind their header and name, so where contents and header do not meet, entries do not. */
static tsr_status check_entries(const archive *a, tsr_zip *zip)
{
    int64_t end = 0;
    qsort(zip->entries, (size_t)zip->count, sizeof *zip->entries, by_offset);
    for (int64_t i = 0; i < zip->count; i++) {
        const tsr_zip_entry *e = &zip->entries[i];
        if (e->offset - LOCAL_BYTES - (int64_t)strlen(e->name) < end)
            return tsr_fail(TSR_ERR_FORMAT, "%s: malformed zip archive: entry \"%s\" overlaps another",
                            a->name, e->name);
        end = e->offset + e->bytes;
    }
    qsort(zip->entries, (size_t)zip->count, sizeof *zip->entries, by_name);
    for (int64_t i = 1; i < zip->count; i++)
        if (strcmp(zip->entries[i - 1].name, zip->entries[i].name) == 0)
            return tsr_fail(TSR_ERR_FORMAT, "%s: malformed zip archive: two entries are called \"%s\"",
                            a->name, zip->entries[i].name);
    return TSR_OK;
}

static tsr_status read_entries(const archive *a, const unsigned char *directory, tsr_arena *arena,
                               tsr_zip *zip)
{
    int64_t at = 0, used = 0;
    for (int64_t i = 0; i < a->entries; i++, at += used) {
        listed e;
        tsr_zip_entry *out = &zip->entries[i];
        TSR_TRY(read_central(a, directory + at, a->directory_bytes - at, &e, &used));
        TSR_TRY(check_local(a, &e, &out->offset));
        out->bytes = e.bytes;
        TSR_TRY(tsr_arena_format(arena, &out->name, "%.*s", e.name_bytes, e.name));
        zip->count++;
    }
    if (at != a->directory_bytes) return bad(a, "its directory holds more than its entries");
    return check_entries(a, zip);
}

static tsr_status read_directory(const archive *a, tsr_arena *arena, tsr_zip *zip)
{
    void *p, *directory;
    if (a->entries > a->directory_bytes / CENTRAL_BYTES)
        return bad(a, "its directory is too short for its entries");
    TSR_TRY(tsr_arena_alloc(arena, a->entries * (int64_t)sizeof *zip->entries, &p));
    zip->entries = p;
    TSR_TRY(tsr_alloc(a->directory_bytes, "a zip directory", &directory));
    tsr_status status = tsr_source_pread(a->source, a->file, a->directory, a->directory_bytes, directory);
    if (status == TSR_OK) status = read_entries(a, directory, arena, zip);
    tsr_free(directory);
    return status;
}

tsr_status tsr_zip_open(const tsr_source *source, int file, tsr_arena *arena, tsr_zip *out)
{
    archive a = {
        .source = source, .file = file, .name = source->files[file].name, .bytes = source->files[file].bytes};
    int64_t tail_bytes = tsr_min(a.bytes, END_BYTES + COMMENT_CAP);
    void *tail;
    *out = (tsr_zip){0};
    if (a.bytes < END_BYTES) return bad(&a, "too short");
    TSR_TRY(tsr_alloc(tail_bytes, "the end of a zip archive", &tail));
    tsr_status status = find_end(&a, tail, tail_bytes);
    tsr_free(tail);
    TSR_TRY(status);
    return read_directory(&a, arena, out);
}

const tsr_zip_entry *tsr_zip_find(const tsr_zip *zip, const char *name)
{
    tsr_zip_entry key = {.name = name};
    return zip->count ? bsearch(&key, zip->entries, (size_t)zip->count, sizeof key, by_name) : NULL;
}
