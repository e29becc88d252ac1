/*
 * A signature as the secondary sends it, the first byte choosing the size of the pieces; where it
 * is taken, a delta is made with it, which must account for every byte of the new file.
 */
#include "tests/fuzz/replay.h"

#include "tree/content/delta.h"

enum { NEW = 8192 };

static bool take(struct delta_make *d, const uint8_t *data, size_t size)
{
    struct err err = {0};
    size_t piece = (size_t)data[0] + 1;
    for (size_t at = 1, n;; at += n) {
        n = size - at < piece ? size - at : piece;
        bool last = at + n == size;
        if (delta_make_signature(d, data + at, n, last, &err) < 0) {
            FUZZ_REQUIRE(err.text[0] != '\0');
            return false;
        }
        if (last)
            return true;
    }
}

static void make(struct delta_make *d)
{
    uint8_t bytes[NEW], out[1000];
    struct err err = {0};
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 256);
    int result = DELTA_MORE;
    for (size_t at = 0, used, produced, sent = 0; result == DELTA_MORE; at += used) {
        result =
            delta_make_step(d, bytes + at, NEW - at, true, &used, out, sizeof out, &produced, &err);
        FUZZ_REQUIRE(result >= 0 && used <= NEW - at && produced <= sizeof out);
        sent += produced;
        FUZZ_REQUIRE(sent < 2 * NEW);
    }
    uint64_t matched, literal;
    delta_make_counts(d, &matched, &literal);
    FUZZ_REQUIRE(matched + literal == NEW);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct delta_make *d = delta_make_new();
    if (take(d, data, size))
        make(d);
    delta_make_free(d);
    return 0;
}
