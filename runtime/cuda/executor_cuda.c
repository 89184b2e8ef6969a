/* executor_cuda.c: the call list on a GPU: binding it, and running steps on one stream. */
#include "base/checked.h"
#include "runtime/cuda/gpu_internal.h"
#include "runtime/cuda/step_block.h"
#include "runtime/cuda/step_graphs.h"
#include "runtime/cuda/step_profile.h"
#include "runtime/cuda/step_sampler.h"
#include "runtime/cuda/weights_cuda.h"
#include "runtime/executor_backend.h"
#include "runtime/memory_plan.h"
#include "runtime/step_limits.h"

typedef struct cuda_executor {
    const tsr_model *model;
    const tsr_graph *graph;
    tsr_executor_options options;
    tsr_gpu *gpu;
    tsr_cuda_weights *weights;
    tsr_memory_plan plan;
    tsr_executor_sizes sizes;
    char *values;                /* the activation arena: plan.floats elements of the dtype */
    float *logits, *logits_host; /* [max_rows][output cols]; the second one pinned */
    void *cache_block;
    tsr_cache_data *cache; /* [n_cache_layers] */
    void *workspace;
    int64_t workspace_bytes;
    tsr_cuda_call *calls;
    int64_t n_calls;
    tsr_step_block *block;
    tsr_step_graphs *graphs;
    tsr_step_sampler *sampler;
    cudaEvent_t done;                       /* of the step that was run */
    cudaEvent_t ended[TSR_STEPS_UNDER_WAY]; /* of the steps that were started, in turn */
    int turn, n_under_way;                  /* of the next one to be started; not finished */
    tsr_step_profile *profile;              /* NULL: none is taken */
} cuda_executor;

static tsr_status allocate(int64_t bytes, const char *what, void **out)
{
    *out = NULL;
    return tsr_cuda_check(cudaMalloc(out, (size_t)tsr_max(bytes, 256)), what);
}

/* --- Binding --- */

static const tsr_value_info *output_info(const cuda_executor *e)
{
    return &e->graph->values[e->graph->output];
}

/* The graph's output is float32 and lies by itself; everything else lies in the arena, in the dtype of the weights. */
static tsr_cuda_operand operand(const cuda_executor *e, tsr_value v)
{
    const tsr_value_place *place = &e->plan.place[v];
    const tsr_value_info *info = &e->graph->values[v];
    bool selected = info->rows == TSR_ROWS_SELECTED;
    if (v == e->graph->output)
        return (tsr_cuda_operand){e->logits, info->cols, info->cols, TSR_F32, selected};
    tsr_dtype dtype = e->options.dtype;
    return (tsr_cuda_operand){e->values + place->offset * tsr_dtype_bytes(dtype), place->ld, info->cols,
                              dtype, selected};
}

static void bind(const cuda_executor *e, const tsr_node *n, tsr_cuda_call *c)
{
    *c = (tsr_cuda_call){.kernel = tsr_cuda_kernels[n->op],
                         .op = n->op,
                         .n_inputs = n->n_inputs,
                         .attrs = n->attrs,
                         .comm = e->gpu->comm,
                         .gemm = e->gpu->gemm};
    for (int k = 0; k < n->n_inputs; k++) c->in[k] = operand(e, n->in[k]);
    for (int k = 0; k < n->n_outputs; k++) c->out[k] = operand(e, n->out[k]);
    for (int k = 0; k < n->n_weights && e->weights; k++)
        c->weight[k] = tsr_cuda_weights_get(e->weights, n->weight[k]);
    if (n->op == TSR_OP_ATTENTION) c->cache = &e->cache[n->attrs.attention.layer];
}

static tsr_status bind_all(cuda_executor *e)
{
    void *p;
    e->n_calls = e->graph->n_nodes;
    TSR_TRY(tsr_calloc(e->n_calls, sizeof(tsr_cuda_call), "the program", &p));
    e->calls = p;
    for (int64_t i = 0; i < e->n_calls; i++) {
        bind(e, &e->graph->nodes[i], &e->calls[i]);
        e->workspace_bytes =
            tsr_max(e->workspace_bytes, tsr_cuda_workspace_bytes(&e->calls[i], e->options.max_tokens,
                                                                 e->options.max_rows, e->gpu->n_processors));
    }
    return TSR_OK;
}

/* --- Sizes --- */

/* Where all ranks have all logits, rank 0 gives them and the others nothing. */
static tsr_step_sampler_limits sampler_limits(const cuda_executor *e)
{
    tsr_cuda_comm *comm = e->gpu->comm;
    bool nothing = comm && comm->rank > 0 && output_info(e)->cols == e->model->vocabulary;
    return (tsr_step_sampler_limits){.max_rows = e->options.max_rows,
                                     .vocabulary = (int32_t)e->model->vocabulary,
                                     .first_id = (int32_t)e->graph->output_first,
                                     .n_local = nothing ? 0 : (int32_t)output_info(e)->cols,
                                     .comm = comm};
}

/* The graph, the plan of its values and what all takes, without allocating any of it on the GPU. */
static tsr_status prepare(cuda_executor *e)
{
    const tsr_executor_options *o = &e->options;
    tsr_cuda_weights_sizes weights;
    void *p;
    e->gpu = o->gpu;
    e->graph = tsr_model_graph((tsr_model *)(uintptr_t)e->model, o->graph);
    if (!e->graph) return tsr_fail(TSR_ERR_INTERNAL, "the model has no graph \"%s\"", o->graph);
    TSR_TRY(tsr_memory_plan_make(e->graph, o->max_tokens, o->max_rows, &e->plan));
    TSR_TRY(tsr_cuda_weights_measure(e->model, o->dtype, &weights));
    TSR_TRY(tsr_calloc(e->model->n_cache_layers, sizeof *e->cache, "the cache", &p));
    e->cache = p;
    tsr_cache_lay_out(e->model, o->dtype, 0, NULL,
                      e->cache); /* its memory comes later: kernels ask for its form */
    TSR_TRY(bind_all(e));
    tsr_step_sampler_limits sampling = sampler_limits(e);
    e->sizes = (tsr_executor_sizes){.weight_bytes = weights.bytes,
                                    .streamed_bytes = weights.linear_bytes,
                                    .activation_bytes =
                                        e->plan.floats * tsr_dtype_bytes(o->dtype) + e->workspace_bytes +
                                        tsr_step_sampler_bytes(&sampling) +
                                        (int64_t)o->max_rows * output_info(e)->cols * (int64_t)sizeof(float),
                                    .isa = e->gpu->name};
    return TSR_OK;
}

/* --- Life --- */

static tsr_status make_buffers(cuda_executor *e)
{
    const tsr_executor_options *o = &e->options;
    int64_t logits = (int64_t)o->max_rows * output_info(e)->cols * (int64_t)sizeof(float);
    void *p;
    TSR_TRY(allocate(e->plan.floats * tsr_dtype_bytes(o->dtype), "the values of a step", &p));
    e->values = p;
    TSR_TRY(allocate(logits, "the logits", &p));
    e->logits = p;
    TSR_TRY(tsr_cuda_check(cudaHostAlloc(&p, (size_t)tsr_max(logits, 1), 0), "the logits"));
    e->logits_host = p;
    TSR_TRY(allocate(e->workspace_bytes, "the workspace", &e->workspace));
    return tsr_cuda_check(cudaMemset(e->workspace, 0, (size_t)e->workspace_bytes), "the workspace");
}

static tsr_status make_cache(cuda_executor *e)
{
    TSR_TRY(tsr_cache_bytes(e->model, e->options.dtype, e->options.n_pages, &e->sizes.cache_bytes));
    TSR_TRY(allocate(e->sizes.cache_bytes, "the cache of keys and values", &e->cache_block));
    tsr_cache_lay_out(e->model, e->options.dtype, e->options.n_pages, e->cache_block, e->cache);
    return TSR_OK;
}

static tsr_status make_events(cuda_executor *e)
{
    TSR_TRY(tsr_cuda_check(cudaEventCreateWithFlags(&e->done, cudaEventDisableTiming), "an event"));
    for (int i = 0; i < TSR_STEPS_UNDER_WAY; i++)
        TSR_TRY(tsr_cuda_check(cudaEventCreateWithFlags(&e->ended[i], cudaEventDisableTiming), "an event"));
    if (!e->options.profile) return TSR_OK;
    return tsr_step_profile_create(e->graph, (int)tsr_dtype_bytes(e->options.dtype), !e->gpu->comm,
                                   &e->profile);
}

static tsr_status build(cuda_executor *e)
{
    const tsr_executor_options *o = &e->options;
    TSR_TRY(prepare(e));
    TSR_TRY(make_buffers(e));
    TSR_TRY(make_cache(e));
    TSR_TRY(tsr_cuda_weights_load(e->model, o->source, o->cache, o->dtype, o->seed, o->pool,
                                  e->gpu->info.device, &e->weights));
    for (int64_t i = 0; i < e->n_calls; i++) {
        bind(e, &e->graph->nodes[i], &e->calls[i]);
        e->calls[i].workspace = e->workspace;
        e->calls[i].workspace_bytes = e->workspace_bytes;
    }
    const tsr_step_limits steps = {.max_sequences = o->max_sequences,
                                   .max_context = (int32_t)o->max_context,
                                   .n_pages = (int32_t)o->n_pages};
    tsr_step_block_limits limits = {.max_tokens = o->max_tokens,
                                    .max_sequences = o->max_sequences,
                                    .max_rows = o->max_rows,
                                    .max_pages = tsr_most_table_pages(&steps),
                                    .ropes = e->model->ropes,
                                    .n_ropes = e->model->n_ropes};
    TSR_TRY(tsr_step_block_create(&limits, &e->block));
    TSR_TRY(tsr_step_graphs_create(&e->graphs));
    tsr_step_sampler_limits sampling = sampler_limits(e);
    TSR_TRY(tsr_step_sampler_create(&sampling, &e->sampler));
    TSR_TRY(make_events(e));
    /* What was cleared above went through another stream than the one steps run on. */
    return tsr_cuda_check(cudaDeviceSynchronize(), "preparing the GPU");
}

static void destroy(void *executor)
{
    cuda_executor *e = executor;
    if (e->gpu && e->gpu->lost) return; /* the GPU still uses all of this, and the process is about to end */
    tsr_step_profile_destroy(&e->profile);
    if (e->done) cudaEventDestroy(e->done);
    for (int i = 0; i < TSR_STEPS_UNDER_WAY; i++)
        if (e->ended[i]) cudaEventDestroy(e->ended[i]);
    tsr_step_sampler_destroy(&e->sampler);
    tsr_step_graphs_destroy(&e->graphs);
    tsr_step_block_destroy(&e->block);
    tsr_cuda_weights_destroy(&e->weights);
    tsr_memory_plan_free(&e->plan);
    if (e->values) cudaFree(e->values);
    if (e->logits) cudaFree(e->logits);
    if (e->logits_host) cudaFreeHost(e->logits_host);
    if (e->workspace) cudaFree(e->workspace);
    if (e->cache_block) cudaFree(e->cache_block);
    tsr_free(e->cache);
    tsr_free(e->calls);
    tsr_free(e);
}

static tsr_status create(const tsr_model *local, const tsr_executor_options *options, void **out)
{
    void *p;
    TSR_TRY(tsr_calloc(1, sizeof(cuda_executor), "the executor", &p));
    cuda_executor *e = p;
    e->model = local;
    e->options = *options;
    tsr_status s = build(e);
    e->options.source = NULL;
    if (s != TSR_OK)
        destroy(e);
    else
        *out = e;
    return s;
}

tsr_status tsr_gpu_measure(const tsr_gpu *gpu, const tsr_model *local, const tsr_executor_options *options,
                           tsr_executor_sizes *out)
{
    cuda_executor e = {.model = local, .options = *options};
    e.options.gpu = (tsr_gpu *)(uintptr_t)gpu;
    tsr_status s = prepare(&e);
    *out = e.sizes;
    tsr_memory_plan_free(&e.plan);
    tsr_free(e.cache);
    tsr_free(e.calls);
    return s;
}

/* --- Running --- */

/* `staged`: with a mark behind each call, none of which begins before the last has ended. */
static tsr_cuda_step bound_step(const cuda_executor *e, tsr_step_bounds bounds, bool decode, bool staged)
{
    tsr_cuda_step s = {.stream = e->gpu->stream,
                       .overlap = e->gpu->overlaps && !staged,
                       .decode = decode,
                       .plain = e->options.plain_kernels,
                       .bound_context = (int32_t)tsr_min(e->options.max_context, INT32_MAX),
                       .n_processors = e->gpu->n_processors};
    tsr_step_block_bind(e->block, bounds, &s);
    s.tokens = tsr_step_sampler_tokens(e->sampler);
    return s;
}

static tsr_status enqueue(const cuda_executor *e, const tsr_cuda_step *step)
{
    for (int64_t i = 0; i < e->n_calls; i++) TSR_TRY(e->calls[i].kernel(&e->calls[i], step));
    return TSR_OK;
}

static tsr_status enqueue_staged(const cuda_executor *e, const tsr_cuda_step *step)
{
    TSR_TRY(tsr_step_profile_mark(e->profile, -1, step->stream));
    for (int64_t i = 0; i < e->n_calls; i++) {
        TSR_TRY(e->calls[i].kernel(&e->calls[i], step));
        TSR_TRY(tsr_step_profile_mark(e->profile, i, step->stream));
    }
    return TSR_OK;
}

static tsr_status enqueue_decode(void *ctx, int32_t bound)
{
    const cuda_executor *e = ctx;
    tsr_cuda_step s = bound_step(e, (tsr_step_bounds){bound, bound, bound}, true, false);
    return enqueue(e, &s);
}

static tsr_status run_step(cuda_executor *e, const tsr_step *step)
{
    const tsr_executor_options *o = &e->options;
    cudaStream_t stream = e->gpu->stream;
    bool decode = tsr_step_only_decodes(step), staged = false;
    if (e->profile) TSR_TRY(tsr_step_profile_begin(e->profile, step, stream, &staged));
    int32_t bound = decode ? tsr_step_graphs_bound(step->n_tokens) : 0;
    bool graphs = !o->no_graphs && !staged && bound > 0 && bound <= o->max_tokens && bound <= o->max_rows &&
                  bound <= o->max_sequences;
    tsr_step_bounds bounds = {step->n_tokens, step->n_sequences, step->n_rows};
    if (graphs) bounds = (tsr_step_bounds){bound, bound, bound};
    TSR_TRY(tsr_step_block_send(e->block, step, bounds, stream));
    if (graphs) return tsr_step_graphs_run(e->graphs, bound, stream, enqueue_decode, e);
    tsr_cuda_step s = bound_step(e, bounds, decode, staged);
    return staged ? enqueue_staged(e, &s) : enqueue(e, &s);
}

/* Behind all that belongs to the step. A profile is taken of one step at a time. */
static tsr_status end_step(cuda_executor *e, cudaEvent_t ended, bool wait)
{
    if (e->profile) TSR_TRY(tsr_step_profile_end(e->profile, e->gpu->stream));
    TSR_TRY(tsr_cuda_check(cudaEventRecord(ended, e->gpu->stream), "an event"));
    if (wait || e->profile) TSR_TRY(tsr_gpu_wait(e->gpu, ended));
    return e->profile ? tsr_step_profile_add(e->profile) : TSR_OK;
}

static tsr_status run(void *executor, const tsr_step *step)
{
    cuda_executor *e = executor;
    int64_t bytes = (int64_t)step->n_rows * output_info(e)->cols * (int64_t)sizeof(float);
    TSR_TRY(run_step(e, step));
    if (bytes > 0)
        TSR_TRY(tsr_cuda_check(
            cudaMemcpyAsync(e->logits_host, e->logits, (size_t)bytes, cudaMemcpyDeviceToHost, e->gpu->stream),
            "reading the logits"));
    return end_step(e, e->done, true);
}

static bool samples(const void *executor, const tsr_sample_row *rows, int32_t n_rows)
{
    (void)executor;
    return tsr_step_sampler_takes(rows, n_rows);
}

static tsr_status start(void *executor, const tsr_step *step, const tsr_sample_row *rows)
{
    cuda_executor *e = executor;
    tsr_cuda_step s = {.stream = e->gpu->stream, .n_processors = e->gpu->n_processors};
    int turn = e->turn;
    if (e->n_under_way == TSR_STEPS_UNDER_WAY)
        return tsr_fail(TSR_ERR_INTERNAL, "%d steps are under way already", e->n_under_way);
    TSR_TRY(run_step(e, step));
    TSR_TRY(
        tsr_step_sampler_enqueue(e->sampler, e->logits, output_info(e)->cols, rows, step->n_rows, turn, &s));
    if (e->profile) TSR_TRY(tsr_step_profile_mark(e->profile, e->n_calls, e->gpu->stream));
    TSR_TRY(end_step(e, e->ended[turn], false));
    e->turn = (turn + 1) % TSR_STEPS_UNDER_WAY;
    e->n_under_way++;
    return TSR_OK;
}

static tsr_status finish(void *executor, tsr_sample_result *results)
{
    cuda_executor *e = executor;
    int oldest = (e->turn + TSR_STEPS_UNDER_WAY - e->n_under_way) % TSR_STEPS_UNDER_WAY;
    if (e->n_under_way == 0) return tsr_fail(TSR_ERR_INTERNAL, "no step is under way");
    TSR_TRY(tsr_gpu_wait(e->gpu, e->ended[oldest]));
    tsr_step_sampler_results(e->sampler, oldest, results);
    e->n_under_way--;
    return TSR_OK;
}

static const float *output(const void *executor, int64_t *ld, int64_t *cols)
{
    const cuda_executor *e = executor;
    *ld = *cols = output_info(e)->cols;
    return e->logits_host;
}

static tsr_executor_sizes sizes(const void *executor)
{
    return ((const cuda_executor *)executor)->sizes;
}

static const tsr_profile *profile(const void *executor)
{
    const cuda_executor *e = executor;
    return e->profile ? tsr_step_profile_get(e->profile) : NULL;
}

static void reset_profile(void *executor)
{
    cuda_executor *e = executor;
    if (e->profile) tsr_step_profile_reset(e->profile);
}

const tsr_executor_backend tsr_executor_cuda = {.create = create,
                                                .destroy = destroy,
                                                .run = run,
                                                .output = output,
                                                .samples = samples,
                                                .start = start,
                                                .finish = finish,
                                                .sizes = sizes,
                                                .profile = profile,
                                                .reset_profile = reset_profile};
