/* What the manifest's store gives back as a record, after a crash or from a damaged file. */
#include <string.h>

#include "tests/fuzz/replay.h"

#include "tree/manifest/manifest_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_writer w = {0};
    struct record record;
    if (manifest_record((struct bytes){data, size}, &record)) {
        manifest_encode(&w, &record);
        FUZZ_REQUIRE(!w.bad && w.len == size && memcmp(w.data, data, size) == 0);
    }
    wire_free(&w);
    return 0;
}
