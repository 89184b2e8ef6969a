/* replay.c: main() for fuzz targets built without libFuzzer: runs each file named on the command line once. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path)
{
    enum { CAP = 16 << 20 };
    FILE *f = fopen(path, "rb");
    if (!f) return perror(path), 1;
    uint8_t *data = malloc(CAP);
    size_t n = data ? fread(data, 1, CAP, f) : 0;
    fclose(f);
    if (data) LLVMFuzzerTestOneInput(data, n);
    free(data);
    return data ? 0 : 1;
}

int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 1; i < argc; i++) failed |= replay(argv[i]);
    printf("replayed %d inputs\n", argc - 1);
    return failed;
}
