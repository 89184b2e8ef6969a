/* source_identity.c: sizes, times and inodes of a source's files, and a digest of what their headers say. */
#include "checkpoint/source_identity.h"
#include "base/digest.h"
#include "checkpoint/format.h"
#include "checkpoint/sum.h"
#include "checkpoint/view.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static long long nanoseconds(struct timespec t)
{
    return (long long)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void print_stat(const struct stat *st, char *out, size_t size)
{
    snprintf(out, size, "%lld %lld %lld %llu", (long long)st->st_size, nanoseconds(st->st_mtim),
             nanoseconds(st->st_ctim), (unsigned long long)st->st_ino);
}

/* How a tensor is put together, if it is. */
static tsr_status digest_parts(tsr_digest_stream *d, const tsr_tensor_info *t)
{
    tsr_text text;
    if (!t->made_of) return TSR_OK;
    TSR_TRY(tsr_text_init(&text, TSR_TEXT_NO_CAP));
    tsr_status s = tsr_view_print(t->made_of, &text);
    if (s == TSR_OK) tsr_digest_add(d, text.data, text.length + 1);
    tsr_text_free(&text);
    return s;
}

/* Everything that was learned from the headers, in the order of the tensors. */
static tsr_status digest_tensors(const tsr_source *s, tsr_digest *out)
{
    tsr_digest_stream *d;
    tsr_status status = TSR_OK;
    TSR_TRY(tsr_digest_begin(&d));
    for (int64_t i = 0; i < tsr_source_count(s) && status == TSR_OK; i++) {
        const tsr_tensor_info *t = tsr_source_tensor(s, i);
        int64_t numbers[] = {t->dtype, t->rank, t->bytes, t->file, t->offset};
        tsr_digest_add(d, t->name, (int64_t)strlen(t->name) + 1);
        tsr_digest_add(d, t->dtype_label, (int64_t)strlen(t->dtype_label) + 1);
        tsr_digest_add(d, numbers, sizeof numbers);
        tsr_digest_add(d, t->shape, t->rank * (int64_t)sizeof t->shape[0]);
        if (t->sum_of) tsr_digest_add(d, &t->sum_of->mean, sizeof t->sum_of->mean);
        status = digest_parts(d, t);
    }
    *out = tsr_digest_take(d);
    tsr_digest_end(&d);
    return status;
}

/* The folder without links, so that the same checkpoint has one name. */
static tsr_status real_folder(const tsr_source *s, char out[PATH_MAX])
{
    const char *folder = tsr_source_folder(s);
    if (!realpath(folder, out))
        return tsr_fail(TSR_ERR_IO, "%s: where it lies cannot be found out: %s", folder, strerror(errno));
    if (strchr(out, '\n')) return tsr_fail(TSR_ERR_IO, "%s: a folder name with a line break", folder);
    return TSR_OK;
}

tsr_status tsr_source_identify(const tsr_source *s, tsr_text *out)
{
    char folder[PATH_MAX], stated[128], digest[TSR_DIGEST_TEXT];
    tsr_digest tensors;
    TSR_TRY(real_folder(s, folder));
    TSR_TRY(digest_tensors(s, &tensors));
    TSR_TRY(tsr_text_format(out, "checkpoint %s %s\n", tsr_source_format_name(s),
                            tsr_digest_text(tensors, digest)));
    for (int64_t i = 0; i < s->file_count; i++) {
        struct stat st;
        if (fstat(s->files[i].fd, &st) != 0)
            return tsr_fail(TSR_ERR_IO, "%s: its attributes cannot be read: %s", s->files[i].name,
                            strerror(errno));
        print_stat(&st, stated, sizeof stated);
        TSR_TRY(tsr_text_format(out, "file %s %s/%s\n", stated, folder, s->files[i].name));
    }
    return TSR_OK;
}

/* "SIZE MTIME CTIME INODE PATH" */
static bool file_current(const char *line, size_t n)
{
    char copy[PATH_MAX + 256], stated[128];
    struct stat st;
    int end = 0;
    if (n >= sizeof copy) return false;
    memcpy(copy, line, n);
    copy[n] = '\0';
    sscanf(copy, "%*d %*d %*d %*u %n", &end);
    if (end == 0 || copy[end] != '/' || stat(copy + end, &st) != 0) return false;
    print_stat(&st, stated, sizeof stated);
    return strncmp(copy, stated, strlen(stated)) == 0 && strlen(stated) + 1 == (size_t)end;
}

bool tsr_source_identity_current(const char *lines)
{
    static const char mark[] = "file ";
    for (const char *line = lines; *line;) {
        size_t n = strcspn(line, "\n");
        if (strncmp(line, mark, sizeof mark - 1) == 0 &&
            !file_current(line + sizeof mark - 1, n - (sizeof mark - 1)))
            return false;
        line += n + (line[n] == '\n');
    }
    return true;
}
