/* metrics.c: counters, gauges and histograms as Prometheus reads them. */
#include "launch/serve/metrics.h"

#include <string.h>

static const double bounds[TSR_METRIC_BUCKETS] = {0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025,
                                                  0.03,  0.04,   0.05,  0.075,  0.1,  0.15,  0.25, 0.5,
                                                  1,     2.5,    5,     10,     30,   60,    120,  300};

void tsr_metrics_init(tsr_metrics *m)
{
    *m = (tsr_metrics){0};
    pthread_mutex_init(&m->lock, NULL);
    tsr_thread_clocks_init(&m->http);
}

void tsr_metrics_observe(tsr_metrics *m, tsr_histogram *h, double seconds)
{
    int i = 0;
    while (i < TSR_METRIC_BUCKETS && seconds > bounds[i]) i++;
    pthread_mutex_lock(&m->lock);
    h->bucket[i]++;
    h->sum += seconds;
    pthread_mutex_unlock(&m->lock);
}

void tsr_metrics_finished(tsr_metrics *m, tsr_finish reason)
{
    pthread_mutex_lock(&m->lock);
    m->finished[reason]++;
    pthread_mutex_unlock(&m->lock);
}

void tsr_metrics_answered(tsr_metrics *m, const char *route, int status)
{
    int i = 0;
    pthread_mutex_lock(&m->lock);
    while (i < m->n_answers && (m->answers[i].status != status || strcmp(m->answers[i].route, route) != 0))
        i++;
    if (i == m->n_answers && i < TSR_METRIC_ANSWERS)
        m->answers[m->n_answers++] = (tsr_answer_count){.route = route, .status = status};
    if (i < TSR_METRIC_ANSWERS) m->answers[i].count++;
    pthread_mutex_unlock(&m->lock);
}

void tsr_metrics_engine(tsr_metrics *m, const tsr_engine_counts *counts, const tsr_host_seconds *host)
{
    pthread_mutex_lock(&m->lock);
    m->engine = *counts;
    m->host = *host;
    pthread_mutex_unlock(&m->lock);
}

/* --- Printing --- */

static tsr_status head(tsr_text *out, const char *name, const char *kind, const char *help)
{
    return tsr_text_format(out, "# HELP tessera_%s %s\n# TYPE tessera_%s %s\n", name, help, name, kind);
}

static tsr_status number(tsr_text *out, const char *name, const char *kind, double value, const char *help)
{
    TSR_TRY(head(out, name, kind, help));
    return tsr_text_format(out, "tessera_%s %.17g\n", name, value);
}

static tsr_status histogram(tsr_text *out, const char *name, const tsr_histogram *h, const char *help)
{
    int64_t count = 0;
    TSR_TRY(head(out, name, "histogram", help));
    for (int i = 0; i < TSR_METRIC_BUCKETS; i++) {
        count += h->bucket[i];
        TSR_TRY(
            tsr_text_format(out, "tessera_%s_bucket{le=\"%g\"} %lld\n", name, bounds[i], (long long)count));
    }
    count += h->bucket[TSR_METRIC_BUCKETS];
    return tsr_text_format(
        out, "tessera_%s_bucket{le=\"+Inf\"} %lld\ntessera_%s_sum %.9g\ntessera_%s_count %lld\n", name,
        (long long)count, name, h->sum, name, (long long)count);
}

static tsr_status print_engine(const tsr_engine_counts *c, tsr_text *out)
{
    double used = c->pages_total > 0 ? (double)c->pages_used / c->pages_total : 0;
    TSR_TRY(number(out, "num_requests_running", "gauge", c->running, "answers being made"));
    TSR_TRY(number(out, "num_requests_waiting", "gauge", c->waiting, "answers waiting for room"));
    TSR_TRY(number(out, "kv_cache_usage_perc", "gauge", used, "pages of keys and values in use; 1 is all"));
    TSR_TRY(number(out, "kv_cache_pages_used", "gauge", c->pages_used, "pages of keys and values in use"));
    TSR_TRY(number(out, "kv_cache_pages_total", "gauge", c->pages_total, "pages of keys and values"));
    TSR_TRY(number(out, "kv_cache_pages_touched", "gauge", c->pages_touched,
                   "pages of keys and values that were ever in use: those that take memory"));
    TSR_TRY(number(out, "engine_steps_total", "counter", (double)c->steps, "steps of the engine"));
    TSR_TRY(
        number(out, "prompt_tokens_total", "counter", (double)c->prompt_tokens, "tokens of prompts read"));
    TSR_TRY(number(out, "prefix_cache_queries_total", "counter", (double)c->prefix_queries,
                   "tokens of prompts looked for in the prefix cache"));
    TSR_TRY(number(out, "prefix_cache_hits_total", "counter", (double)c->prefix_hits,
                   "tokens of prompts found in the prefix cache, and so not read again"));
    return number(out, "generation_tokens_total", "counter", (double)c->generated_tokens, "tokens made");
}

static tsr_status print_host(tsr_metrics *m, tsr_text *out)
{
    TSR_TRY(head(out, "step_host_seconds_total", "counter",
                 "of rank 0's time between and around the model's work, by what for"));
#define PRINT_STAGE(FIELD, stage)                                                                            \
    TSR_TRY(                                                                                                 \
        tsr_text_format(out, "tessera_step_host_seconds_total{stage=\"%s\"} %.9g\n", stage, m->host.FIELD));
    TSR_HOST_STAGE_TABLE(PRINT_STAGE)
#undef PRINT_STAGE
    return number(out, "http_cpu_seconds_total", "counter", tsr_thread_clocks_seconds(&m->http),
                  "CPU time of the threads that read requests and write answers");
}

static tsr_status print_answers(const tsr_metrics *m, tsr_text *out)
{
    TSR_TRY(head(out, "request_success_total", "counter", "answers made, by the reason of their end"));
    for (int i = TSR_FINISH_EOS; i <= TSR_FINISH_ERROR; i++)
        TSR_TRY(tsr_text_format(out, "tessera_request_success_total{finished_reason=\"%s\"} %lld\n",
                                tsr_finish_name((tsr_finish)i), (long long)m->finished[i]));
    TSR_TRY(head(out, "http_requests_total", "counter", "HTTP requests answered"));
    for (int i = 0; i < m->n_answers; i++)
        TSR_TRY(tsr_text_format(out, "tessera_http_requests_total{route=\"%s\",code=\"%d\"} %lld\n",
                                m->answers[i].route, m->answers[i].status, (long long)m->answers[i].count));
    return TSR_OK;
}

static tsr_status print_info(const char *model, const tsr_engine_info *info, bool ready, tsr_text *out)
{
    TSR_TRY(number(out, "ready", "gauge", ready, "1 while requests are taken"));
    TSR_TRY(number(out, "load_seconds", "gauge", info->load_seconds, "that the weights took to load"));
    TSR_TRY(number(out, "weight_bytes", "gauge", (double)info->weight_bytes, "of weights on rank 0"));
    TSR_TRY(head(out, "build_info", "gauge", "what runs here"));
    TSR_TRY(tsr_text_format(
        out, "tessera_build_info{version=\"%s\",family=\"%s\",dtype=\"%s\",ranks=\"%d\",model_name=",
        tsr_version(), info->family ? info->family : "", info->dtype ? info->dtype : "", info->ranks));
    TSR_TRY(tsr_text_json(out, model, (int64_t)strlen(model)));
    return tsr_text_puts(out, "} 1\n");
}

tsr_status tsr_metrics_print(tsr_metrics *m, const char *model, const tsr_engine_info *info, bool ready,
                             tsr_text *out)
{
    pthread_mutex_lock(&m->lock);
    tsr_status s = print_engine(&m->engine, out);
#define PRINT_HISTOGRAM(FIELD, name, help)                                                                   \
    if (s == TSR_OK) s = histogram(out, name, &m->FIELD, help);
    TSR_HISTOGRAM_TABLE(PRINT_HISTOGRAM)
#undef PRINT_HISTOGRAM
    if (s == TSR_OK) s = print_host(m, out);
    if (s == TSR_OK) s = print_answers(m, out);
    if (s == TSR_OK) s = print_info(model, info, ready, out);
    pthread_mutex_unlock(&m->lock);
    return s;
}
