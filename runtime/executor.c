/* executor.c: an executor on whichever kind of device, and the cache's layout, which is the same on all. */
#include "base/checked.h"
#include "runtime/executor_backend.h"

struct tsr_executor {
    const tsr_executor_backend *backend;
    void *impl;
    int max_tokens, max_rows;
};

static const tsr_executor_backend *choose(const tsr_executor_options *options)
{
#if TSR_HAVE_CUDA
    if (options->gpu) return &tsr_executor_cuda;
#endif
    (void)options;
    return &tsr_executor_cpu;
}

tsr_status tsr_executor_create(const tsr_model *local, const tsr_executor_options *options,
                               tsr_executor **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_executor), "the executor", &p));
    tsr_executor *e = p;
    *e = (tsr_executor){choose(options), NULL, options->max_tokens, options->max_rows};
    tsr_status s = e->backend->create(local, options, &e->impl);
    if (s != TSR_OK) tsr_free(e);
    if (s == TSR_OK) *out = e;
    return s;
}

void tsr_executor_destroy(tsr_executor **executor)
{
    if (!*executor) return;
    (*executor)->backend->destroy((*executor)->impl);
    tsr_free(*executor);
    *executor = NULL;
}

static tsr_status check(const tsr_executor *e, const tsr_step *step)
{
    if (step->n_tokens < 1 || step->n_tokens > e->max_tokens || step->n_rows < 0 ||
        step->n_rows > e->max_rows)
        return tsr_fail(TSR_ERR_INTERNAL,
                        "a step of %d tokens and %d rows does not fit the plan of %d and %d", step->n_tokens,
                        step->n_rows, e->max_tokens, e->max_rows);
    for (int32_t t = 0; t < step->n_tokens && !e->backend->start; t++)
        if (step->ids[t] < 0)
            return tsr_fail(TSR_ERR_INTERNAL, "token %d of a step is not known where it runs", t);
    return TSR_OK;
}

tsr_status tsr_executor_run(tsr_executor *e, const tsr_step *step)
{
    TSR_TRY(check(e, step));
    return e->backend->run(e->impl, step);
}

bool tsr_executor_samples(const tsr_executor *e, const tsr_sample_row *rows, int32_t n_rows)
{
    return e->backend->samples && e->backend->samples(e->impl, rows, n_rows);
}

tsr_status tsr_executor_start(tsr_executor *e, const tsr_step *step, const tsr_sample_row *rows)
{
    TSR_TRY(check(e, step));
    return e->backend->start(e->impl, step, rows);
}

tsr_status tsr_executor_finish(tsr_executor *e, tsr_sample_result *results)
{
    return e->backend->finish(e->impl, results);
}

const float *tsr_executor_output(const tsr_executor *e, int64_t *ld, int64_t *cols)
{
    return e->backend->output(e->impl, ld, cols);
}

tsr_executor_sizes tsr_executor_get_sizes(const tsr_executor *e)
{
    return e->backend->sizes(e->impl);
}

const tsr_profile *tsr_executor_profile(const tsr_executor *e)
{
    return e->backend->profile(e->impl);
}

void tsr_executor_reset_profile(tsr_executor *e)
{
    e->backend->reset_profile(e->impl);
}

/* --- Cache --- */

static tsr_dtype cache_dtype(tsr_dtype dtype)
{
    return dtype == TSR_F16 || dtype == TSR_BF16 ? dtype : TSR_F32;
}

int64_t tsr_cache_bytes_per_token(const tsr_model *local, tsr_dtype dtype)
{
    int64_t n = 0;
    for (int64_t i = 0; i < local->n_cache_layers; i++) {
        const tsr_cache_layer *c = &local->cache_layers[i];
        n += (int64_t)c->kv_heads * (c->head_dim + c->value_dim);
    }
    return n * tsr_dtype_bytes(cache_dtype(dtype));
}

tsr_status tsr_cache_bytes(const tsr_model *local, tsr_dtype dtype, int64_t n_pages, int64_t *out)
{
    int64_t tokens = n_pages * TSR_PAGE_TOKENS;
    if (tsr_mul(tokens, tsr_cache_bytes_per_token(local, dtype), out)) return TSR_OK;
    return tsr_fail(TSR_ERR_CAPACITY, "a cache of %lld tokens is too large", (long long)tokens);
}

void tsr_cache_lay_out(const tsr_model *local, tsr_dtype dtype, int64_t n_pages, void *block,
                       tsr_cache_data *layers)
{
    tsr_dtype as = cache_dtype(dtype);
    int64_t tokens = n_pages * TSR_PAGE_TOKENS;
    char *at = block;
    for (int64_t i = 0; i < local->n_cache_layers; i++) {
        const tsr_cache_layer *c = &local->cache_layers[i];
        int64_t k_bytes = tokens * c->kv_heads * c->head_dim * tsr_dtype_bytes(as);
        int64_t v_bytes = tokens * c->kv_heads * c->value_dim * tsr_dtype_bytes(as);
        layers[i] =
            (tsr_cache_data){as, at, at + k_bytes, TSR_PAGE_TOKENS, c->kv_heads, c->head_dim, c->value_dim};
        at += k_bytes + v_bytes;
    }
}
