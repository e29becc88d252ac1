/* A path as a peer sends it: what is valid can be taken apart and stays valid. */
#include <string.h>

#include "tests/fuzz/replay.h"

#include "protocol/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes path = {data, size};
    while (path.len > 0 && path_valid(path)) {
        struct bytes parent = path_parent(path);
        struct bytes name = path_name(path);
        FUZZ_REQUIRE(path_name_valid(name) && path_valid(parent));
        FUZZ_REQUIRE(parent.len + (parent.len > 0) + name.len == path.len);
        FUZZ_REQUIRE(path_beneath(path, parent) && !path_beneath(parent, path));
        path = parent;
    }
    return 0;
}
