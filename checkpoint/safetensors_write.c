/* safetensors_write.c: the header from planned sizes, then the bytes where they belong. */
#include "checkpoint/safetensors_write.h"
#include "base/checked.h"
#include "base/memory.h"
#include "base/text.h"
#include "checkpoint/file_io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LENGTH_BYTES = 8, HEADER_CAP = 100000000 }; /* as readers accept */

struct tsr_safetensors_writer {
    int dir, fd;
    char name[NAME_MAX + 1], new_name[NAME_MAX + 1];
    int64_t *offset; /* [n_items + 1] where each begins in the file, and the end */
    int64_t n_items;
};

static tsr_status print_item(tsr_text *t, const tsr_safetensors_item *item, int64_t begin, int64_t end)
{
    TSR_TRY(tsr_text_puts(t, ","));
    TSR_TRY(tsr_text_json(t, item->name, (int64_t)strlen(item->name)));
    TSR_TRY(tsr_text_puts(t, ":{\"dtype\":"));
    TSR_TRY(tsr_text_json(t, item->dtype_label, (int64_t)strlen(item->dtype_label)));
    TSR_TRY(tsr_text_puts(t, ",\"shape\":["));
    for (int i = 0; i < item->rank; i++)
        TSR_TRY(tsr_text_format(t, i ? ",%lld" : "%lld", (long long)item->shape[i]));
    return tsr_text_format(t, "],\"data_offsets\":[%lld,%lld]}", (long long)begin, (long long)end);
}

static tsr_status print_notes(tsr_text *t, const tsr_safetensors_note *notes, int64_t n)
{
    TSR_TRY(tsr_text_puts(t, "{\"__metadata__\":{\"format\":\"pt\""));
    for (int64_t i = 0; i < n; i++) {
        TSR_TRY(tsr_text_puts(t, ","));
        TSR_TRY(tsr_text_json(t, notes[i].key, (int64_t)strlen(notes[i].key)));
        TSR_TRY(tsr_text_puts(t, ":"));
        TSR_TRY(tsr_text_json(t, notes[i].value, (int64_t)strlen(notes[i].value)));
    }
    return tsr_text_puts(t, "}");
}

/* Starts the way to the disk, so that the sync at the end is short. */
static void start_writing(const tsr_safetensors_writer *w, int64_t begin, int64_t end)
{
    sync_file_range(w->fd, begin, end - begin, SYNC_FILE_RANGE_WRITE);
}

/* The header with its length in front; offsets count from behind it. */
static tsr_status print_header(const tsr_safetensors_item *items, int64_t n,
                               const tsr_safetensors_note *notes, int64_t n_notes, tsr_text *t)
{
    int64_t at = 0;
    TSR_TRY(tsr_text_append(t, "\0\0\0\0\0\0\0", LENGTH_BYTES));
    TSR_TRY(print_notes(t, notes, n_notes));
    for (int64_t i = 0; i < n; i++) {
        int64_t end;
        if (!tsr_add(at, items[i].bytes, &end))
            return tsr_fail(TSR_ERR_CAPACITY, "the tensors are too large for one file");
        TSR_TRY(print_item(t, &items[i], at, end));
        at = end;
    }
    TSR_TRY(tsr_text_puts(t, "}"));
    while (t->length % 8 != 0) TSR_TRY(tsr_text_puts(t, " "));
    uint64_t length = (uint64_t)(t->length - LENGTH_BYTES);
    for (int i = 0; i < LENGTH_BYTES; i++) t->data[i] = (char)(length >> 8 * i);
    return TSR_OK;
}

static tsr_status write_header(tsr_safetensors_writer *w, const tsr_safetensors_item *items,
                               const tsr_safetensors_note *notes, int64_t n_notes)
{
    tsr_text t;
    TSR_TRY(tsr_text_init(&t, HEADER_CAP));
    tsr_status s = print_header(items, w->n_items, notes, n_notes, &t);
    if (s == TSR_OK) {
        int64_t at = w->offset[0] = t.length;
        for (int64_t i = 0; i < w->n_items; i++) w->offset[i + 1] = at += items[i].bytes;
        s = tsr_file_write(w->fd, w->new_name, 0, t.data, t.length);
        if (s == TSR_OK && ftruncate(w->fd, at) != 0)
            s = tsr_fail(TSR_ERR_IO, "%s: cannot be made %lld bytes long: %s", w->name, (long long)at,
                         strerror(errno));
    }
    tsr_text_free(&t);
    return s;
}

static tsr_status open_new(tsr_safetensors_writer *w, const char *name)
{
    if (snprintf(w->name, sizeof w->name, "%s", name) >= (int)sizeof w->name ||
        snprintf(w->new_name, sizeof w->new_name, "%s.new", name) >= (int)sizeof w->new_name)
        return tsr_fail(TSR_ERR_IO, "%s: the name is too long", name);
    w->fd = openat(w->dir, w->new_name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (w->fd < 0) return tsr_fail(TSR_ERR_IO, "%s: cannot be created: %s", w->new_name, strerror(errno));
    return TSR_OK;
}

tsr_status tsr_safetensors_writer_create(int dir, const char *name, const tsr_safetensors_item *items,
                                         int64_t n_items, const tsr_safetensors_note *notes, int64_t n_notes,
                                         tsr_safetensors_writer **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_safetensors_writer), "a safetensors file", &p));
    tsr_safetensors_writer *w = p;
    w->dir = dir;
    w->fd = -1;
    w->n_items = n_items;
    tsr_status s = tsr_calloc(n_items + 1, sizeof *w->offset, "a safetensors file", &p);
    if (s == TSR_OK) w->offset = p;
    if (s == TSR_OK) s = open_new(w, name);
    if (s == TSR_OK) s = write_header(w, items, notes, n_notes);
    if (s != TSR_OK) tsr_safetensors_writer_close(&w);
    *out = w;
    return s;
}

tsr_status tsr_safetensors_writer_put(tsr_safetensors_writer *w, int64_t item, int64_t offset,
                                      const void *bytes, int64_t n)
{
    int64_t at = w->offset[item] + offset;
    if (offset < 0 || n < 0 || n > w->offset[item + 1] - at)
        return tsr_fail(TSR_ERR_INTERNAL, "%s: %lld bytes at %lld of item %lld, which has %lld", w->name,
                        (long long)n, (long long)offset, (long long)item,
                        (long long)(w->offset[item + 1] - w->offset[item]));
    TSR_TRY(tsr_file_write(w->fd, w->name, at, bytes, n));
    start_writing(w, at, at + n);
    return TSR_OK;
}

bool tsr_safetensors_writer_copy(tsr_safetensors_writer *w, int64_t item, int64_t offset, int from,
                                 int64_t from_offset, int64_t n)
{
    off_t in = from_offset, out = w->offset[item] + offset;
    if (offset < 0 || n < 0 || n > w->offset[item + 1] - out) return false; /* putting says so */
    while (n > 0) {
        ssize_t copied = copy_file_range(from, &in, w->fd, &out, (size_t)n, 0);
        if (copied < 0 && errno == EINTR) continue;
        if (copied <= 0) return false;
        n -= copied;
    }
    start_writing(w, w->offset[item] + offset, out);
    return true;
}

tsr_status tsr_safetensors_writer_finish(tsr_safetensors_writer *w)
{
    tsr_status s = tsr_file_sync(w->fd, w->name);
    if (close(w->fd) != 0 && s == TSR_OK)
        s = tsr_fail(TSR_ERR_IO, "%s: cannot be written: %s", w->name, strerror(errno));
    w->fd = -1;
    if (s == TSR_OK && renameat(w->dir, w->new_name, w->dir, w->name) != 0)
        s = tsr_fail(TSR_ERR_IO, "%s: cannot be renamed: %s", w->new_name, strerror(errno));
    if (s == TSR_OK) w->new_name[0] = '\0';
    return s;
}

void tsr_safetensors_writer_close(tsr_safetensors_writer **writer)
{
    tsr_safetensors_writer *w = *writer;
    if (!w) return;
    if (w->fd >= 0) close(w->fd);
    if (w->new_name[0]) unlinkat(w->dir, w->new_name, 0);
    tsr_free(w->offset);
    tsr_free(w);
    *writer = NULL;
}
