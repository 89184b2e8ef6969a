/* fuzz_safetensors.c: any bytes as a .safetensors file: refused with a line, or every tensor of it can be
 * read. */
#include "base/memory.h"
#include "checkpoint/format.h"
#include "checkpoint/view.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LARGEST_READ = 1 << 16 }; /* elements: what fits into a file of the fuzzer's size */

static void need(bool ok)
{
    if (!ok) abort();
}

/* A memory file holding the input; written again for each one. */
static int input_file(const uint8_t *data, size_t size)
{
    static int fd = -1;
    if (fd < 0) fd = memfd_create("fuzz.safetensors", MFD_CLOEXEC);
    need(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    return dup(fd);
}

/* An accepted float tensor lies in the file: reading it, also turned around, must work. */
static void read_tensor(const tsr_source *source, const tsr_tensor_info *t)
{
    static float out[LARGEST_READ];
    const tsr_view *v;
    tsr_arena *arena;
    need(tsr_arena_create("views under test", &arena) == TSR_OK);
    need(tsr_view_tensor(arena, t->name, t->rank, t->shape, &v) == TSR_OK);
    if (tsr_view_check(v, source, NULL) == TSR_OK && tsr_view_elements(v) <= LARGEST_READ) {
        need(tsr_view_read_f32(v, source, NULL, 0, tsr_view_rows(v), out) == TSR_OK);
        if (t->rank == 2) {
            need(tsr_view_transpose(arena, v, &v) == TSR_OK);
            need(tsr_view_read_f32(v, source, NULL, 0, tsr_view_rows(v), out) == TSR_OK);
        }
    }
    tsr_arena_destroy(&arena);
}

static void read_source(const tsr_source *source)
{
    char byte;
    for (int64_t i = 0; i < tsr_source_count(source) && i < 64; i++) {
        const tsr_tensor_info *t = tsr_source_tensor(source, i);
        need(tsr_source_find(source, t->name) == t);
        if (t->bytes > 0) need(tsr_source_read(source, t, t->bytes - 1, 1, &byte) == TSR_OK);
        read_tensor(source, t);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tsr_source *source;
    int file;
    tsr_error_clear();
    need(tsr_source_create(NULL, &source) == TSR_OK);
    need(tsr_source_add_fd(source, input_file(data, size), "fuzz.safetensors", &file) == TSR_OK);
    tsr_status status = tsr_safetensors_list(source, file);
    if (status == TSR_OK) status = tsr_source_finish(source);
    if (status == TSR_OK)
        read_source(source);
    else
        need(status == TSR_ERR_FORMAT && *tsr_error_text());
    tsr_source_destroy(&source);
    return 0;
}
