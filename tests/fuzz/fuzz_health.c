/*
 * What `mirrord health` reads: a request from the network, which nobody has let in, and the note of
 * a site, which a receiver wrote that may have been taken over. What it says of both goes to
 * terminals and load balancers.
 */
#include <string.h>

#include "tests/fuzz/replay.h"

#include "base/mem.h"
#include "command/health/health_report.h"
#include "secondary/health/health_note.h"

static void require_a_line(const char *text, size_t size)
{
    const char *end = memchr(text, '\0', size);
    FUZZ_REQUIRE(end);
    for (const char *p = text; p < end; p++)
        FUZZ_REQUIRE((unsigned char)*p >= ' ' && *p != 0x7f);
}

static void try_note(const char *text)
{
    struct health_note note;
    if (!health_note_parse(text, &note))
        return;
    FUZZ_REQUIRE(note.state <= HEALTH_CLOSED);
    require_a_line(note.primary, sizeof note.primary);
    require_a_line(note.text, sizeof note.text);
}

static void try_request(const char *text)
{
    struct health_request request;
    health_request_parse(text, &request);
    FUZZ_REQUIRE(memchr(request.site, '\0', sizeof request.site));
    FUZZ_REQUIRE(request.refused == 0 || request.refused == 400 || request.refused == 405);
    struct health_item item = {.name = request.site, .health.up = true};
    const struct health_report report = {.host = "web2", .items = &item, .count = 1};
    char *json CLEANUP_FREE = health_json(&report, &item);
    FUZZ_REQUIRE(strcspn(json, "\n\r\033") == strlen(json) - 1);
    char *answer CLEANUP_FREE =
        health_http(request.refused ? request.refused : 200, json, !request.head);
    FUZZ_REQUIRE(strncmp(answer, "HTTP/1.", 7) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text CLEANUP_FREE = mem_copy_bytes(data, size);
    try_request(text);
    try_note(text);
    return 0;
}
