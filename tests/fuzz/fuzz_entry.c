/* One entry, as it stands in messages and in manifests. */
#include <string.h>

#include "tests/fuzz/replay.h"

#include "protocol/entry.h"
#include "protocol/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_reader r = wire_reader_of(data, size);
    struct entry e;
    entry_decode(&r, &e);
    if (r.bad)
        return 0;
    FUZZ_REQUIRE(e.type <= ENTRY_LINK && e.mode <= 07777 && e.mtime_nsec < 1000000000);
    FUZZ_REQUIRE(e.target.len <= PATH_TARGET_MAX && (e.target.len > 0) == (e.type == ENTRY_LINK));
    struct wire_writer w = {0};
    entry_encode(&w, &e);
    FUZZ_REQUIRE(!w.bad && w.len == r.pos && memcmp(w.data, data, w.len) == 0);
    wire_free(&w);
    return 0;
}
