/* A step of a journal, as a killed receiver left it. */
#include <string.h>

#include "tests/fuzz/replay.h"

#include "secondary/commit/step.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_writer w = {0};
    struct step step;
    if (step_decode((struct bytes){data, size}, &step) == 0) {
        step_encode(&w, &step);
        FUZZ_REQUIRE(!w.bad && w.len == size && memcmp(w.data, data, size) == 0);
        step_clear(&step);
    }
    wire_free(&w);
    return 0;
}
