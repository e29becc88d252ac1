/* A stream of frames, each decoded by its type: what either end reads from its peer. */
#include <string.h>

#include "tests/fuzz/again.h"
#include "tests/fuzz/replay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_writer w = {.max = FRAME_MAX};
    struct frame frame;
    int n;
    for (size_t at = 0; (n = frame_next(data + at, size - at, &frame)) > 0; at += (size_t)n) {
        FUZZ_REQUIRE(n <= FRAME_MAX && (size_t)n <= size - at);
        wire_reset(&w);
        if (!again_message(frame.type, frame.payload, &w))
            continue;
        FUZZ_REQUIRE(!w.bad && w.len == (size_t)n && memcmp(w.data, data + at, w.len) == 0);
    }
    wire_free(&w);
    return 0;
}
