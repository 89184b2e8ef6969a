/* embed.c: a program that generates text with Tessera. It runs alone, and on N ranks under `mpirun -n N`:
 *
 *     cc embed.c -o embed $(pkg-config --cflags --libs tessera)
 *     mpirun -n 2 ./embed MODEL_DIR "Once upon a time"
 */
#include <stdio.h>
#include <tessera.h>

static void print(void *user, int64_t request, const char *text, size_t length)
{
    (void)user, (void)request;
    fwrite(text, 1, length, stdout);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc != 3) return fprintf(stderr, "usage: embed MODEL_DIR PROMPT\n"), 2;
    tsr_engine *engine = NULL;
    tsr_engine_options options = TSR_ENGINE_OPTIONS_INIT;
    tsr_request_options request = TSR_REQUEST_OPTIONS_INIT;
    options.model = argv[1];
    request.prompt = argv[2];
    request.on_text = print;

    tsr_status status = tsr_engine_create(&options, &engine);
    if (status == TSR_OK && tsr_engine_rank(engine) > 0) {
        status = tsr_engine_follow(engine);
    } else if (status == TSR_OK) {
        status = tsr_engine_submit(engine, &request, NULL);
        if (status == TSR_OK) status = tsr_engine_run(engine);
    }
    if (status != TSR_OK) fprintf(stderr, "embed: %s\n", tsr_last_error());
    tsr_engine_destroy(&engine);
    return tsr_status_exit_code(status);
}
