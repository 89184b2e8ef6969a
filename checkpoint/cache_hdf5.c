/* cache_hdf5.c: making and checking the HDF5 files of the cache. */
#include "checkpoint/cache_hdf5.h"
#include "base/memory.h"

#include <hdf5.h>
#include <pthread.h>
#include <string.h>

enum { ALIGNMENT = 4096 }; /* of the block in the file: pages of the page cache are copied whole */

static const char origin_name[] = "origin", plan_name[] = "plan", data_name[] = "weights";

/* --- One caller at a time, with errors as return values alone and no code loaded from anywhere --- */

static pthread_mutex_t hdf5_lock = PTHREAD_MUTEX_INITIALIZER;

typedef struct hdf5_state {
    H5E_auto2_t print;
    void *print_data;
    unsigned plugins;
} hdf5_state;

static void enter(hdf5_state *before)
{
    pthread_mutex_lock(&hdf5_lock);
    H5Eget_auto2(H5E_DEFAULT, &before->print, &before->print_data);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5PLget_loading_state(&before->plugins);
    H5PLset_loading_state(0);
}

static void leave(const hdf5_state *before)
{
    H5PLset_loading_state(before->plugins);
    H5Eset_auto2(H5E_DEFAULT, before->print, before->print_data);
    pthread_mutex_unlock(&hdf5_lock);
}

/* --- Writing --- */

struct tsr_cache_hdf5 {
    hid_t file, data;
};

static tsr_status failed(const char *what)
{
    return tsr_fail(TSR_ERR_IO, "libhdf5 failed: %s", what);
}

static hid_t make_dataset(hid_t file, const char *name, int64_t bytes)
{
    hsize_t extent = (hsize_t)bytes;
    hid_t space = H5Screate_simple(1, &extent, NULL), how = H5Pcreate(H5P_DATASET_CREATE), data = -1;
    bool ready = space >= 0 && how >= 0 && H5Pset_layout(how, H5D_CONTIGUOUS) >= 0 &&
                 H5Pset_alloc_time(how, H5D_ALLOC_TIME_EARLY) >= 0 &&
                 H5Pset_fill_time(how, H5D_FILL_TIME_NEVER) >= 0 && H5Pset_obj_track_times(how, false) >= 0;
    if (ready) data = H5Dcreate2(file, name, H5T_STD_U8LE, space, H5P_DEFAULT, how, H5P_DEFAULT);
    if (how >= 0) H5Pclose(how);
    if (space >= 0) H5Sclose(space);
    return data;
}

/* A text with its NUL, so that no dataset is empty. */
static bool put_text(hid_t file, const char *name, const char *text)
{
    hid_t data = make_dataset(file, name, (int64_t)strlen(text) + 1);
    if (data < 0) return false;
    herr_t wrote = H5Dwrite(data, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, text);
    return H5Dclose(data) >= 0 && wrote >= 0;
}

static hid_t open_file(const char *path, bool create)
{
    hid_t how = H5Pcreate(H5P_FILE_ACCESS), file = -1;
    if (how < 0) return -1;
    /* Our own lock file serves, also where file systems have no locks. */
    if (H5Pset_alignment(how, ALIGNMENT, ALIGNMENT) >= 0 && H5Pset_file_locking(how, false, true) >= 0)
        file = create ? H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, how) : H5Fopen(path, H5F_ACC_RDONLY, how);
    H5Pclose(how);
    return file;
}

static tsr_status create(const char *path, const tsr_cache_key *key, tsr_cache_hdf5 *h)
{
    h->file = open_file(path, true);
    if (h->file < 0) return failed("a file cannot be created");
    if (!put_text(h->file, origin_name, key->origin) || !put_text(h->file, plan_name, key->plan))
        return failed("a text cannot be written");
    h->data = make_dataset(h->file, data_name, key->bytes);
    return h->data < 0 ? failed("a dataset cannot be created") : TSR_OK;
}

static void close_all(tsr_cache_hdf5 *h)
{
    if (h->data >= 0) H5Dclose(h->data);
    if (h->file >= 0) H5Fclose(h->file);
    h->data = h->file = -1;
}

tsr_status tsr_cache_hdf5_create(const char *path, const tsr_cache_key *key, tsr_cache_hdf5 **out)
{
    void *p;
    hdf5_state before;
    *out = NULL;
    TSR_TRY(tsr_alloc(sizeof(tsr_cache_hdf5), "a cache file", &p));
    tsr_cache_hdf5 *h = p;
    *h = (tsr_cache_hdf5){-1, -1};
    enter(&before);
    tsr_status s = create(path, key, h);
    leave(&before);
    if (s != TSR_OK) tsr_cache_hdf5_destroy(&h);
    *out = h;
    return s;
}

tsr_status tsr_cache_hdf5_write(tsr_cache_hdf5 *h, int64_t offset, const void *bytes, int64_t n)
{
    hdf5_state before;
    hsize_t start = (hsize_t)offset, count = (hsize_t)n;
    enter(&before);
    hid_t here = H5Screate_simple(1, &count, NULL), there = H5Dget_space(h->data);
    bool wrote = here >= 0 && there >= 0 &&
                 H5Sselect_hyperslab(there, H5S_SELECT_SET, &start, NULL, &count, NULL) >= 0 &&
                 H5Dwrite(h->data, H5T_NATIVE_UINT8, here, there, H5P_DEFAULT, bytes) >= 0;
    if (here >= 0) H5Sclose(here);
    if (there >= 0) H5Sclose(there);
    leave(&before);
    return wrote ? TSR_OK : failed("data cannot be written (is the disk full?)");
}

tsr_status tsr_cache_hdf5_finish(tsr_cache_hdf5 **handle, int64_t *data_offset)
{
    tsr_cache_hdf5 *h = *handle;
    hdf5_state before;
    enter(&before);
    haddr_t offset = H5Dget_offset(h->data);
    bool flushed = offset != HADDR_UNDEF && H5Fflush(h->file, H5F_SCOPE_GLOBAL) >= 0;
    bool closed = H5Dclose(h->data) >= 0;
    h->data = -1;
    closed &= H5Fclose(h->file) >= 0;
    h->file = -1;
    leave(&before);
    *data_offset = (int64_t)offset;
    tsr_cache_hdf5_destroy(handle);
    return flushed && closed ? TSR_OK : failed("the file cannot be written out (is the disk full?)");
}

void tsr_cache_hdf5_destroy(tsr_cache_hdf5 **h)
{
    hdf5_state before;
    if (!*h) return;
    enter(&before);
    close_all(*h);
    leave(&before);
    tsr_free(*h);
    *h = NULL;
}

/* --- Checking --- */

static tsr_status bad(const char *name, const char *dataset, const char *found)
{
    return tsr_fail(TSR_ERR_FORMAT, "%s: not a cache file: \"%s\": %s", name, dataset, found);
}

/* Stored as plain bytes inside of this very file? */
static tsr_status check_storage(hid_t data, const char *name, const char *dataset)
{
    hid_t how = H5Dget_create_plist(data);
    if (how < 0) return bad(name, dataset, "its properties cannot be read");
    tsr_status s = TSR_OK;
    if (H5Pget_layout(how) != H5D_CONTIGUOUS)
        s = bad(name, dataset, "not stored in one piece");
    else if (H5Pget_external_count(how) != 0)
        s = bad(name, dataset, "its data lies in another file");
    else if (H5Pget_nfilters(how) != 0)
        s = bad(name, dataset, "its data went through a filter");
    H5Pclose(how);
    return s;
}

static tsr_status check_form(hid_t data, const char *name, const char *dataset, int64_t bytes)
{
    hid_t space = H5Dget_space(data), type = H5Dget_type(data);
    hsize_t extent = 0;
    tsr_status s = TSR_OK;
    if (type < 0 || H5Tequal(type, H5T_STD_U8LE) <= 0)
        s = bad(name, dataset, "its elements are not bytes");
    else if (space < 0 || H5Sget_simple_extent_type(space) != H5S_SIMPLE ||
             H5Sget_simple_extent_ndims(space) != 1 || H5Sget_simple_extent_dims(space, &extent, NULL) != 1)
        s = bad(name, dataset, "not a list of bytes");
    else if (extent != (hsize_t)bytes)
        s = tsr_fail(TSR_ERR_FORMAT, "%s: not this cache file: \"%s\" has %llu bytes, expected %lld", name,
                     dataset, (unsigned long long)extent, (long long)bytes);
    if (type >= 0) H5Tclose(type);
    if (space >= 0) H5Sclose(space);
    return s;
}

static tsr_status open_dataset(hid_t file, const char *name, const char *dataset, int64_t bytes, hid_t *out)
{
    H5L_info_t link;
    if (H5Lexists(file, dataset, H5P_DEFAULT) <= 0) return bad(name, dataset, "missing");
    if (H5Lget_info(file, dataset, &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD)
        return bad(name, dataset, "a link to somewhere else");
    hid_t data = H5Dopen2(file, dataset, H5P_DEFAULT);
    if (data < 0) return bad(name, dataset, "no dataset");
    tsr_status s = check_storage(data, name, dataset);
    if (s == TSR_OK) s = check_form(data, name, dataset, bytes);
    if (s != TSR_OK)
        H5Dclose(data);
    else
        *out = data;
    return s;
}

static tsr_status check_text(hid_t file, const char *name, const char *dataset, const char *expected)
{
    int64_t n = (int64_t)strlen(expected) + 1;
    hid_t data;
    void *found = NULL;
    TSR_TRY(open_dataset(file, name, dataset, n, &data));
    tsr_status s = tsr_alloc(n, "a text of the cache", &found);
    if (s == TSR_OK && H5Dread(data, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, found) < 0)
        s = bad(name, dataset, "cannot be read");
    if (s == TSR_OK && memcmp(found, expected, (size_t)n) != 0)
        s = bad(name, dataset, "says something else than expected");
    tsr_free(found);
    H5Dclose(data);
    return s;
}

static tsr_status check_file(hid_t file, const char *name, const tsr_cache_key *key, int64_t data_offset)
{
    H5G_info_t root;
    hid_t data;
    if (H5Gget_info(file, &root) < 0 || root.nlinks != 3)
        return bad(name, "/", "other entries than the three of a cache file");
    TSR_TRY(check_text(file, name, origin_name, key->origin));
    TSR_TRY(check_text(file, name, plan_name, key->plan));
    TSR_TRY(open_dataset(file, name, data_name, key->bytes, &data));
    haddr_t offset = H5Dget_offset(data);
    H5Dclose(data);
    if (offset != (haddr_t)data_offset) return bad(name, data_name, "not where the sidecar says");
    return TSR_OK;
}

tsr_status tsr_cache_hdf5_check(const char *path, const char *name, const tsr_cache_key *key,
                                int64_t data_offset)
{
    hdf5_state before;
    enter(&before);
    hid_t file = open_file(path, false);
    tsr_status s = file < 0 ? tsr_fail(TSR_ERR_FORMAT, "%s: libhdf5 cannot open it", name)
                            : check_file(file, name, key, data_offset);
    if (file >= 0) H5Fclose(file);
    leave(&before);
    return s;
}
