/* What the receiver's child says to its parent: it may have been taken over. */
#include <string.h>

#include "tests/fuzz/replay.h"

#include "secondary/confine/asks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t again[ASK_PACKET_MAX];
    struct ask ask;
    if (ask_decode((struct bytes){data, size}, &ask)) {
        size_t n = ask_encode(&ask, again);
        FUZZ_REQUIRE(n == size && memcmp(again, data, size) == 0);
    }
    return 0;
}
