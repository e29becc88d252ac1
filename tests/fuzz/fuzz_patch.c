/*
 * A delta as the primary sends it, against a small old file. The first byte chooses the size of the
 * pieces and whether steps are limited; whatever comes, the sink decides how much is enough.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/replay.h"

#include "base/io.h"
#include "tree/content/delta.h"

enum { OLD = 4096, ENOUGH = 1 << 20 };

static int old_file(void)
{
    uint8_t bytes[OLD];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 256);
    int fd = memfd_create("old", MFD_CLOEXEC);
    FUZZ_REQUIRE(fd >= 0 && io_write_full(fd, bytes, sizeof bytes) == 0);
    return fd;
}

static int take(void *ctx, const void *p, size_t n, struct err *err)
{
    size_t *taken = ctx;
    static uint8_t copy[64 * 1024]; /* a sanitizer looks at every byte */
    FUZZ_REQUIRE(n > 0 && n <= sizeof copy);
    memcpy(copy, p, n);
    *taken += n;
    return *taken > ENOUGH ? err_set(err, ERR_FAILED, "enough") : 0;
}

static int feed(struct delta_patch *p, const uint8_t *data, size_t n)
{
    struct err err = {0};
    int result = delta_patch_step(p, data, n, &err);
    while (result == DELTA_BUSY)
        result = delta_patch_step(p, NULL, 0, &err);
    FUZZ_REQUIRE(result >= 0 || err.text[0] != '\0');
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    int fd = old_file();
    size_t taken = 0, piece = (size_t)(data[0] & 0x7f) + 1;
    struct delta_patch *p = delta_patch_new(fd, take, &taken);
    delta_patch_limit(p, data[0] & 0x80 ? 1000 : 0);
    int result = DELTA_MORE;
    for (size_t at = 1, n; at < size && result >= 0; at += n) {
        n = size - at < piece ? size - at : piece;
        FUZZ_REQUIRE(result != DELTA_DONE || feed(p, data + at, n) < 0); /* bytes behind the end */
        result = result == DELTA_DONE ? -1 : feed(p, data + at, n);
    }
    FUZZ_REQUIRE(result >= 0 || feed(p, NULL, 0) < 0); /* a failure is final */
    delta_patch_free(p);
    close(fd);
    return 0;
}
