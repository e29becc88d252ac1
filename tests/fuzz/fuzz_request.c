/* A line that came to the control socket: read, and written again as an answer would be. */
#include <string.h>

#include "tests/fuzz/replay.h"

#include "base/json.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json *request = json_parse((const char *)data, size);
    if (!request)
        return 0;
    const char *asked = json_get_text(request, "do", NULL);
    struct json *answer = json_object();
    if (asked)
        json_set_name(answer, "error", asked, strlen(asked));
    const struct json *paths = json_get(request, "paths");
    for (size_t i = 0; i < json_count(paths) && i < 100; i++)
        if (json_text_at(paths, i))
            json_set_text(answer, "path", json_text_at(paths, i));
    json_set_number(answer, "seconds", json_get_number(request, "seconds", 0));
    char *text CLEANUP_FREE = json_print(answer, false);
    struct json *again = json_parse(text, strlen(text));
    FUZZ_REQUIRE(again && !strchr(text, '\n'));
    json_free(again);
    json_free(answer);
    json_free(request);
    return 0;
}
