/* main.c: starts the world, reads the command line, runs a command, turns its status into an exit code. */
#include "base/log.h"
#include "launch/command.h"
#include "launch/option_names.h"
#include "launch/option_source.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct command_row {
    const char *name, *summary;
    int bit;
    tsr_status (*run)(tsr_world *world, const tsr_options *options);
} commands[] = {
#define TSR_COMMAND_ROW(NAME, name, summary) {#name, summary, TSR_CMD_##NAME, tsr_cmd_##name},
    TSR_COMMAND_TABLE(TSR_COMMAND_ROW)
#undef TSR_COMMAND_ROW
};

enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

static void print_usage(void)
{
    printf("Tessera %s: transformer models over many ranks\n\n", tsr_version());
    printf("usage: tessera COMMAND [options]\n");
    printf("       mpirun -n N tessera COMMAND [options]\n");
    printf("       srun --mpi=pmix -n N tessera COMMAND [options]\n\ncommands:\n");
    for (int i = 0; i < N_COMMANDS; i++) printf("  %-10s %s\n", commands[i].name, commands[i].summary);
    printf("\n`tessera COMMAND --help` lists the options of a command.\n"
           "Exit codes: 0 success, 1 internal error, 2 bad option or request, 3 bad or unreadable file,\n"
           "            4 lost rank, 5 deadline passed, 6 out of memory,\n"
           "            130 and 143 stopped by SIGINT and SIGTERM.\n");
}

static void print_help(const struct command_row *c)
{
    printf("usage: tessera %s [options]\n\n%s\n\noptions:\n", c->name, c->summary);
    tsr_options_help(c->bit);
}

/* Data already printed must be out before the exit code says that all is well. */
static tsr_status finish_output(tsr_status status)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return status;
    return status == TSR_OK ? tsr_fail(TSR_ERR_IO, "standard output cannot be written") : status;
}

static tsr_status unknown_command(const char *name)
{
    const char *nearest = NULL;
    int least = 4;
    for (int i = 0; i < N_COMMANDS; i++) {
        int d = tsr_name_distance(name, commands[i].name);
        if (d < least) nearest = commands[i].name, least = d;
    }
    if (nearest) return tsr_fail(TSR_ERR_USAGE, "unknown command \"%s\"; did you mean %s?", name, nearest);
    return tsr_fail(TSR_ERR_USAGE, "unknown command \"%s\"; `tessera --help` lists all", name);
}

static tsr_status run_command(const struct command_row *command, tsr_world *world, tsr_options *options)
{
    TSR_TRY(tsr_options_complete(options, world));
    TSR_TRY(tsr_world_agree(world, tsr_options_check(options, world)));
    tsr_log_level told = options->flag[TSR_OPT_VERBOSE] ? TSR_LOG_DEBUG : TSR_LOG_INFO;
    tsr_log_setup(options->flag[TSR_OPT_QUIET] ? TSR_LOG_WARNING : told,
                  tsr_world_size(world) > 1 ? tsr_world_rank(world) : -1);
    return command->run(world, options);
}

static tsr_status dispatch(tsr_world *world, int argc, char **argv)
{
    static tsr_options options; /* large; one per process */
    bool speaks = tsr_world_rank(world) == 0;
    if (argc < 2) return tsr_fail(TSR_ERR_USAGE, "no command was given; `tessera --help` lists all");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        if (speaks) print_usage();
        return TSR_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        if (speaks) printf("tessera %s\n", tsr_version());
        return TSR_OK;
    }
    for (int i = 0; i < N_COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) != 0) continue;
        TSR_TRY(tsr_options_parse(commands[i].bit, argc - 1, argv + 1, &options));
        if (options.flag[TSR_OPT_HELP]) {
            if (speaks) print_help(&commands[i]);
            return TSR_OK;
        }
        tsr_status s = run_command(&commands[i], world, &options);
        tsr_options_free(&options);
        return s;
    }
    return unknown_command(argv[1]);
}

static volatile sig_atomic_t stop_signal;

static void on_signal(int number)
{
    stop_signal = number;
    tsr_engine_request_stop();
    signal(number, SIG_DFL); /* a second one ends the program at once */
}

/* The convention of shells: 128 and the number of the signal. */
static int exit_code(tsr_status status)
{
    return status == TSR_ERR_CANCELLED && stop_signal ? 128 + stop_signal : tsr_status_exit_code(status);
}

/* Whether other ranks may be waiting for this one: a step failed, here or on another rank. What fails between
 * steps is agreed on by all; memory that runs out or an internal error may be either, and then ending the job
 * at once is the safe way. */
static bool leaves_others_waiting(const tsr_world *world, tsr_status status)
{
    if (status == TSR_ERR_RANK_LOST || status == TSR_ERR_DEADLINE) return true;
    return tsr_world_size(world) > 1 && (status == TSR_ERR_INTERNAL || status == TSR_ERR_MEMORY);
}

int main(int argc, char **argv)
{
    tsr_world *world;
    tsr_status status = tsr_world_create(NULL, &world);
    if (status != TSR_OK) {
        fprintf(stderr, "tessera: error: %s\n", tsr_error_text());
        return tsr_status_exit_code(status);
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    status = finish_output(dispatch(world, argc, argv));
    if (leaves_others_waiting(world, status)) tsr_world_abort(world, status, NULL);
    if (status != TSR_OK && tsr_world_rank(world) == 0)
        fprintf(stderr, "tessera: error: %s\n", tsr_error_text());
    tsr_world_destroy(&world);
    return exit_code(status);
}
