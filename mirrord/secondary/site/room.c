/*
 * See room.h. A site's numbers are looked at every other second and told when they moved by a part
 * of the whole, or have been other ones for ten seconds: a few bytes for each site, bounded however
 * fast the disk fills. The numbers are its filesystem's, whoever else writes to that.
 */
#include "secondary/site/room.h"

#include "base/io.h"

enum {
    ROOM_LOOK_MS = 2000,
    ROOM_TELL_MS = 10000, /* between two that say little */
    ROOM_PART = 256,      /* of the whole: so much is told at once */
};

static bool moved(uint64_t now, uint64_t told, uint64_t by)
{
    return now > told ? now - told > by : told - now > by;
}

static bool is_news(const struct replica *r, const struct space *s, uint64_t now)
{
    const struct space *told = &r->room;
    bool much = moved(s->free_bytes, told->free_bytes, s->all_bytes / ROOM_PART) ||
                moved(s->free_files, told->free_files, s->all_files / ROOM_PART) ||
                s->all_bytes != told->all_bytes || s->all_files != told->all_files;
    bool little = s->free_bytes != told->free_bytes || s->free_files != told->free_files;
    return much || (little && now >= r->room_told_ms + ROOM_TELL_MS);
}

static void look(struct replica *r, bool always)
{
    struct space s;
    uint64_t now = io_now_ms();
    if (r->tools->version < MSG_VERSION_NEWS)
        return;
    if (!r->root || space_look(root_fd(r->root), &s) < 0 || (!always && !is_news(r, &s, now)))
        return;
    struct space_keep keep = space_keep(&r->policy.min_free, &s);
    r->room = s;
    r->room_told_ms = now;
    msg_put_space(&r->tools->out.writer, &(struct msg_space){.site = r->site,
                                             .free_bytes = s.free_bytes,
                                             .all_bytes = s.all_bytes,
                                             .free_files = s.free_files,
                                             .all_files = s.all_files,
                                             .keep_bytes = keep.bytes,
                                             .keep_files = keep.files});
    outbox_put(&r->tools->out);
}

void room_tell(struct replica *r)
{
    look(r, true);
}

void room_look(struct tools *tools)
{
    uint64_t now = io_now_ms();
    if (now < tools->room_due)
        return;
    tools->room_due = now + ROOM_LOOK_MS;
    for (struct set_item *i = set_first(tools->replicas); i; i = i->next) {
        struct replica *r = i->value;
        if (r->state == REPLICA_OPEN)
            look(r, false);
    }
}
