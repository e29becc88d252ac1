/*
 * What comes out of an inotify instance, in any order and with any masks, becomes hints. An input
 * is records of watch (1 byte), mask (4), cookie (1), name (2 bytes of length in front); they are
 * given on as the kernel would write them (inotify(7)), which is trusted to write names of entries.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "tests/fuzz/replay.h"

#include "base/log.h"
#include "base/mem.h"
#include "primary/scan/scan_impl.h"

enum { NAME_ROOM = 256, HINTS_MAX = 4096 };

/* Real ones, for their numbers; the last is that of flush's cookies. An instance takes long to
 * make, and is kept as long as no input has removed a watch. */
static struct watch *get_watches(void)
{
    static const char *const paths[] = {"/", "/usr", "/etc"};
    static struct watch *w;
    static size_t full;
    struct err err;
    uint64_t before;
    if (w && watch_count(w) == full)
        return w;
    watch_free(w);
    FUZZ_REQUIRE(watch_new(&w, &err) == 0);
    for (uint64_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        int fd = open(paths[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        FUZZ_REQUIRE(fd >= 0 && watch_add(w, fd, MANIFEST_ROOT + i, &before, &err) == WATCH_ADDED);
        close(fd);
    }
    int fd = open("/var", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    FUZZ_REQUIRE(fd >= 0 && watch_add_cookies(w, fd, &err) == 0);
    close(fd);
    full = watch_count(w);
    return w;
}

/* A record at the end of the queue; false where the input has no more. */
static bool queue_event(struct buf *events, struct wire_reader *r)
{
    struct inotify_event e = {.wd = (int8_t)wire_get_u8(r)};
    char name[NAME_ROOM] = "";
    e.mask = wire_get_u32(r);
    e.cookie = wire_get_u8(r);
    struct bytes b = wire_get_short(r, NAME_ROOM - 1);
    if (r->bad)
        return false;
    if (b.len && !path_name_valid(b) && !path_is_reserved(b))
        return true;
    memcpy(name, b.data ? b.data : "", b.len);
    e.len = b.len ? (uint32_t)((b.len / sizeof e + 1) * sizeof e) : 0;
    buf_append(events, &e, sizeof e);
    buf_append(events, name, e.len);
    return true;
}

static void take_all(struct scan_site *s, struct wire_reader *r)
{
    while (!wire_done(r) && !r->bad) {
        for (unsigned i = 0; i < 8 && queue_event(&s->events, r); i++)
            continue;
        intake_take(s);
        FUZZ_REQUIRE(buf_len(&s->events) == 0);
        for (struct hint *h; batch_count(s->batch) > HINTS_MAX && (h = batch_each(s->batch, NULL));)
            batch_remove(s->batch, h);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct unit_rules *units = unit_rules_new();
    struct site site = {.label = "fuzz", .unrest = unrest_new(units), .options.units = units};
    struct scan_site s = {.site = &site, .watch = get_watches(), .batch = batch_new()};
    struct wire_reader r = wire_reader_of(data, size);
    s.status.state = SCAN_HELD; /* directories are not followed in a manifest */
    log_set_level(LOG_LEVEL_ERROR);
    LIST_INIT(&s.flushes);
    take_all(&s, &r);
    for (struct hint *h = NULL; (h = batch_each(s.batch, h));)
        FUZZ_REQUIRE(h->key.name.len < NAME_ROOM && h->flags);
    if (s.whole)
        free(s.whole->top);
    free(s.whole);
    buf_free(&s.events);
    batch_free(s.batch);
    unrest_free(site.unrest);
    unit_rules_free(units);
    return 0;
}
