/* What did not fit; see resync_room.h. */
#include "command/resync/resync_room.h"

#include <errno.h>
#include <stdio.h>

#include "base/mem.h"

void resync_room_note(struct resync_room *r, uint64_t bytes, const struct err *why)
{
    if (why->sys != ENOSPC && why->sys != EDQUOT)
        return;
    ++*(why->sys == ENOSPC ? &r->full : &r->quota);
    r->bytes += bytes;
}

/* " (… free)"; empty where nothing was told. */
static char *figures(const struct space *s)
{
    char *inodes CLEANUP_FREE = NULL;
    if (s->all_bytes == 0)
        return mem_copy_string("");
    if (s->all_files)
        inodes = mem_format(" and %llu of %llu inodes", (unsigned long long)s->free_files,
            (unsigned long long)s->all_files);
    return mem_format(" (%.1f of %.1f MB%s free)", (double)s->free_bytes / 1e6,
        (double)s->all_bytes / 1e6, inodes ? inodes : "");
}

/* Where it did not fit, and what to do. */
static char *advice(const struct resync_room *r, const struct space *space, const char *place)
{
    char *free_there CLEANUP_FREE = figures(space);
    if (r->full == 0)
        return mem_format(
            "into the quota of the owner beneath %s%s: raise it there, or delete something "
            "(repquota -a)",
            place, free_there);
    return mem_format("on the disk of %s%s: make room there (df -h %s; df -i %s)", place,
        free_there, place, place);
}

int resync_room_verdict(const struct resync_room *r, size_t failed, const struct space *space,
    const char *place, struct err *err)
{
    size_t count = r->full + r->quota;
    if (count == 0)
        return 0;
    char *where CLEANUP_FREE = advice(r, space, place);
    if (count == failed)
        return err_set(err, ERR_TEMPORARY,
            "%zu path%s of %.1f MB did not fit %s, then run this again: it goes on where it ended",
            count, count == 1 ? "" : "s", (double)r->bytes / 1e6, where);
    return err_set(err, ERR_PARTIAL,
        "%zu paths could not be mirrored; the rest is equal. %zu of them, %.1f MB, did not fit %s",
        failed, count, (double)r->bytes / 1e6, where);
}
