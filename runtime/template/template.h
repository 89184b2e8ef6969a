/* template.h: chat templates: the language of Jinja, as far as templates of models use it, bounded.
 *
 *     tsr_template *t;
 *     TSR_TRY(tsr_template_create(source, n, "chat_template", &t));
 *     TSR_TRY(tsr_template_render(t, variables, NULL, &text));       // variables: {"messages": [..], ..}
 *     tsr_template_destroy(&t);
 *
 * LANGUAGE. What Jinja 3.1 does with trim_blocks, lstrip_blocks and its immutable sandbox, as transformers sets it up:
 *     statements   for (else, if, recursive), if, set (also of blocks and namespaces), macro, call, filter, with, raw,
 *                  break, continue, generation, print-free comments; '-' and '+' at either end of a tag
 *     expressions  all of them; methods of strings, dicts and lists that change nothing
 *     filters, tests, functions, methods: the tables in filters.c, checks.c, functions.c and methods.c, among them
 *                  transformers' tojson, raise_exception and strftime_now
 * Generators are made at once instead of step by step, but are used up as in Python. There is no autoescaping, no
 * inheritance, no import. Integers have 64 bits; beyond is an error. upper() and lower() map single characters (and ß to SS).
 * An unknown statement, filter or test fails when the template is created, with its line.
 *
 * BOUNDS. A template has at most TSR_TEMPLATE_SOURCE_CAP bytes; a rendering has the limits below, so no template and
 * no input can run long, nest deep or grow large. A template reads no file, variable or clock but strftime_now's.
 *
 * ERRORS. "NAME: line N: ..". Creating: TSR_ERR_FORMAT. Rendering: TSR_ERR_USAGE (raise_exception's message, a misuse of a
 * value), TSR_ERR_CAPACITY (a limit). TSR_ERR_MEMORY either way. *out is NULL, or holds what had been rendered.
 *
 * THREADS. A template never changes after it was created: any number of threads may render it at once. Local.
 */
#ifndef TSR_RUNTIME_TEMPLATE_H
#define TSR_RUNTIME_TEMPLATE_H

#include "base/status.h"
#include "base/text.h"

#include <jansson.h>
#include <stdint.h>

enum { TSR_TEMPLATE_SOURCE_CAP = 1 << 20 };

typedef struct tsr_template tsr_template;

typedef struct tsr_template_limits {
    int64_t steps;  /* nodes and elements visited, 16 bytes of text being one */
    int64_t memory; /* bytes of all values made */
    int64_t output; /* bytes rendered */
    int depth;      /* of calls, expressions, statements and values inside one another */
    int64_t now;    /* seconds since 1970 that strftime_now shows in local time; 0: the clock */
} tsr_template_limits;
#define TSR_TEMPLATE_LIMITS_INIT                                                                             \
    {                                                                                                        \
        20000000, 256 << 20, 32 << 20, 400, 0                                                                \
    }

/* `name` is used in messages and copied. */
tsr_status tsr_template_create(const char *source, int64_t n, const char *name, tsr_template **out);
void tsr_template_destroy(tsr_template **t);

/* `variables` is an object; `limits` may be NULL. Appends to *out. */
tsr_status tsr_template_render(const tsr_template *t, const json_t *variables,
                               const tsr_template_limits *limits, tsr_text *out);

#endif
