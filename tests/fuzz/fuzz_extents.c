/*
 * What a secondary says that its old file holds, compared with a small new file. The first byte
 * chooses the new file's size and how many extents come at a time, the next three the old file's
 * size; whatever is claimed, the new file is accounted for, from its first byte to its last, by
 * ranges of the old one and gaps.
 */
#include <string.h>

#include "tests/fuzz/replay.h"

#include "tree/content/digest.h"
#include "tree/content/extents.h"

enum { NEW = 2 * MSG_EXTENT + 1000, HEAD = 4 };

static uint8_t new_file[NEW];
/* Short ones, since each byte of it is hashed in every execution. */
static const uint64_t new_sizes[] = {NEW, MSG_EXTENT + 1000, 3000, MSG_EXTENT_WINDOW - 1};
static uint64_t new_size;

static void make_new(void)
{
    uint32_t x = 1;
    for (size_t i = 0; i < NEW; i++) {
        x = x * 1664525 + 1013904223;
        new_file[i] = (uint8_t)(x >> 24);
    }
}

static ssize_t read_new(void *ctx, uint64_t at, void *p, struct digest *digest, struct err *err)
{
    (void)ctx;
    (void)err;
    FUZZ_REQUIRE(at < new_size && at % MSG_EXTENT == 0);
    size_t n = new_size - at < MSG_EXTENT ? (size_t)(new_size - at) : MSG_EXTENT;
    memcpy(p, new_file + at, n);
    digest_plain(p, n, digest);
    return (ssize_t)n;
}

/* The next items; the last frame has what is left. False when they were refused. */
static bool feed(struct extents *x, uint64_t size, const uint8_t **data, size_t *left, size_t most)
{
    struct err err = {0};
    size_t n = *left / MSG_EXTENT_BYTES < most ? *left / MSG_EXTENT_BYTES : most;
    struct msg_extents m = {.size = size, .items = {*data, n * MSG_EXTENT_BYTES}};
    *data += m.items.len;
    *left -= m.items.len;
    m.last = *left < MSG_EXTENT_BYTES;
    bool taken = extents_add(x, &m, &err) == 0;
    FUZZ_REQUIRE(taken || err.text[0] != '\0');
    return taken;
}

static void check(const struct extents_run *run, uint64_t at, uint64_t size)
{
    FUZZ_REQUIRE(run->at == at && run->length > 0 && run->length <= new_size - at);
    FUZZ_REQUIRE(run->from <= size && run->range <= size - run->from);
    FUZZ_REQUIRE(!run->copy || run->range == run->length);
    FUZZ_REQUIRE(run->copy || (run->length <= EXTENTS_GAP_MAX && run->range <= MSG_RANGE_MAX));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD)
        return 0;
    if (!new_file[0])
        make_new();
    new_size = new_sizes[data[0] >> 6];
    size_t most = data[0] % 64 ? data[0] % 64 : SIZE_MAX, left = size - HEAD;
    uint64_t old = (uint64_t)data[1] << 16 | (uint64_t)data[2] << 8 | data[3];
    data += HEAD;
    struct extents *x = extents_new(new_size, read_new, NULL);
    struct extents_run run;
    struct err err;
    uint64_t at = 0;
    bool taken = true;
    for (int more; taken && (more = extents_next(x, &run, &err)) != EXTENTS_END;) {
        FUZZ_REQUIRE(more > 0);
        if (more == EXTENTS_WAITS)
            taken = feed(x, old, &data, &left, most);
        if (more == EXTENTS_RUN) {
            check(&run, at, old);
            at += run.length;
        }
    }
    FUZZ_REQUIRE(!taken || at == new_size);
    extents_free(x);
    return 0;
}
