/* tokenizer.c: finding the format of a model's tokenizer, and questions about its vocabulary. */
#include "runtime/tokenizer/formats.h"
#include "runtime/tokenizer/parts.h"
#include "base/memory.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <sys/stat.h>

static const tsr_tokenizer_format *const formats[] = {
    &tsr_format_tokenizer_json, &tsr_format_vocab_merges, &tsr_format_tiktoken,
    &tsr_format_sentencepiece,  &tsr_format_ice_text,     &tsr_format_sentencepiece_bpe,
    &tsr_format_cog_pretrain,
};

tsr_status tsr_tokenizer_create(tsr_tokenizer **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_tokenizer), "a tokenizer", &p));
    tsr_tokenizer *t = p;
    pthread_mutex_init(&t->lock, NULL);
    t->around = (tsr_template){.item = {TSR_TEMPLATE_TEXT}, .count = 1};
    tsr_status status = tsr_arena_create("a tokenizer", &t->arena);
    if (status != TSR_OK) tsr_tokenizer_destroy(&t);
    *out = t;
    return status;
}

void tsr_tokenizer_destroy(tsr_tokenizer **tokenizer)
{
    tsr_tokenizer *t = *tokenizer;
    if (!t) return;
    for (tsr_work *w = t->idle, *next; w; w = next) {
        next = w->link;
        t->model.kind->release_work(w->model);
        tsr_work_destroy(&w);
    }
    tsr_components_release(&t->normalizers);
    tsr_components_release(&t->pre_tokenizers);
    tsr_components_release(&t->decoders);
    tsr_added_tokens_destroy(&t->added);
    tsr_model_release(&t->model);
    tsr_arena_destroy(&t->arena);
    pthread_mutex_destroy(&t->lock);
    tsr_free(t);
    *tokenizer = NULL;
}

/* Whatever has the name counts: a link into nowhere, or a folder, is a fault to be told when it is read. */
static tsr_status has_entry(const char *dir, const char *file, bool *out)
{
    struct stat st;
    char *path;
    TSR_TRY(tsr_tokenizer_path(dir, file, &path));
    *out = lstat(path, &st) == 0;
    tsr_free(path);
    return TSR_OK;
}

static tsr_status is_present(const char *dir, const tsr_tokenizer_format *format, bool *out)
{
    *out = true;
    for (int i = 0; i < 2 && *out && format->files[i]; i++) TSR_TRY(has_entry(dir, format->files[i], out));
    return TSR_OK;
}

tsr_status tsr_tokenizer_exists(const char *model_dir, bool *out)
{
    *out = false;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0] && !*out; i++)
        TSR_TRY(is_present(model_dir, formats[i], out));
    return TSR_OK;
}

tsr_status tsr_tokenizer_load(const char *model_dir, tsr_tokenizer **out)
{
    *out = NULL;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        bool present;
        TSR_TRY(is_present(model_dir, formats[i], &present));
        if (!present) continue;
        TSR_TRY(tsr_tokenizer_create(out));
        tsr_status status = formats[i]->load(model_dir, *out);
        if (status != TSR_OK) tsr_tokenizer_destroy(out);
        return status;
    }
    return tsr_fail(
        TSR_ERR_IO,
        "%s: no tokenizer found: expected tokenizer.json, or vocab.json with merges.txt, or tokenizer.model, "
        "qwen.tiktoken, ice_text.model, sentencepiece.bpe.model or cog-pretrain.model",
        model_dir);
}

tsr_status tsr_tokenizer_take_work(const tsr_tokenizer *shared, tsr_work **out)
{
    tsr_tokenizer *t = (tsr_tokenizer *)shared; /* `lock` and `idle` are all that changes */
    pthread_mutex_lock(&t->lock);
    *out = t->idle;
    if (*out) t->idle = (*out)->link;
    pthread_mutex_unlock(&t->lock);
    return *out ? TSR_OK : tsr_work_create(out);
}

void tsr_tokenizer_return_work(const tsr_tokenizer *shared, tsr_work *work)
{
    tsr_tokenizer *t = (tsr_tokenizer *)shared;
    tsr_work_trim(work);
    t->model.kind->trim_work(work->model);
    pthread_mutex_lock(&t->lock);
    work->link = t->idle;
    t->idle = work;
    pthread_mutex_unlock(&t->lock);
}

int32_t tsr_tokenizer_size(const tsr_tokenizer *t)
{
    int32_t model = tsr_vocabulary_size(t->model.vocabulary), added = tsr_added_tokens_size(t->added);
    return model > added ? model : added;
}

int32_t tsr_tokenizer_id(const tsr_tokenizer *t, const char *piece)
{
    int64_t n = (int64_t)strlen(piece);
    int32_t id = tsr_added_token_id(t->added, piece, n);
    return id >= 0 ? id : tsr_vocabulary_id(t->model.vocabulary, piece, n);
}

const char *tsr_tokenizer_piece(const tsr_tokenizer *t, int32_t id, int64_t *n)
{
    const tsr_added_token *token = tsr_added_token_of(t->added, id);
    if (!token) return tsr_vocabulary_piece(t->model.vocabulary, id, n);
    *n = token->length;
    return token->content;
}

bool tsr_tokenizer_is_special(const tsr_tokenizer *t, int32_t id)
{
    const tsr_added_token *token = tsr_added_token_of(t->added, id);
    if (token) return token->skipped;
    return t->model.kind->is_special && t->model.kind->is_special(&t->model, id);
}
