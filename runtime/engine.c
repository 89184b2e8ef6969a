/* engine.c: making an engine: every phase that can fail on one rank alone ends in an agreement of all. */
#include "base/checked.h"
#include "base/log.h"
#include "checkpoint/source_config.h"
#include "runtime/engine_parts.h"
#include "runtime/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *tsr_version(void)
{
    return TSR_VERSION;
}

const char *tsr_last_error(void)
{
    return tsr_error_text();
}

/* --- Reading what is to be run --- */

/* On a GPU the host's part of a step is to run beside the GPU's; on CPUs there is nothing to gain. */
static tsr_status choose_ahead(tsr_engine *e, const char *wanted)
{
    bool on = strcmp(wanted, "on") == 0, automatic = strcmp(wanted, "auto") == 0;
    if (!on && !automatic && strcmp(wanted, "off") != 0)
        return tsr_fail(TSR_ERR_USAGE, "plan_ahead must be auto, on or off, found \"%s\"", wanted);
    e->goes_ahead = on || (automatic && e->gpu);
    return TSR_OK;
}

static tsr_status copy_options(tsr_engine *e, const tsr_engine_options *o)
{
    if (o->size != sizeof *o)
        return tsr_fail(TSR_ERR_USAGE, "tsr_engine_options of another version: %zu bytes, expected %zu",
                        o->size, sizeof *o);
    if (!o->model || !o->model[0]) return tsr_fail(TSR_ERR_USAGE, "no model was named (--model DIR)");
    if (o->training_mp_size < 0)
        return tsr_fail(TSR_ERR_USAGE, "training_mp_size must not be negative, found %d",
                        o->training_mp_size);
    if (o->threads < 0 || o->threads > TSR_MAX_THREADS)
        return tsr_fail(TSR_ERR_USAGE, "threads must lie in 0..%d, found %d", TSR_MAX_THREADS, o->threads);
    e->options = *o;
    TSR_TRY(tsr_arena_strdup(e->arena, o->model, &e->options.model));
    TSR_TRY(tsr_arena_strdup(e->arena, o->checkpoint ? o->checkpoint : "", &e->options.checkpoint));
    TSR_TRY(tsr_arena_strdup(e->arena, o->dtype ? o->dtype : "auto", &e->options.dtype));
    TSR_TRY(tsr_arena_strdup(e->arena, o->cache ? o->cache : "", &e->options.cache));
    TSR_TRY(tsr_arena_strdup(e->arena, o->task ? o->task : "auto", &e->options.task));
    if (!(o->gpu_memory_fraction >= 0 && o->gpu_memory_fraction <= 1))
        return tsr_fail(TSR_ERR_USAGE, "gpu_memory_fraction must lie in 0..1, found %g",
                        o->gpu_memory_fraction);
    TSR_TRY(tsr_arena_strdup(e->arena, o->kernels ? o->kernels : "auto", &e->options.kernels));
    TSR_TRY(choose_ahead(e, o->plan_ahead ? o->plan_ahead : "auto"));
    e->options.device = e->options.plan_ahead = NULL; /* have been used; nobody owns them any longer */
    if (o->step_tokens == 0) e->options.step_tokens = e->gpu ? 2048 : 512;
    return TSR_OK;
}

static tsr_status choose_dtype(tsr_engine *e, tsr_object config)
{
    const char *wanted = e->options.dtype, *stated;
    bool automatic = strcmp(wanted, "auto") == 0;
    if (automatic && e->source) return tsr_weights_natural_dtype(e->model, e->source, &e->dtype);
    if (automatic) {
        TSR_TRY(tsr_object_string(config, "torch_dtype|dtype", "bfloat16", &stated));
        wanted = stated;
    }
    if (!tsr_dtype_from_option(wanted, &e->dtype) ||
        (e->dtype != TSR_F32 && e->dtype != TSR_F16 && e->dtype != TSR_BF16))
        return tsr_fail(TSR_ERR_USAGE, "dtype must be auto, float32, bfloat16 or float16, found \"%s\"",
                        wanted);
    return TSR_OK;
}

static tsr_status shard_and_fuse(tsr_engine *e)
{
    tsr_kernels_choice choice;
    TSR_TRY(tsr_kernels_choice_of(e->options.kernels, &choice));
    e->plain_kernels = choice == TSR_KERNELS_REFERENCE;
    TSR_TRY(tsr_sharding_derive(e->model, tsr_world_size(e->world), &e->sharding));
    TSR_TRY(tsr_sharding_localize(e->sharding, tsr_world_rank(e->world), &e->local));
    TSR_TRY(tsr_fuse(e->local, choice, &e->fused));
    if (!e->gpu || choice == TSR_KERNELS_REFERENCE) return TSR_OK;
    return tsr_fuse_gated_linears(e->local, &e->fused.gated_linears);
}

static tsr_status digest_config(const tsr_json *config, tsr_digest *out)
{
    char *text = json_dumps(config->root, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text) return tsr_fail(TSR_ERR_MEMORY, "out of memory: %s", config->file);
    *out = tsr_digest_of(text, (int64_t)strlen(text));
    free(text);
    return TSR_OK;
}

static tsr_source_request source_request(const tsr_engine *e)
{
    return (tsr_source_request){e->options.model, e->options.checkpoint, e->options.training_mp_size};
}

static tsr_status read_with_config(tsr_engine *e, const tsr_json *config)
{
    const tsr_engine_options *o = &e->options;
    tsr_source_request request = source_request(e);
    tsr_task task = TSR_TASK_AUTO;
    TSR_TRY(tsr_task_from_name(o->task, &task));
    TSR_TRY(digest_config(config, &e->config));
    TSR_TRY(tsr_model_for_task(config, task, &e->model));
    TSR_TRY(tsr_generation_config_read(o->model, config, e->model->vocabulary, e->arena, &e->generation));
    if (!o->random_weights) {
        if (!e->source) TSR_TRY(tsr_source_open_request(&request, &e->source));
        TSR_TRY(tsr_weights_check(e->model, e->source));
    }
    TSR_TRY(choose_dtype(e, tsr_json_root(config)));
    return shard_and_fuse(e);
}

/* The tokens of a prefix by their names, where the config states no ids. */
static void name_prefix(tsr_engine *e)
{
    static const char *const masks[] = {"[MASK]", "[sMASK]", "[gMASK]"};
    tsr_prefix_ids *p = &e->model->prefix;
    if (!p->enabled) return;
    if (p->start < 0) p->start = tsr_tokenizer_id(e->tokenizer, "<|startofpiece|>");
    if (p->start < 0) p->start = tsr_tokenizer_id(e->tokenizer, "<sop>");
    for (int i = 0; i < p->n_masks && i < 3; i++)
        if (p->mask[i] < 0) p->mask[i] = tsr_tokenizer_id(e->tokenizer, masks[i]);
}

static tsr_status read_tokenizer(tsr_engine *e)
{
    bool present = true;
    if (tsr_world_rank(e->world) != 0) return TSR_OK;
    if (!e->options.needs_tokenizer) TSR_TRY(tsr_tokenizer_exists(e->options.model, &present));
    if (!present) return TSR_OK;
    TSR_TRY(tsr_tokenizer_load(e->options.model, &e->tokenizer));
    name_prefix(e);
    return TSR_OK;
}

static tsr_status read_model(tsr_engine *e, const tsr_engine_options *options)
{
    tsr_json config = {0};
    TSR_TRY(copy_options(e, options));
    tsr_source_request request = source_request(e);
    if (access(e->options.model, F_OK) != 0)
        return tsr_fail(TSR_ERR_IO, "%s: there is no such model folder", e->options.model);
    TSR_TRY(tsr_source_config(&request, &e->source, &config));
    if (e->options.random_weights) tsr_source_destroy(&e->source); /* opened for its config alone */
    tsr_status s = read_with_config(e, &config);
    tsr_json_free(&config);
    return s == TSR_OK ? read_tokenizer(e) : s;
}

/* --- Sizes --- */

/* The longest context the model's positions allow: NTK scaling stretches them by its factor. */
static int64_t model_context(const tsr_model *m)
{
    double factor = 1;
    for (int64_t i = 0; i < m->n_ropes; i++)
        if (m->ropes[i].kind == TSR_ROPE_DYNAMIC && m->ropes[i].factor > factor) factor = m->ropes[i].factor;
    double n = (double)m->max_positions * factor;
    return n < 1e9 ? (int64_t)n : 1000000000;
}

static tsr_status choose_context(const tsr_engine *e, int64_t *out)
{
    int64_t own = model_context(e->model), wanted = e->options.context;
    if (wanted > own && e->model->positions_are_hard)
        return tsr_fail(TSR_ERR_CAPACITY,
                        "a context of %lld tokens is too long: the model has %lld positions",
                        (long long)wanted, (long long)own);
    *out = wanted > 0 ? wanted : own;
    return TSR_OK;
}

static tsr_executor_options executor_options(const tsr_engine *e)
{
    return (tsr_executor_options){.graph = "decode",
                                  .max_tokens = e->limits.max_tokens,
                                  .max_rows = e->limits.max_rows,
                                  .n_pages = e->limits.n_pages,
                                  .dtype = e->dtype,
                                  .source = e->source,
                                  .cache = e->cache,
                                  .pool = e->pool,
                                  .comm = e->comm,
                                  .gpu = e->gpu,
                                  .no_graphs = e->options.no_cuda_graph,
                                  .max_sequences = e->limits.max_sequences,
                                  .max_context = e->limits.max_context,
                                  .plain_kernels = e->plain_kernels,
                                  .profile = e->options.profile};
}

/* What keys and values may take of a GPU: the part of its free memory to be used, less the rest of the executor. */
static tsr_status gpu_cache_memory(const tsr_engine *e, int64_t *out)
{
    double fraction = e->options.gpu_memory_fraction > 0 ? e->options.gpu_memory_fraction : 0.9;
    tsr_gpu_info gpu = tsr_gpu_get_info(e->gpu);
    tsr_executor_options o = executor_options(e);
    tsr_executor_sizes sizes;
    TSR_TRY(tsr_gpu_measure(e->gpu, e->local, &o, &sizes));
    int64_t budget = (int64_t)((double)gpu.free_bytes * fraction);
    int64_t fixed = sizes.weight_bytes + sizes.activation_bytes, ranks = tsr_world_size(e->world);
    *out = budget - fixed;
    if (*out > 0) return TSR_OK;
    int64_t left = budget - sizes.activation_bytes;
    int64_t needed = left > 0 ? (sizes.weight_bytes * ranks + left - 1) / left : 0;
    return tsr_fail(
        TSR_ERR_CAPACITY,
        "the model does not fit: %.1f GB of weights and %.1f GB of values on each of %lld GPUs; %s has "
        "%.1f GB free, of which %.0f %% may be used (--gpu-memory-fraction); %lld GPUs would hold it",
        (double)sizes.weight_bytes / 1e9, (double)sizes.activation_bytes / 1e9, (long long)ranks, gpu.name,
        (double)gpu.free_bytes / 1e9, 100 * fraction, (long long)tsr_max(needed, ranks + 1));
}

/* Pages for the worst case of all sequences at once, within the memory to be used. */
static tsr_status choose_pages(const tsr_engine *e, int64_t context, int64_t *out)
{
    int64_t page_bytes = tsr_cache_bytes_per_token(e->local, e->dtype) * TSR_PAGE_TOKENS;
    int64_t memory = tsr_available_bytes() / 4 / tsr_world_local_size(e->world);
    if (e->gpu) TSR_TRY(gpu_cache_memory(e, &memory));
    if (e->options.cache_bytes > 0) memory = e->options.cache_bytes;
    int64_t wanted = (int64_t)e->options.max_sequences * tsr_pages_for(context);
    int64_t fit = page_bytes > 0 ? memory / page_bytes : wanted;
    *out = tsr_min(tsr_min(wanted, fit), INT32_MAX / 2);
    if (*out < 1)
        return tsr_fail(TSR_ERR_CAPACITY,
                        "no room for keys and values: a page of %d tokens takes %lld bytes, %lld may be used",
                        TSR_PAGE_TOKENS, (long long)page_bytes, (long long)memory);
    return TSR_OK;
}

static tsr_status choose_limits(tsr_engine *e, int64_t *pages)
{
    int64_t context = 0;
    TSR_TRY(choose_context(e, &context));
    int32_t tokens = e->options.step_tokens;
    int32_t sequences = (int32_t)tsr_min(e->options.max_sequences, tokens);
    int32_t rows = e->model->task == TSR_TASK_TOKEN_CLASSIFICATION ? tokens : 64; /* labels are few */
    e->limits = (tsr_step_limits){.max_tokens = tokens,
                                  .max_sequences = sequences,
                                  .max_rows = (int32_t)tsr_min(tsr_max(sequences, rows), tokens),
                                  .max_context = (int32_t)context,
                                  .vocabulary = (int32_t)e->model->vocabulary};
    TSR_TRY(choose_pages(e, context, pages));
    e->limits.n_pages = (int32_t)*pages;
    return tsr_step_limits_check(&e->limits);
}

/* Ranks may have unequal memory: all take the smallest number of pages. */
static tsr_status agree_on_pages(tsr_engine *e, int64_t pages)
{
    int ranks = tsr_world_size(e->world);
    void *p;
    TSR_TRY(tsr_alloc(ranks * (int64_t)sizeof pages, "the page counts", &p));
    int64_t *all = p;
    tsr_status s = tsr_world_all_gather(e->world, &pages, sizeof pages, all);
    for (int i = 0; i < ranks && s == TSR_OK; i++) pages = tsr_min(pages, all[i]);
    e->limits.n_pages = (int32_t)pages;
    tsr_free(p);
    return s;
}

/* --- Building --- */

/* The widest value is what the largest sum over the ranks can be. */
static tsr_status connect(tsr_engine *e)
{
    tsr_comm_options o = {.deadline_seconds = e->options.deadline,
                          .oversubscribed = e->affinity->oversubscribed};
    if (!e->gpu) return tsr_comm_create(e->world, &o, &e->comm);
    int64_t cols = 1;
    const tsr_graph *g = &e->local->graphs[0];
    for (int64_t i = 0; i < g->n_nodes; i++)
        if (tsr_op_table[g->nodes[i].op].shard == TSR_SHARD_COLLECTIVE)
            cols = tsr_max(cols, g->values[g->nodes[i].in[0]].cols);
    return tsr_gpu_connect(e->gpu, e->world, e->limits.max_tokens, cols, e->options.deadline);
}

static tsr_status start_threads(tsr_engine *e)
{
    void *p;
    TSR_TRY(tsr_arena_alloc(e->arena, sizeof *e->affinity, &p));
    e->affinity = p;
    TSR_TRY(tsr_affinity_plan(e->world, e->options.threads, e->affinity));
    TSR_TRY(connect(e));
    tsr_status s =
        tsr_pool_create(e->affinity->n_threads, e->affinity->cpus, e->affinity->oversubscribed, &e->pool);
    return tsr_world_agree(e->world, s);
}

static tsr_status gather(void *ctx, const void *in, int64_t bytes, void *out)
{
    return tsr_world_all_gather(ctx, in, bytes, out);
}

/* The part of the logits that this rank gives: all on rank 0 if they are not split. */
static tsr_status make_sampler(tsr_engine *e)
{
    tsr_gather g = {e->world, tsr_world_rank(e->world), tsr_world_size(e->world), gather};
    const tsr_graph *graph = &e->model->graphs[0];
    int64_t ld, cols, all = graph->values[graph->output].cols, first = e->local->graphs[0].output_first;
    tsr_executor_output(e->executor, &ld, &cols);
    int32_t local = cols == all && g.rank > 0 ? 0 : (int32_t)cols;
    if (e->model->task != TSR_TASK_TEXT_GENERATION)
        return tsr_row_outputs_create((int32_t)all, (int32_t)first, local, &g, &e->row_outputs);
    return tsr_sampler_create((int32_t)all, (int32_t)first, local, &g, e->pool, &e->sampler);
}

static tsr_status build_executor(tsr_engine *e)
{
    double start = tsr_now();
    TSR_TRY(engine_cache_create(e));
    tsr_executor_options o = executor_options(e);
    TSR_TRY(tsr_executor_create(e->local, &o, &e->executor));
    e->info.load_seconds = tsr_now() - start;
    return make_sampler(e);
}

static tsr_status build_steps(tsr_engine *e)
{
    void *p;
    e->record_capacity = tsr_step_record_max_bytes(&e->limits);
    TSR_TRY(tsr_alloc(e->record_capacity, "the step record", &p));
    e->record_bytes = p;
    TSR_TRY(tsr_step_record_create(&e->limits, &e->record));
    TSR_TRY(tsr_slot_table_create(&e->limits, &e->slots));
    TSR_TRY(tsr_step_builder_create(&e->limits, e->local->ropes, e->local->n_ropes, &e->builder));
    tsr_step_builder_set_rules(e->builder, &e->generation);
    for (int i = 0; i < TSR_STEPS_UNDER_WAY; i++) {
        TSR_TRY(tsr_calloc(e->limits.max_rows, sizeof(tsr_sample_result), "the results of a step", &p));
        e->flights[i].results = p;
    }
    if (tsr_world_rank(e->world) != 0) return TSR_OK;
    TSR_TRY(tsr_scheduler_create(&e->limits, &e->scheduler));
    tsr_scheduler_set_ahead(e->scheduler, e->goes_ahead);
    if (e->options.pace) TSR_TRY(tsr_step_pace_create(&e->pace));
    tsr_scheduler_set_pace(e->scheduler, e->pace);
    if (e->options.prefix_cache)
        TSR_TRY(tsr_scheduler_share_prefixes(e->scheduler, e->local->ropes, e->local->n_ropes));
    return TSR_OK;
}

static void fill_info(tsr_engine *e)
{
    tsr_executor_sizes sizes = tsr_executor_get_sizes(e->executor);
    tsr_engine_info *i = &e->info;
    i->family = e->model->family;
    i->dtype = tsr_dtype_name(e->dtype);
    i->isa = sizes.isa;
    i->ranks = tsr_world_size(e->world);
    i->threads = tsr_pool_threads(e->pool);
    i->vocabulary = e->model->vocabulary;
    i->task = tsr_task_name(e->model->task);
    i->labels = e->model->classifier.label;
    i->n_labels = e->model->classifier.labels;
    i->context = e->limits.max_context;
    for (int64_t w = 0; w < e->model->n_weights; w++)
        i->parameters += e->model->weights[w].rows * e->model->weights[w].cols;
    i->weight_bytes = sizes.weight_bytes;
    i->streamed_bytes = sizes.streamed_bytes;
    i->activation_bytes = sizes.activation_bytes;
    i->cache_bytes = sizes.cache_bytes;
    i->cache_bytes_per_token = tsr_cache_bytes_per_token(e->local, e->dtype);
    tsr_weights_cache_report cached;
    tsr_weights_cache_get_report(e->cache, &cached);
    i->from_cache = cached.bytes_read > 0;
    i->bytes_read = cached.bytes_read + (e->source ? tsr_source_bytes_read(e->source) : 0);
}

static void report(const tsr_engine *e)
{
    const tsr_engine_info *i = &e->info;
    char rate[48] = "";
    if (i->bytes_read > 0)
        snprintf(rate, sizeof rate, " (%.1f GB/s)", (double)i->bytes_read / i->load_seconds / 1e9);
    tsr_log(
        TSR_LOG_INFO,
        "%s, %.1f M parameters in %s on %d rank%s of %d thread%s (%s): %.1f MB of weights a rank, %.2f s%s%s",
        i->family, (double)i->parameters / 1e6, i->dtype, i->ranks, i->ranks > 1 ? "s" : "", i->threads,
        i->threads > 1 ? "s" : "", i->isa, (double)i->weight_bytes / 1e6, i->load_seconds, rate,
        !e->source      ? ", at random"
        : i->from_cache ? ", from the cache"
                        : "");
}

/* With --verbose: what the start's time goes into. */
static void end_phase(tsr_engine *e, const char *name)
{
    double now = tsr_now();
    tsr_log(TSR_LOG_DEBUG, "start: %8.1f ms  %s", 1e3 * (now - e->lap), name);
    e->lap = now;
}

static tsr_status build(tsr_engine *e, const tsr_engine_options *options)
{
    int64_t pages = 0;
    e->lap = tsr_now();
    TSR_TRY(tsr_gpu_open(e->world, options->device ? options->device : "auto", &e->gpu));
    end_phase(e, "opening the device");
    tsr_status s = read_model(e, options);
    if (s == TSR_OK) s = choose_limits(e, &pages);
    TSR_TRY(tsr_world_agree(e->world, s));
    TSR_TRY(agree_on_pages(e, pages));
    end_phase(e, "reading config, tokenizer and the headers of the weights");
    TSR_TRY(start_threads(e));
    end_phase(e, "starting threads, connecting ranks");
    s = build_executor(e);
    end_phase(e, "loading weights, binding kernels");
    if (s == TSR_OK) s = build_steps(e);
    TSR_TRY(tsr_world_agree(e->world, s));
    TSR_TRY(engine_cache_settle(e));
    end_phase(e, "what steps need, and waiting for other ranks");
    fill_info(e);
    if (!e->options.quiet) report(e);
    return TSR_OK;
}

tsr_status tsr_engine_create_in(tsr_world *world, const tsr_engine_options *options, tsr_engine **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_engine), "the engine", &p));
    tsr_engine *e = p;
    e->world = world;
    e->dismissed = true; /* nobody follows until the engine stands */
    tsr_status s = tsr_arena_create("the engine", &e->arena);
    if (s == TSR_OK) s = build(e, options);
    if (s != TSR_OK)
        tsr_engine_destroy(&e);
    else
        e->dismissed = false;
    /* Loading has a longer one; from here on, every wait is a part of a step. */
    if (s == TSR_OK) tsr_world_set_deadline(world, options->deadline);
    *out = e;
    return s;
}

tsr_status tsr_engine_create(const tsr_engine_options *options, tsr_engine **out)
{
    tsr_world *world;
    *out = NULL;
    tsr_world_options w = {.deadline_seconds = options->deadline};
    TSR_TRY(tsr_world_create(&w, &world));
    tsr_log_setup(options->quiet ? TSR_LOG_WARNING : TSR_LOG_INFO,
                  tsr_world_size(world) > 1 ? tsr_world_rank(world) : -1);
    tsr_status s = tsr_engine_create_in(world, options, out);
    if (s != TSR_OK)
        tsr_world_destroy(&world);
    else
        (*out)->owns_world = true;
    return s;
}

void tsr_engine_destroy(tsr_engine **engine)
{
    tsr_engine *e = *engine;
    if (!e) return;
    if (!e->dismissed && tsr_world_rank(e->world) == 0) tsr_engine_dismiss(e);
    engine_requests_free(e);
    tsr_scheduler_destroy(&e->scheduler);
    tsr_step_pace_destroy(&e->pace);
    tsr_sampler_destroy(&e->sampler);
    tsr_row_outputs_destroy(&e->row_outputs);
    tsr_step_builder_destroy(&e->builder);
    tsr_slot_table_destroy(&e->slots);
    tsr_step_record_destroy(&e->record);
    for (int i = 0; i < TSR_STEPS_UNDER_WAY; i++) tsr_free(e->flights[i].results);
    tsr_free(e->record_bytes);
    tsr_executor_destroy(&e->executor);
    tsr_comm_destroy(&e->comm);
    tsr_gpu_close(&e->gpu);
    tsr_pool_destroy(&e->pool);
    tsr_tokenizer_destroy(&e->tokenizer);
    tsr_weights_cache_destroy(&e->cache);
    tsr_source_destroy(&e->source);
    tsr_model_destroy(&e->local);
    tsr_sharding_destroy(&e->sharding);
    tsr_model_destroy(&e->model);
    tsr_arena_destroy(&e->arena);
    if (e->owns_world) tsr_world_destroy(&e->world);
    tsr_free(e);
    *engine = NULL;
}

/* --- Asking --- */

int tsr_engine_rank(const tsr_engine *e)
{
    return tsr_world_rank(e->world);
}

int tsr_engine_ranks(const tsr_engine *e)
{
    return tsr_world_size(e->world);
}

void tsr_engine_get_info(const tsr_engine *e, tsr_engine_info *out)
{
    *out = e->info;
    out->peak_resident_bytes = tsr_peak_resident_bytes();
}

tsr_world *tsr_engine_world(const tsr_engine *e)
{
    return e->world;
}

tsr_gpu *tsr_engine_gpu(const tsr_engine *e)
{
    return e->gpu;
}

tsr_pool *tsr_engine_pool(const tsr_engine *e)
{
    return e->pool;
}

const tsr_executor *tsr_engine_executor(const tsr_engine *e)
{
    return e->executor;
}

tsr_host_times tsr_engine_get_host_times(const tsr_engine *e)
{
    return e->times;
}

void tsr_engine_reset_times(tsr_engine *e)
{
    e->times = (tsr_host_times){0};
    tsr_executor_reset_profile(e->executor);
}

const tsr_tokenizer *tsr_engine_tokenizer(const tsr_engine *e)
{
    return e->tokenizer;
}

tsr_engine_counts tsr_engine_get_counts(const tsr_engine *e)
{
    tsr_scheduler_counts c;
    tsr_scheduler_get_counts(e->scheduler, &c);
    return (tsr_engine_counts){.waiting = c.waiting,
                               .running = c.running,
                               .pages_total = c.pages_total,
                               .pages_used = c.pages_used,
                               .pages_touched = c.pages_touched,
                               .steps = c.steps,
                               .prompt_tokens = c.prompt_tokens,
                               .generated_tokens = c.generated_tokens,
                               .prefix_queries = c.prefix_queries,
                               .prefix_hits = c.prefix_hits};
}
