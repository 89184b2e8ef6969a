/* test_cache.c: the cache of blocks: what was stored comes back, what was not stored never does. */
#include "base/checked.h"
#include "base/memory.h"
#include "checkpoint/cache.h"
#include "checkpoint/cache_hdf5.h"
#include "checkpoint/cache_sidecar.h"
#include "checkpoint/source_identity.h"
#include "support_safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <hdf5.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

enum { BYTES = TSR_CACHE_PART_BYTES * 2 + 12345 }; /* three parts, the last one short */

static char folder[ST_PATH], inner[ST_PATH + 8];
static char *block, *back;
static const tsr_cache_key key = {"tessera 1\nrank 0 of 2\n", "w 0 100\n", BYTES};
static const char *const names[] = {".h5", ".json"};

static int set_up(void **state)
{
    (void)state;
    st_folder_create(folder);
    snprintf(inner, sizeof inner, "%s/cache", folder);
    block = malloc(BYTES);
    back = malloc(BYTES);
    uint64_t x = 88172645463325252u;
    for (int64_t i = 0; i < BYTES; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        block[i] = (char)x;
    }
    return block && back ? 0 : 1;
}

static void empty_cache(void)
{
    st_folder_remove(inner);
}

static int tear_down(void **state)
{
    (void)state;
    empty_cache();
    st_folder_remove(folder);
    free(block);
    free(back);
    return 0;
}

static tsr_status store(const tsr_cache_key *k)
{
    tsr_cache *c;
    tsr_cache_writer *w;
    TSR_TRY(tsr_cache_open(inner, &c));
    tsr_status s = tsr_cache_writer_open(c, k, &w);
    if (s == TSR_OK && w) s = tsr_cache_writer_put(w, block, 1000);
    if (s == TSR_OK && w) s = tsr_cache_writer_put(w, block + 1000, k->bytes - 1000);
    if (s == TSR_OK && w) s = tsr_cache_writer_finish(w);
    tsr_cache_writer_close(&w);
    tsr_cache_close(&c);
    return s;
}

/* Into `back`. *found is false if there is no entry. */
static tsr_status load(const tsr_cache_key *k, bool *found)
{
    tsr_cache *c;
    tsr_cache_reader *r;
    *found = false;
    TSR_TRY(tsr_cache_open(inner, &c));
    tsr_status s = tsr_cache_reader_open(c, k, &r);
    *found = r != NULL;
    for (int64_t i = 0; r && s == TSR_OK && i < tsr_cache_parts(k->bytes); i++)
        s = tsr_cache_reader_part(r, i, back + i * TSR_CACHE_PART_BYTES);
    tsr_cache_reader_close(&r);
    tsr_cache_close(&c);
    return s;
}

static void must_load(void)
{
    bool found;
    memset(back, 0, BYTES);
    if (load(&key, &found) != TSR_OK) fail_msg("%s", tsr_error_text());
    assert_true(found);
    assert_memory_equal(back, block, BYTES);
}

static void must_refuse(const char *pattern)
{
    bool found;
    tsr_status s = load(&key, &found);
    if (s == TSR_OK) fail_msg("accepted, though: %s", pattern);
    if (!strstr(tsr_error_text(), pattern)) fail_msg("\"%s\" does not say \"%s\"", tsr_error_text(), pattern);
}

/* Path of one of the entry's files; there is one entry. */
static void entry_path(const char *ending, char out[ST_PATH])
{
    DIR *d = opendir(inner);
    size_t n = strlen(ending);
    assert_non_null(d);
    *out = '\0';
    for (struct dirent *e; (e = readdir(d));)
        if (strlen(e->d_name) == 32 + n && strcmp(e->d_name + 32, ending) == 0)
            st_path(out, inner, e->d_name);
    closedir(d);
    assert_true(*out);
}

static void flip(const char *path, int64_t at, int bit)
{
    int fd = open(path, O_RDWR);
    unsigned char byte = 0;
    assert_true(fd >= 0 && pread(fd, &byte, 1, at) == 1);
    byte ^= (unsigned char)(1 << bit);
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static int64_t size_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

static void test_comes_back(void **state)
{
    (void)state;
    bool found;
    empty_cache();
    assert_int_equal(load(&key, &found), TSR_OK);
    assert_false(found);
    assert_int_equal(store(&key), TSR_OK);
    must_load();
    assert_int_equal(store(&key), TSR_OK); /* replaces */
    must_load();
}

static void test_other_keys(void **state)
{
    (void)state;
    const tsr_cache_key others[] = {{"tessera 2\nrank 0 of 2\n", key.plan, BYTES},
                                    {key.origin, "w 0 101\n", BYTES},
                                    {key.origin, key.plan, BYTES - 1},
                                    {"tessera 1\nrank 0 of 2\nw 0 ", "100\n", BYTES}};
    bool found;
    empty_cache();
    assert_int_equal(store(&key), TSR_OK);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_int_equal(load(&others[i], &found), TSR_OK);
        assert_false(found);
    }
}

static void test_damage(void **state)
{
    (void)state;
    char h5[ST_PATH], json[ST_PATH];
    empty_cache();
    assert_int_equal(store(&key), TSR_OK);
    entry_path(".h5", h5);
    entry_path(".json", json);
    int64_t n = size_of(h5), frame = n - BYTES;
    const int64_t places[] = {0, 9, 100, frame - 1, frame, frame + 5, n / 2, n - 1};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        flip(h5, places[i], (int)(i % 8));
        must_refuse("damaged");
        flip(h5, places[i], (int)(i % 8));
    }
    must_load();
    for (int64_t at = 0; at < size_of(json); at += 7) {
        bool found;
        flip(json, at, (int)(at % 7));
        if (load(&key, &found) == TSR_OK) assert_memory_equal(back, block, BYTES); /* a blank or a text */
        flip(json, at, (int)(at % 7));
    }
    assert_int_equal(truncate(json, size_of(json) / 2), 0);
    must_refuse("json");
    assert_int_equal(store(&key), TSR_OK);
    assert_int_equal(truncate(h5, n - 1), 0);
    must_refuse("bytes");
    unlink(h5);
    must_refuse("missing");
    assert_int_equal(store(&key), TSR_OK);
    must_load();
}

static void test_sidecar_of_another_entry(void **state)
{
    (void)state;
    const tsr_cache_key other = {"tessera 1\nrank 1 of 2\n", key.plan, BYTES};
    char h5[ST_PATH], json[ST_PATH], h5_aside[ST_PATH], json_aside[ST_PATH];
    empty_cache();
    assert_int_equal(store(&key), TSR_OK);
    entry_path(".h5", h5);
    entry_path(".json", json);
    st_path(h5_aside, folder, "h5");
    st_path(json_aside, folder, "json");
    empty_cache();
    assert_int_equal(store(&other), TSR_OK);
    entry_path(".h5", h5_aside);
    entry_path(".json", json_aside);
    assert_int_equal(rename(h5_aside, h5), 0);
    assert_int_equal(rename(json_aside, json), 0);
    must_refuse("another entry");
}

static void test_places(void **state)
{
    (void)state;
    char path[ST_PATH], aside[ST_PATH];
    for (int i = 0; i < 2; i++) {
        empty_cache();
        assert_int_equal(store(&key), TSR_OK);
        entry_path(names[i], path);
        st_path(aside, folder, "aside");
        assert_int_equal(rename(path, aside), 0);
        assert_int_equal(symlink(aside, path), 0);
        must_refuse("symbolic link");
        unlink(path);
        assert_int_equal(mkfifo(path, 0600), 0);
        must_refuse("not a regular file");
        unlink(path);
        assert_int_equal(mkdir(path, 0700), 0);
        must_refuse("not a regular file");
        rmdir(path);
        assert_int_equal(rename(aside, path), 0);
        assert_int_equal(chmod(path, 0620), 0);
        must_refuse("others than this user");
        assert_int_equal(chmod(path, 0600), 0);
        must_load();
    }
}

static void test_folder(void **state)
{
    (void)state;
    tsr_cache *c;
    char link[ST_PATH + 16];
    empty_cache();
    assert_int_equal(tsr_cache_open(inner, &c), TSR_OK);
    tsr_cache_close(&c);
    const int modes[] = {0701, 0710, 0777, 0750, 01777};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        assert_int_equal(chmod(inner, (mode_t)modes[i]), 0);
        assert_int_equal(tsr_cache_open(inner, &c), TSR_ERR_IO);
        assert_null(c);
    }
    assert_int_equal(chmod(inner, 0700), 0);
    snprintf(link, sizeof link, "%s/link", folder);
    assert_int_equal(symlink(inner, link), 0);
    assert_int_equal(tsr_cache_open(link, &c), TSR_ERR_IO);
    snprintf(link, sizeof link, "%s/link/", folder);
    assert_int_equal(tsr_cache_open(link, &c), TSR_ERR_IO);
    snprintf(link, sizeof link, "%s/no/such", folder);
    assert_int_equal(tsr_cache_open(link, &c), TSR_ERR_IO);
    assert_int_not_equal(tsr_cache_open("", &c), TSR_OK);
}

/* --- HDF5 files that are not ours, with sidecars that fit them --- */

static void write_sidecar_for(const char *h5, const char *json, int64_t data_offset)
{
    FILE *f = fopen(h5, "rb");
    int64_t n = size_of(h5);
    char *all = malloc((size_t)n + 1);
    assert_true(f && all && fread(all, 1, (size_t)n, f) == (size_t)n);
    fclose(f);
    tsr_cache_sidecar s;
    FILE *old = fopen(json, "rb");
    char text[4096];
    size_t length = fread(text, 1, sizeof text, old);
    fclose(old);
    assert_int_equal(tsr_cache_sidecar_parse(text, (int64_t)length, "json", &s), TSR_OK);
    s.file_bytes = n;
    s.data_offset = data_offset;
    char *frame = malloc((size_t)(n - s.data_bytes) + 1);
    memcpy(frame, all, (size_t)data_offset);
    memcpy(frame + data_offset, all + data_offset + s.data_bytes, (size_t)(n - data_offset - s.data_bytes));
    s.frame = tsr_digest_of(frame, n - s.data_bytes);
    for (int64_t i = 0; i < s.n_parts; i++)
        s.parts[i] = tsr_digest_of(all + data_offset + i * TSR_CACHE_PART_BYTES,
                                   tsr_cache_part_bytes(s.data_bytes, i));
    tsr_text out;
    assert_int_equal(tsr_text_init(&out, 1 << 20), TSR_OK);
    assert_int_equal(tsr_cache_sidecar_print(&s, &out), TSR_OK);
    FILE *new = fopen(json, "wb");
    assert_true(fwrite(out.data, 1, (size_t)out.length, new) == (size_t)out.length && fclose(new) == 0);
    tsr_text_free(&out);
    tsr_cache_sidecar_free(&s);
    free(frame);
    free(all);
}

enum {
    HONEST,
    EXTERNAL_LINK,
    SOFT_LINK,
    EXTERNAL_STORAGE,
    VIRTUAL,
    CHUNKED,
    DEFLATED,
    SHORT,
    WIDE,
    MATRIX,
    FOURTH,
    KINDS
};

static hid_t bytes_dataset(hid_t file, const char *name, int64_t n, int kind, const char *secret)
{
    hsize_t extent[2] = {(hsize_t)n, 1}, chunk = 1 << 20;
    hid_t space = H5Screate_simple(kind == MATRIX ? 2 : 1, extent, NULL), how = H5Pcreate(H5P_DATASET_CREATE);
    hid_t type = kind == WIDE ? H5T_STD_U16LE : H5T_STD_U8LE;
    if (kind == CHUNKED || kind == DEFLATED) H5Pset_chunk(how, 1, &chunk);
    if (kind == DEFLATED) H5Pset_deflate(how, 1);
    if (kind == EXTERNAL_STORAGE) H5Pset_external(how, secret, 0, (hsize_t)n);
    if (kind == VIRTUAL) {
        hid_t from = H5Screate_simple(1, extent, NULL);
        H5Pset_virtual(how, space, secret, "x", from);
        H5Sclose(from);
    }
    hid_t data = H5Dcreate2(file, name, type, space, H5P_DEFAULT, how, H5P_DEFAULT);
    H5Pclose(how);
    H5Sclose(space);
    return data;
}

static void put_dataset(hid_t file, const char *name, const void *bytes, int64_t n)
{
    hid_t data = bytes_dataset(file, name, n, HONEST, NULL);
    assert_true(data >= 0 && H5Dwrite(data, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes) >= 0);
    H5Dclose(data);
}

/* Writes a file of this kind at the place of the entry's; a guess at where its data lies. */
static int64_t make_foreign(const char *h5, const char *secret, int kind)
{
    hid_t file = H5Fcreate(h5, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    haddr_t at = HADDR_UNDEF;
    assert_true(file >= 0);
    put_dataset(file, "origin", key.origin, (int64_t)strlen(key.origin) + 1);
    put_dataset(file, "plan", key.plan, (int64_t)strlen(key.plan) + 1);
    put_dataset(file, "padding", block, BYTES); /* so that the file is long enough whatever the kind */
    if (kind != FOURTH) H5Ldelete(file, "padding", H5P_DEFAULT);
    if (kind == EXTERNAL_LINK) {
        assert_true(H5Lcreate_external(secret, "x", file, "weights", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    } else if (kind == SOFT_LINK) {
        assert_true(H5Lcreate_soft("/plan", file, "weights", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    } else {
        hid_t data = bytes_dataset(file, "weights", kind == SHORT ? BYTES - 1 : BYTES, kind, secret);
        assert_true(data >= 0);
        if (kind == HONEST || kind >= CHUNKED)
            assert_true(H5Dwrite(data, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, block) >= 0);
        at = H5Dget_offset(data);
        H5Dclose(data);
    }
    H5Fclose(file);
    if (size_of(h5) < BYTES + 8192) assert_int_equal(truncate(h5, BYTES + 8192), 0);
    return at == HADDR_UNDEF ? 4096 : (int64_t)at;
}

static void test_foreign_structures(void **state)
{
    (void)state;
    static const char *const says[KINDS] = {[EXTERNAL_LINK] = "link",
                                            [SOFT_LINK] = "link",
                                            [EXTERNAL_STORAGE] = "another file",
                                            [VIRTUAL] = "not stored in one",
                                            [CHUNKED] = "not stored in one",
                                            [DEFLATED] = "not stored in one",
                                            [SHORT] = "bytes, expected",
                                            [WIDE] = "not bytes",
                                            [MATRIX] = "not a list",
                                            [FOURTH] = "other entries"};
    char h5[ST_PATH], json[ST_PATH], secret[ST_PATH];
    empty_cache();
    assert_int_equal(store(&key), TSR_OK);
    entry_path(".h5", h5);
    entry_path(".json", json);
    st_path(secret, folder, "secret");
    st_write_bytes(folder, "secret", block, BYTES);
    for (int kind = 0; kind < KINDS; kind++) {
        int64_t at = make_foreign(h5, secret, kind);
        write_sidecar_for(h5, json, at);
        if (kind == HONEST)
            must_load();
        else
            must_refuse(says[kind]);
    }
    unlink(secret);
    st_write_bytes(inner, strrchr(h5, '/') + 1, block, BYTES + 0); /* no HDF5 at all */
    assert_int_equal(truncate(h5, BYTES + 8192), 0);
    write_sidecar_for(h5, json, 4096);
    must_refuse("libhdf5 cannot open");
}

/* --- Writers that die, and two at once --- */

static void test_killed_writers(void **state)
{
    (void)state;
    const char *wanted = getenv("TSR_TEST_KILLS");
    int kills = wanted ? atoi(wanted) : 12, seen = 0;
    struct timespec begin, end;
    empty_cache();
    clock_gettime(CLOCK_MONOTONIC, &begin);
    assert_int_equal(store(&key), TSR_OK);
    clock_gettime(CLOCK_MONOTONIC, &end);
    double whole = (double)(end.tv_sec - begin.tv_sec) * 1e6 + (double)(end.tv_nsec - begin.tv_nsec) / 1e3;
    srand(7);
    for (int i = 0; i < kills; i++) {
        bool found;
        if (i % 3 == 0) empty_cache(); /* else over what is there */
        pid_t child = fork();
        if (child == 0) _exit(store(&key));
        usleep((useconds_t)(whole * 1.2 * (double)rand() / RAND_MAX));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        memset(back, 0, BYTES);
        if (load(&key, &found) != TSR_OK) fail_msg("after a kill: %s", tsr_error_text());
        if (found) assert_memory_equal(back, block, BYTES);
        seen += found;
    }
    print_message("%d kills, %d times an entry was there\n", kills, seen);
    assert_int_equal(store(&key), TSR_OK); /* whatever was left is no obstacle */
    must_load();
}

static void test_two_writers(void **state)
{
    (void)state;
    tsr_cache *c;
    tsr_cache_writer *first, *second;
    empty_cache();
    assert_int_equal(tsr_cache_open(inner, &c), TSR_OK);
    assert_int_equal(tsr_cache_writer_open(c, &key, &first), TSR_OK);
    assert_non_null(first);
    assert_int_equal(tsr_cache_writer_open(c, &key, &second), TSR_OK);
    assert_null(second);
    assert_int_equal(tsr_cache_writer_put(first, block, BYTES - 1), TSR_OK);
    assert_int_equal(tsr_cache_writer_put(first, block, 2), TSR_ERR_INTERNAL);
    assert_int_equal(tsr_cache_writer_finish(first), TSR_ERR_INTERNAL); /* a byte is missing */
    assert_int_equal(tsr_cache_writer_put(first, block + BYTES - 1, 1), TSR_OK);
    assert_int_equal(tsr_cache_writer_finish(first), TSR_OK);
    tsr_cache_writer_close(&first);
    tsr_cache_close(&c);
    must_load();
}

/* --- Listing --- */

typedef struct seen_entries {
    int count, state[8];
    char name[8][64], origin[64];
} seen_entries;

static tsr_status see(void *context, const tsr_cache_entry *e)
{
    seen_entries *s = context;
    assert_true(s->count < 8);
    s->state[s->count] = (int)e->state;
    snprintf(s->origin, sizeof s->origin, "%s", e->origin);
    snprintf(s->name[s->count++], 64, "%s", e->name);
    return TSR_OK;
}

static void test_listing(void **state)
{
    (void)state;
    char h5[ST_PATH], origin[1024];
    seen_entries seen = {0};
    tsr_cache *c;
    struct stat st;
    empty_cache();
    st_write_text(folder, "model", "contents");
    st_path(h5, folder, "model");
    assert_int_equal(stat(h5, &st), 0);
    snprintf(origin, sizeof origin, "file %lld %lld %lld %llu %s\n", (long long)st.st_size,
             (long long)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec,
             (long long)st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec, (unsigned long long)st.st_ino,
             h5);
    const tsr_cache_key small = {origin, "p", 5000};
    assert_int_equal(store(&small), TSR_OK);
    st_write_text(inner, "notes.txt", "not ours");
    assert_int_equal(tsr_cache_open(inner, &c), TSR_OK);
    assert_int_equal(tsr_cache_list(c, see, &seen), TSR_OK);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.state[0], TSR_CACHE_GOOD);
    assert_string_equal(strncmp(seen.origin, "file ", 5) == 0 ? "file" : seen.origin, "file");
    st_write_text(folder, "model", "CONTENTS"); /* as long as before */
    seen.count = 0;
    assert_int_equal(tsr_cache_list(c, see, &seen), TSR_OK);
    assert_int_equal(seen.state[0], TSR_CACHE_STALE);
    entry_path(".json", h5);
    unlink(h5);
    seen.count = 0;
    assert_int_equal(tsr_cache_list(c, see, &seen), TSR_OK);
    assert_int_equal(seen.state[0], TSR_CACHE_BROKEN);
    assert_int_equal(tsr_cache_remove(c, seen.name[0]), TSR_OK);
    seen.count = 0;
    assert_int_equal(tsr_cache_list(c, see, &seen), TSR_OK);
    assert_int_equal(seen.count, 0);
    st_path(h5, inner, "notes.txt");
    assert_int_equal(size_of(h5), 8);
    tsr_cache_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_comes_back),
        cmocka_unit_test(test_other_keys),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_sidecar_of_another_entry),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_foreign_structures),
        cmocka_unit_test(test_killed_writers),
        cmocka_unit_test(test_two_writers),
        cmocka_unit_test(test_listing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
