/* executor_cpu.c: the call list on the CPU: binding it, and running it on all threads of the rank. */
#include "runtime/executor_backend.h"
#include "base/checked.h"
#include "base/log.h"
#include "layers/cpu/cpu_kernels.h"
#include "runtime/memory_plan.h"
#include "runtime/weights.h"

#include <stdatomic.h>
#include <string.h>

typedef struct cpu_executor {
    const tsr_model *model;
    const tsr_graph *graph;
    tsr_executor_options options;
    const tsr_cpu_kernels *kernels;
    tsr_weights *weights;
    tsr_memory_plan plan;
    float *activations;
    tsr_cache_data *cache; /* [n_cache_layers] */
    int64_t cache_bytes;
    void *cache_block;
    tsr_call *calls;
    int64_t n_calls;
    void *shared;  /* the scratch of whichever call is running */
    void *scratch; /* TSR_WORKER_SCRATCH for each thread */
    int64_t shared_bytes, scratch_bytes;
    tsr_stage *stages; /* [n_calls] profile only */
    tsr_profile profile[TSR_PROFILE_KINDS];
} cpu_executor;

/* --- Cache --- */

static tsr_status make_cache(cpu_executor *e)
{
    void *p;
    TSR_TRY(tsr_cache_bytes(e->model, e->options.dtype, e->options.n_pages, &e->cache_bytes));
    TSR_TRY(tsr_calloc(e->model->n_cache_layers, sizeof *e->cache, "the cache", &p));
    e->cache = p;
    TSR_TRY(tsr_alloc_sparse(e->cache_bytes, "the cache of keys and values", &e->cache_block));
    tsr_cache_lay_out(e->model, e->options.dtype, e->options.n_pages, e->cache_block, e->cache);
    return TSR_OK;
}

/* --- Binding --- */

static tsr_operand operand(const cpu_executor *e, tsr_value v)
{
    const tsr_value_place *place = &e->plan.place[v];
    const tsr_value_info *info = &e->graph->values[v];
    return (tsr_operand){e->activations + place->offset, place->ld, info->cols,
                         info->rows == TSR_ROWS_SELECTED};
}

static tsr_status bind(const cpu_executor *e, const tsr_node *n, tsr_call *c)
{
    c->op = n->op;
    c->kernel = e->kernels->kernel[n->op];
    c->phases = tsr_op_table[n->op].phases;
    if (!c->kernel)
        return tsr_fail(TSR_ERR_INTERNAL, "op %s has no %s kernel", tsr_op_table[n->op].name,
                        e->kernels->isa);
    c->n_inputs = n->n_inputs;
    for (int k = 0; k < n->n_inputs; k++) c->in[k] = operand(e, n->in[k]);
    for (int k = 0; k < n->n_outputs; k++) c->out[k] = operand(e, n->out[k]);
    for (int k = 0; k < n->n_weights; k++) c->weight[k] = tsr_weights_get(e->weights, n->weight[k]);
    c->attrs = n->attrs;
    if (n->op == TSR_OP_ATTENTION) c->cache = &e->cache[n->attrs.attention.layer];
    c->comm = e->options.comm;
    return TSR_OK;
}

static tsr_status bind_all(cpu_executor *e)
{
    void *p;
    int64_t shared = 0;
    TSR_TRY(tsr_calloc(e->graph->n_nodes, sizeof(tsr_call), "the program", &p));
    e->calls = p;
    e->n_calls = e->graph->n_nodes;
    for (int64_t i = 0; i < e->n_calls; i++) {
        TSR_TRY(bind(e, &e->graph->nodes[i], &e->calls[i]));
        int64_t rows = tsr_max(e->options.max_tokens, e->options.max_rows);
        if (e->kernels->shared_bytes) shared = tsr_max(shared, e->kernels->shared_bytes(&e->calls[i], rows));
    }
    e->shared_bytes = shared;
    TSR_TRY(tsr_alloc_large(shared, "kernel scratch", &e->shared));
    for (int64_t i = 0; i < e->n_calls; i++) e->calls[i].shared = e->shared;
    return TSR_OK;
}

static tsr_status find_stages(cpu_executor *e)
{
    const tsr_executor_options *o = &e->options;
    void *p;
    TSR_TRY(tsr_calloc(e->n_calls, sizeof *e->stages, "the profile", &p));
    e->stages = p;
    for (int64_t i = 0; i < e->n_calls; i++)
        e->stages[i] = tsr_stage_of(e->graph, i, !o->comm || o->comm->size == 1);
    return TSR_OK;
}

static void init_thread(void *arg, int thread, int n_threads)
{
    (void)thread, (void)n_threads;
    const cpu_executor *e = arg;
    if (e->kernels->thread_init) e->kernels->thread_init();
}

static tsr_status build(cpu_executor *e)
{
    const tsr_executor_options *o = &e->options;
    void *p;
    e->kernels = tsr_cpu_kernels_best();
    e->graph = tsr_model_graph((tsr_model *)e->model, o->graph);
    if (!e->graph) return tsr_fail(TSR_ERR_INTERNAL, "the model has no graph \"%s\"", o->graph);
    TSR_TRY(tsr_weights_load(e->model, o->source, o->cache, o->dtype, o->seed, o->pool, &e->weights));
    TSR_TRY(tsr_memory_plan_make(e->graph, o->max_tokens, o->max_rows, &e->plan));
    TSR_TRY(tsr_alloc_large(e->plan.floats * (int64_t)sizeof(float), "the activations", &p));
    e->activations = p;
    TSR_TRY(make_cache(e));
    e->scratch_bytes = (int64_t)tsr_pool_threads(o->pool) * TSR_WORKER_SCRATCH;
    TSR_TRY(tsr_alloc_large(e->scratch_bytes, "worker scratch", &e->scratch));
    TSR_TRY(bind_all(e));
    if (o->profile) TSR_TRY(find_stages(e));
    tsr_pool_run(o->pool, init_thread, e);
    return TSR_OK;
}

static void destroy(void *executor)
{
    cpu_executor *e = executor;
    tsr_weights_destroy(&e->weights);
    tsr_free_large(e->activations, e->plan.floats * (int64_t)sizeof(float));
    tsr_memory_plan_free(&e->plan);
    tsr_free(e->cache);
    tsr_free_large(e->cache_block, e->cache_bytes);
    tsr_free(e->calls);
    tsr_free(e->stages);
    tsr_free_large(e->shared, e->shared_bytes);
    tsr_free_large(e->scratch, e->scratch_bytes);
    tsr_free(e);
}

static tsr_status create(const tsr_model *local, const tsr_executor_options *options, void **out)
{
    void *p;
    TSR_TRY(tsr_calloc(1, sizeof(cpu_executor), "the executor", &p));
    cpu_executor *e = p;
    e->model = local;
    e->options = *options;
    tsr_status s = build(e);
    e->options.source = NULL;
    e->options.cache = NULL;
    if (s != TSR_OK)
        destroy(e);
    else
        *out = e;
    return s;
}

/* --- Running --- */

typedef struct run_job {
    cpu_executor *e;
    const tsr_step *step;
    tsr_step_load load;     /* profile only */
    atomic_int failure;     /* the first failure any thread saw */
    atomic_llong failed_at; /* the call it happened in; INT64_MAX: none */
    char error[1024];       /* its text; error records belong to threads */
} run_job;

static void note_failure(run_job *job, int failure, long long call)
{
    int none = TSR_OK;
    if (!atomic_compare_exchange_strong(&job->failure, &none, failure)) return;
    strncpy(job->error, tsr_error_text(), sizeof job->error - 1);
    atomic_store(&job->failed_at, call);
}

static bool is_collective(tsr_op op)
{
    return tsr_op_table[op].shard == TSR_SHARD_COLLECTIVE;
}

static void add_profile(const cpu_executor *e, tsr_profile *to, const tsr_step_load *load, int64_t i,
                        double seconds)
{
    tsr_stage_time *t = &to->stage[e->stages[i]];
    tsr_work w = tsr_stage_work(e->graph, i, load, (int)tsr_dtype_bytes(e->options.dtype));
    t->seconds += seconds;
    t->bytes += w.bytes;
    t->flops += w.flops;
    to->steps += i == 0;
}

/* Every thread runs every call; barriers between phases keep them together. A failure is noted before the
 * barrier of its call, so behind that barrier all threads know of it and leave at that call; one that has
 * hurried on to the next call and fails there is told apart by the number. */
static void run_calls(void *arg, int thread, int n_threads)
{
    run_job *job = arg;
    cpu_executor *e = job->e;
    tsr_worker w = {.thread = thread,
                    .n_threads = n_threads,
                    .scratch = (char *)e->scratch + (int64_t)thread * TSR_WORKER_SCRATCH};
    tsr_profile *profile = e->stages && thread == 0 ? &e->profile[job->load.decode] : NULL;
    for (int64_t i = 0; i < e->n_calls; i++) {
        const tsr_call *c = &e->calls[i];
        double start = profile ? tsr_now() : 0;
        for (w.phase = 0; w.phase < c->phases; w.phase++) {
            c->kernel(c, job->step, &w);
            if (w.failure) note_failure(job, w.failure, i);
            if (n_threads > 1) tsr_pool_barrier(e->options.pool);
        }
        if (profile) add_profile(e, profile, &job->load, i, tsr_now() - start);
        if (is_collective(c->op) && atomic_load(&job->failed_at) <= i) return;
    }
}

static tsr_status run(void *executor, const tsr_step *step)
{
    cpu_executor *e = executor;
    run_job job = {.e = e, .step = step, .failed_at = INT64_MAX};
    if (e->stages) job.load = tsr_step_get_load(step);
    tsr_pool_run(e->options.pool, run_calls, &job);
    int failure = atomic_load(&job.failure);
    return failure ? tsr_fail((tsr_status)failure, "%s", job.error) : TSR_OK;
}

static const float *output(const void *executor, int64_t *ld, int64_t *cols)
{
    const cpu_executor *e = executor;
    tsr_operand out = operand(e, e->graph->output);
    *ld = out.ld;
    *cols = out.cols;
    return out.data;
}

static tsr_executor_sizes sizes(const void *executor)
{
    const cpu_executor *e = executor;
    return (tsr_executor_sizes){.weight_bytes = tsr_weights_bytes(e->weights),
                                .streamed_bytes = tsr_weights_linear_bytes(e->weights),
                                .activation_bytes = e->plan.floats * (int64_t)sizeof(float) +
                                                    e->shared_bytes + e->scratch_bytes,
                                .cache_bytes = e->cache_bytes,
                                .isa = e->kernels->isa};
}

static const tsr_profile *profile(const void *executor)
{
    const cpu_executor *e = executor;
    return e->stages ? e->profile : NULL;
}

static void reset_profile(void *executor)
{
    cpu_executor *e = executor;
    memset(e->profile, 0, sizeof e->profile);
}

const tsr_executor_backend tsr_executor_cpu = {.create = create,
                                               .destroy = destroy,
                                               .run = run,
                                               .output = output,
                                               .sizes = sizes,
                                               .profile = profile,
                                               .reset_profile = reset_profile};
