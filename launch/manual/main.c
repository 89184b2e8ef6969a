/* main.c: `tessera_manual page|document`: prints the manual page, or docs/configuration.md. A tool of the build. */
#include "launch/manual/manual.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    tsr_text out;
    bool page = argc == 2 && strcmp(argv[1], "page") == 0;
    if (!page && (argc != 2 || strcmp(argv[1], "document") != 0))
        return fprintf(stderr, "usage: tessera_manual page|document\n"), 2;
    tsr_status s = tsr_text_init(&out, TSR_TEXT_NO_CAP);
    if (s == TSR_OK) s = page ? tsr_manual_page(&out) : tsr_manual_document(&out);
    bool written = s == TSR_OK && fwrite(out.data, 1, (size_t)out.length, stdout) == (size_t)out.length;
    tsr_text_free(&out);
    if (s != TSR_OK) fprintf(stderr, "tessera_manual: %s\n", tsr_error_text());
    return written && fflush(stdout) == 0 ? 0 : 1;
}
