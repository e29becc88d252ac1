/* The items of a LISTING, one after the other. */
#include <string.h>

#include "tests/fuzz/replay.h"

#include "protocol/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_writer w = {0};
    struct wire_reader r = wire_reader_of(data, size);
    while (!wire_done(&r)) {
        struct msg_item item;
        msg_item_decode(&r, &item);
        if (r.bad)
            break;
        FUZZ_REQUIRE(path_name_valid(item.name) && item.entry.type != ENTRY_NONE);
        msg_item_encode(&w, &item);
        FUZZ_REQUIRE(!w.bad && w.len == r.pos && memcmp(w.data, data, w.len) == 0);
    }
    wire_free(&w);
    return 0;
}
