/* status.h: how every function of Tessera reports failure.
 *
 * A function that can fail returns a tsr_status. One table gives each status its name, its sentence, the exit
 * code of the program and the HTTP status of the server; nothing below `main` exits or aborts. The detail (which
 * file, tensor or option, what was expected, what was found) goes to an error record of the calling thread:
 *
 *     if (n > cap) return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%s\" has %lld elements, at most %lld", ...);
 *     TSR_TRY(tsr_thing_create(..., &thing));            // passes a failure on
 *
 * The record holds one line, without newline. All functions are local (no communication) and thread-safe.
 */
#ifndef TSR_BASE_STATUS_H
#define TSR_BASE_STATUS_H

/* Expanded as X(name, message, exit_code, http_status). Exit codes are part of the documented interface. */
#define TSR_STATUS_TABLE(X)                                                                                  \
    X(OK, "success", 0, 200)                                                                                 \
    X(ERR_INTERNAL, "internal error", 1, 500)                                                                \
    X(ERR_USAGE, "invalid option or argument", 2, 400)                                                       \
    X(ERR_FORMAT, "malformed or unsupported model file", 3, 500)                                             \
    X(ERR_IO, "file cannot be read or written", 3, 500)                                                      \
    X(ERR_RANK_LOST, "a rank of the job was lost", 4, 503)                                                   \
    X(ERR_DEADLINE, "a deadline passed", 5, 504)                                                             \
    X(ERR_MEMORY, "out of memory", 6, 503)                                                                   \
    X(ERR_CAPACITY, "request exceeds a limit of the model or the cache", 2, 400)                             \
    X(ERR_DEVICE, "a GPU failed", 7, 503)                                                                    \
    X(ERR_LAUNCH, "the ranks were not started as one job", 2, 500)                                           \
    X(ERR_CANCELLED, "stopped on request", 143, 499)

typedef enum tsr_status {
#define TSR_STATUS_ENUM(name, message, exit_code, http) TSR_##name,
    TSR_STATUS_TABLE(TSR_STATUS_ENUM)
#undef TSR_STATUS_ENUM
        TSR_STATUS_COUNT
} tsr_status;

const char *tsr_status_name(tsr_status s);    /* "ERR_FORMAT" */
const char *tsr_status_message(tsr_status s); /* the table's sentence */
int tsr_status_exit_code(tsr_status s);
int tsr_status_http(tsr_status s);

/* Records the detail of a failure for this thread (replacing any earlier one) and returns `s`. Control
 * characters in the formatted text are shown as '?', so that nothing read from a file can break the line. */
tsr_status tsr_fail(tsr_status s, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* Puts context in front of the record: "CONTEXT: detail". Returns `s`. For callers that know more. */
tsr_status tsr_fail_in(tsr_status s, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* The last recorded detail of this thread; "" if none. Valid until the next failure on this thread. */
const char *tsr_error_text(void);
void tsr_error_clear(void);

#define TSR_TRY(expression)                                                                                  \
    do {                                                                                                     \
        tsr_status tsr_try_status_ = (expression);                                                           \
        if (tsr_try_status_ != TSR_OK) return tsr_try_status_;                                               \
    } while (0)

/* As TSR_TRY, for functions that release what they hold at label `out` and return variable `status`. */
#define TSR_TRY_OUT(expression)                                                                              \
    do {                                                                                                     \
        status = (expression);                                                                               \
        if (status != TSR_OK) goto out;                                                                      \
    } while (0)

#endif
