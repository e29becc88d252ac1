/* A packed piece as a peer sends it: one frame of at most what is allowed, or refused. */
#include "tests/fuzz/replay.h"

#include "tree/content/zip.h"

enum { ALLOWED = 64 * 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *out = malloc(ALLOWED); /* on the heap: a sanitizer sees a byte too many */
    FUZZ_REQUIRE(out != NULL);
    struct zip *z = zip_new(3);
    struct err err = {0};
    size_t n = 0;
    if (zip_unpack(z, data, size, out, ALLOWED, &n, &err) == 0)
        FUZZ_REQUIRE(n <= ALLOWED);
    else
        FUZZ_REQUIRE(err.text[0] != '\0');
    zip_free(z);
    free(out);
    return 0;
}
