/*
 * Patterns that a peer or a configuration gives, against paths: the first line is a pattern, the
 * others are paths. What is excluded beneath a directory must be what lies beneath an excluded one.
 */
#include <string.h>

#include "tests/fuzz/replay.h"

#include "protocol/path.h"
#include "tree/filter.h"
#include "tree/unit_rules.h"

static void look(const struct filter *f, const struct unit_rules *units, struct bytes path)
{
    struct bytes key;
    if (!path_valid(path))
        return;
    bool excluded = filter_excludes_deep(f, path, false);
    struct bytes above = path_parent(path);
    if (above.len && filter_excludes_deep(f, above, true))
        FUZZ_REQUIRE(excluded);
    if (unit_rules_match(units, path, false, &key))
        FUZZ_REQUIRE(unit_rules_touches(units, key, path));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct filter *f = filter_new();
    struct unit_rules *units = unit_rules_new();
    struct err err;
    const char *at = (const char *)data, *end = at + size;
    for (bool first = true; at < end; first = false) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        struct bytes line = {at, (size_t)((stop ? stop : end) - at)};
        char text[1025] = "";
        if (first && line.len < sizeof text) {
            memcpy(text, line.data, line.len);
            (void)filter_add(f, false, line, &err);
            (void)unit_rules_add(units, text, &err);
        } else {
            look(f, units, line);
        }
        at = stop ? stop + 1 : end;
    }
    unit_rules_free(units);
    filter_free(f);
    return 0;
}
