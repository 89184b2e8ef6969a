/* weights.c: plans where each weight goes, then lets the pool's threads fill the block part by part. */
#include "runtime/weights.h"
#include "base/checked.h"
#include "layers/cpu/pack.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum { ALIGN_BYTES = 64, PART_BYTES = 4 << 20 };

struct tsr_weights {
    int64_t n;
    tsr_weight_data *data; /* [n]; data NULL where unused */
    bool *linear;          /* [n] used by a linear */
    void *block;
    int64_t bytes, linear_bytes;
};

/* --- Planning --- */

void tsr_weights_find_uses(const tsr_model *m, bool *used, bool *linear)
{
    for (int i = 0; i < m->n_graphs; i++)
        for (int64_t k = 0; k < m->graphs[i].n_nodes; k++) {
            const tsr_node *n = &m->graphs[i].nodes[k];
            for (int j = 0; j < n->n_weights; j++)
                if (n->weight[j] != TSR_NONE) used[n->weight[j]] = true;
            if (tsr_op_table[n->op].shard == TSR_SHARD_LINEAR) linear[n->weight[0]] = true;
        }
}

static int64_t stored_bytes(const tsr_weight_data *d)
{
    if (d->pack == TSR_PACK_PANELS) return tsr_packed_bytes(d->dtype, d->rows, d->cols);
    return d->rows * d->cols * tsr_dtype_bytes(d->dtype);
}

/* Fills in form and size; the address is an offset until the block exists. */
static tsr_status plan(const tsr_model *m, tsr_weights *w, const bool *used, tsr_dtype dtype, int64_t *offset)
{
    int64_t at = 0;
    for (tsr_weight i = 0; i < w->n; i++) {
        const tsr_weight_info *info = &m->weights[i];
        tsr_weight_data *d = &w->data[i];
        *d = (tsr_weight_data){info->is_vector ? TSR_F32 : dtype,
                               w->linear[i] ? TSR_PACK_PANELS : TSR_PACK_ROWS, info->rows, info->cols, NULL};
        if (!used[i]) continue;
        offset[i] = at;
        int64_t bytes = stored_bytes(d);
        if (!tsr_add(at, tsr_round_up(bytes, ALIGN_BYTES), &at))
            return tsr_fail(TSR_ERR_CAPACITY, "the weights are too large for this machine");
        if (w->linear[i]) w->linear_bytes += bytes;
    }
    w->bytes = at;
    return TSR_OK;
}

/* What lies where in the block, in which form, made how: for the cache's key. */
static tsr_status describe_plan(const tsr_model *m, const tsr_weights *w, tsr_text *out)
{
    TSR_TRY(tsr_text_format(out, "layout cpu 1: panels of %d rows, depth %d; prefix \"%s\"\n", TSR_PANEL,
                            TSR_PANEL_DEPTH, m->name_prefix ? m->name_prefix : ""));
    for (tsr_weight i = 0; i < w->n; i++) {
        const tsr_weight_data *d = &w->data[i];
        if (!d->data) continue;
        TSR_TRY(tsr_text_format(out, "%lld %s %s [%lld,%lld] ",
                                (long long)((const char *)d->data - (const char *)w->block),
                                tsr_dtype_name(d->dtype), d->pack == TSR_PACK_PANELS ? "panels" : "rows",
                                (long long)d->rows, (long long)d->cols));
        if (m->weights[i].view)
            TSR_TRY(tsr_view_print(m->weights[i].view, out));
        else
            TSR_TRY(tsr_text_puts(out, m->weights[i].name));
        TSR_TRY(tsr_text_puts(out, "\n"));
    }
    return TSR_OK;
}

/* --- Filling --- */

typedef struct fill_job {
    const tsr_model *model;
    const tsr_source *source; /* NULL: random */
    tsr_weights *weights;
    uint64_t seed;
    atomic_llong next; /* the next part to take; parts are numbered through all weights */
    pthread_mutex_t lock;
    tsr_status status; /* the first failure, under the lock */
    char error[1024];
} fill_job;

static int64_t rows_per_part(const tsr_weight_data *d)
{
    int64_t row_bytes = tsr_max(d->cols * tsr_dtype_bytes(d->dtype), 1);
    if (d->cols == 1) return tsr_max(d->rows, 1);
    return tsr_max(tsr_min(PART_BYTES / row_bytes, 4096) / TSR_PANEL, 1) * TSR_PANEL;
}

static int64_t parts_of(const tsr_weight_data *d)
{
    int64_t per = rows_per_part(d);
    return d->data ? (d->rows + per - 1) / per : 0;
}

static uint64_t mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

bool tsr_weights_is_scale(const char *name)
{
    size_t length = strlen(name);
    return length >= 6 && strcmp(name + length - 6, "weight") == 0;
}

/* Uniform numbers of standard deviation 0.02; norm scales (vectors named *.weight) are 1, biases 0. */
static void random_rows(const fill_job *job, tsr_weight i, int64_t begin, int64_t end, tsr_dtype as,
                        void *out)
{
    const tsr_weight_info *info = &job->model->weights[i];
    bool scale = tsr_weights_is_scale(info->name);
    int64_t n = (end - begin) * info->cols;
    for (int64_t k = 0; k < n; k++) {
        float unit =
            (float)(mix(job->seed ^ ((uint64_t)i << 40) ^ (uint64_t)(begin * info->cols + k)) >> 40) *
            0x1p-23f;
        float value = info->is_vector ? (float)scale : (unit - 1) * 0.0346f;
        tsr_from_f32(as, &value, (char *)out + k * tsr_dtype_bytes(as), 1);
    }
}

static void pack_rows(const tsr_weight_data *d, int64_t begin, int64_t end, const char *rows)
{
    char *panels = (char *)d->data;
    int64_t row_bytes = d->cols * tsr_dtype_bytes(d->dtype), panel_bytes = tsr_panel_bytes(d->dtype, d->cols);
    for (int64_t r = begin; r < end; r += TSR_PANEL)
        tsr_pack_panel(d->dtype, rows + (r - begin) * row_bytes, tsr_min(TSR_PANEL, end - r), d->cols,
                       panels + r / TSR_PANEL * panel_bytes);
}

static tsr_status compute_rows(const tsr_weight_info *info, int64_t begin, int64_t end, tsr_dtype as,
                               char *out)
{
    void *row;
    TSR_TRY(tsr_alloc(info->cols * (int64_t)sizeof(float), "a computed row", &row));
    for (int64_t r = begin; r < end; r++, out += info->cols * tsr_dtype_bytes(as)) {
        info->rule(r, info->cols, row);
        tsr_from_f32(as, row, out, info->cols);
    }
    tsr_free(row);
    return TSR_OK;
}

/* As tsr_view_read, each row multiplied by the weight's scale, or divided by its length; rows of zeros stay. */
static tsr_status read_scaled_rows(const tsr_model *model, const tsr_source *source, tsr_weight i,
                                   int64_t begin, int64_t end, tsr_dtype as, char *out)
{
    const tsr_weight_info *info = &model->weights[i];
    int64_t cols = info->cols;
    void *p;
    TSR_TRY(tsr_alloc((end - begin) * cols * (int64_t)sizeof(float), "a loading buffer", &p));
    float *rows = p;
    tsr_status s = tsr_view_read_f32(info->view, source, model->name_prefix, begin, end, rows);
    for (int64_t r = 0; r < end - begin && s == TSR_OK; r++) {
        float *row = rows + r * cols;
        double squares = 0;
        for (int64_t c = 0; c < cols; c++) squares += (double)row[c] * row[c];
        double length = fmax(sqrt(squares), 1e-12);
        double factor = (info->scale != 0 ? (double)info->scale : 1) / (info->unit_rows ? length : 1);
        for (int64_t c = 0; c < cols; c++) row[c] = (float)(row[c] * factor);
        tsr_from_f32(as, row, out + r * cols * tsr_dtype_bytes(as), cols);
    }
    tsr_free(p);
    return s;
}

tsr_status tsr_weights_read_rows(const tsr_model *model, const tsr_source *source, tsr_weight weight,
                                 int64_t begin, int64_t end, tsr_dtype as, void *out)
{
    const tsr_weight_info *info = &model->weights[weight];
    if (info->rule) return compute_rows(info, begin, end, as, out);
    if (info->unit_rows || info->scale != 0)
        return read_scaled_rows(model, source, weight, begin, end, as, out);
    return tsr_view_read(info->view, source, model->name_prefix, begin, end, as, out);
}

static tsr_status fill_part(const fill_job *job, tsr_weight i, int64_t part, void *buffer)
{
    const tsr_weight_data *d = &job->weights->data[i];
    int64_t per = rows_per_part(d), begin = part * per, end = tsr_min(begin + per, d->rows);
    bool in_place = d->pack == TSR_PACK_ROWS;
    char *rows = in_place ? (char *)d->data + begin * d->cols * tsr_dtype_bytes(d->dtype) : buffer;
    if (job->source || job->model->weights[i].rule)
        TSR_TRY(tsr_weights_read_rows(job->model, job->source, i, begin, end, d->dtype, rows));
    else
        random_rows(job, i, begin, end, d->dtype, rows);
    if (!in_place) pack_rows(d, begin, end, rows);
    return TSR_OK;
}

static int64_t largest_part(const tsr_weights *w)
{
    int64_t bytes = 0;
    for (int64_t i = 0; i < w->n; i++)
        if (w->data[i].data && w->data[i].pack == TSR_PACK_PANELS)
            bytes = tsr_max(bytes, tsr_min(rows_per_part(&w->data[i]), w->data[i].rows) * w->data[i].cols *
                                       tsr_dtype_bytes(w->data[i].dtype));
    return bytes;
}

static tsr_status fill_parts(fill_job *job, void *buffer)
{
    int64_t number = 0;
    long long mine = atomic_fetch_add(&job->next, 1);
    for (tsr_weight i = 0; i < job->weights->n; i++)
        for (int64_t p = 0; p < parts_of(&job->weights->data[i]); p++, number++) {
            if (number != mine) continue;
            TSR_TRY(fill_part(job, i, p, buffer));
            mine = atomic_fetch_add(&job->next, 1);
        }
    return TSR_OK;
}

static void fill(void *arg, int thread, int n_threads)
{
    (void)thread, (void)n_threads;
    fill_job *job = arg;
    void *buffer = NULL;
    tsr_status s = tsr_alloc(largest_part(job->weights), "a loading buffer", &buffer);
    if (s == TSR_OK) s = fill_parts(job, buffer);
    tsr_free(buffer);
    if (s == TSR_OK) return;
    pthread_mutex_lock(&job->lock); /* error records belong to threads: carry this one over */
    if (job->status == TSR_OK) {
        job->status = s;
        snprintf(job->error, sizeof job->error, "%s", tsr_error_text());
    }
    pthread_mutex_unlock(&job->lock);
    atomic_store(&job->next, INT64_MAX / 2); /* the others stop taking parts */
}

static tsr_status fill_all(fill_job *job, tsr_pool *pool)
{
    tsr_pool_run(pool, fill, job);
    return job->status == TSR_OK ? TSR_OK : tsr_fail(job->status, "%s", job->error);
}

/* From the cache, or from the checkpoint and then into the cache. */
static tsr_status fill_by_cache(fill_job *job, tsr_weights_cache *cache, tsr_pool *pool)
{
    tsr_weights *w = job->weights;
    tsr_text plan;
    TSR_TRY(tsr_text_init(&plan, TSR_CACHE_TEXT_CAP - 1));
    tsr_status s = describe_plan(job->model, w, &plan);
    if (s == TSR_OK && !tsr_weights_cache_load(cache, plan.data, w->bytes, pool, w->block)) {
        s = fill_all(job, pool);
        if (s == TSR_OK) tsr_weights_cache_store(cache, plan.data, w->bytes, w->block);
    }
    tsr_text_free(&plan);
    return s;
}

tsr_status tsr_weights_load(const tsr_model *local, const tsr_source *source, tsr_weights_cache *cache,
                            tsr_dtype dtype, uint64_t seed, tsr_pool *pool, tsr_weights **out)
{
    void *p, *used = NULL, *offset = NULL;
    tsr_status status;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_weights), "the weights", &p));
    tsr_weights *w = p;
    fill_job job = {
        .model = local, .source = source, .weights = w, .seed = seed, .lock = PTHREAD_MUTEX_INITIALIZER};
    w->n = local->n_weights;
    TSR_TRY_OUT(tsr_calloc(w->n, sizeof *w->data, "the weights", &p));
    w->data = p;
    TSR_TRY_OUT(tsr_calloc(w->n, sizeof(bool), "the weights", &p));
    w->linear = p;
    TSR_TRY_OUT(tsr_calloc(w->n, sizeof(bool), "the weights", &used));
    TSR_TRY_OUT(tsr_calloc(w->n, sizeof(int64_t), "the weights", &offset));
    tsr_weights_find_uses(local, used, w->linear);
    TSR_TRY_OUT(plan(local, w, used, dtype, offset));
    TSR_TRY_OUT(tsr_alloc_large(w->bytes, "the weights", &w->block));
    for (int64_t i = 0; i < w->n; i++)
        if (((bool *)used)[i]) w->data[i].data = (char *)w->block + ((int64_t *)offset)[i];
    status = cache && source ? fill_by_cache(&job, cache, pool) : fill_all(&job, pool);
out:
    tsr_free(used);
    tsr_free(offset);
    if (status != TSR_OK) tsr_weights_destroy(&w);
    *out = w;
    return status;
}

void tsr_weights_destroy(tsr_weights **w)
{
    if (!*w) return;
    tsr_free_large((*w)->block, (*w)->bytes);
    tsr_free((*w)->data);
    tsr_free((*w)->linear);
    tsr_free(*w);
    *w = NULL;
}

const tsr_weight_data *tsr_weights_get(const tsr_weights *w, tsr_weight weight)
{
    return weight == TSR_NONE || !w->data[weight].data ? NULL : &w->data[weight];
}

int64_t tsr_weights_bytes(const tsr_weights *w)
{
    return w->bytes;
}

int64_t tsr_weights_linear_bytes(const tsr_weights *w)
{
    return w->linear_bytes;
}

tsr_status tsr_weights_natural_dtype(const tsr_model *model, const tsr_source *source, tsr_dtype *out)
{
    int64_t most = -1;
    *out = TSR_F32;
    for (int64_t i = 0; i < model->n_weights; i++) {
        const tsr_weight_info *info = &model->weights[i];
        if (info->rule || info->rows * info->cols <= most) continue;
        most = info->rows * info->cols;
        TSR_TRY(tsr_view_dtype(info->view, source, model->name_prefix, out));
    }
    if (*out != TSR_F16 && *out != TSR_BF16) *out = TSR_F32;
    return TSR_OK;
}

tsr_status tsr_weights_check(const tsr_model *model, const tsr_source *source)
{
    for (int64_t i = 0; i < model->n_weights; i++)
        if (model->weights[i].view)
            TSR_TRY(tsr_view_check(model->weights[i].view, source, model->name_prefix));
    return TSR_OK;
}
