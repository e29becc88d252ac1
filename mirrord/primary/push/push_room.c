/*
 * Room at the secondary: what it told (SPACE, and each ACK), and whether bulk may take more of it.
 * Bulk, and that is units, what comparing found and live files over 16 MiB, waits while less than
 * `min-free` would be left there; what is small and live goes on until the disk is truly full, and
 * what needs no room goes always. A one-shot's operator is there to see it fill.
 */
#include "base/log.h"
#include "primary/push/push_impl.h"

static void say(struct push *p, const struct push_site *ps)
{
    if (!push_site_may_say(p, ps, ps->low ? "room is low" : "room again"))
        return;
    const struct space *s = &ps->room;
    unsigned long long free_mb = s->free_bytes / 1000000, all_mb = s->all_bytes / 1000000;
    if (ps->low)
        log_warn("%s: %s: its disk is nearly full (%llu of %llu MB, %llu of %llu inodes free): "
                 "what is large waits until more than min-free is free again, small changes go on",
            p->o->name, ps->site->label, free_mb, all_mb, (unsigned long long)s->free_files,
            (unsigned long long)s->all_files);
    else
        log_info("%s: %s: its disk has room again (%llu of %llu MB free)", p->o->name,
            ps->site->label, free_mb, all_mb);
}

/* Everything that waits is looked at again when the disk has become emptier. */
static void wake(struct push *p, struct push_site *ps, bool was_low)
{
    bool emptier = ps->room.free_bytes >= ps->waits_from.free_bytes + PUSH_SOLO_MIN ||
                   ps->room.free_files > ps->waits_from.free_files;
    if (ps->low || !ps->waits || !(was_low || emptier))
        return;
    ps->waits = false;
    pthread_mutex_lock(&ps->lock);
    ps->waits_path[0] = '\0';
    pthread_mutex_unlock(&ps->lock);
    queue_hurry(p->o->queue, ps->owed);
}

static void take(struct push *p, struct push_site *ps, const struct space *room)
{
    bool was_low = ps->low;
    pthread_mutex_lock(&ps->lock);
    ps->room = *room;
    ps->keep = space_keep_both(space_keep(&ps->site->options.min_free, room), ps->keep_there);
    ps->low = !p->o->once && space_is_low(room, ps->keep, was_low);
    pthread_mutex_unlock(&ps->lock);
    if (ps->low != was_low)
        say(p, ps);
    wake(p, ps, was_low);
}

void push_room_told(struct push *p, struct push_site *ps, const struct msg_space *m)
{
    ps->keep_there = (struct space_keep){m->keep_bytes, m->keep_files};
    take(p, ps,
        &(struct space){.free_bytes = m->free_bytes,
            .all_bytes = m->all_bytes,
            .free_files = m->free_files,
            .all_files = m->all_files});
}

void push_room_acked(struct push *p, struct push_site *ps, uint64_t free_bytes)
{
    struct space room = ps->room;
    room.free_bytes = free_bytes;
    if (room.all_bytes > 0)
        take(p, ps, &room);
}

/* Without the numbers, which would make a new cause of each. */
static void say_waits(struct push *p, struct push_site *ps, struct bytes path)
{
    struct err why;
    err_set(&why, ERR_TEMPORARY,
        "it waits, since the disk there has too little room (min-free; see `mirrord status`)");
    push_site_warn(p, ps, path, &why);
    pthread_mutex_lock(&ps->lock);
    log_name(ps->waits_path, sizeof ps->waits_path, path.data, path.len);
    pthread_mutex_unlock(&ps->lock);
}

bool push_room_for(
    struct push *p, struct push_site *ps, struct owed *o, uint64_t bytes, uint64_t files)
{
    if (p->o->once || (bytes == 0 && files == 0))
        return true;
    if (!ps->low && space_fits(&ps->room, ps->keep, ps->bulk_flying + bytes, files))
        return true;
    if (!ps->waits || ps->room.free_bytes < ps->waits_from.free_bytes)
        ps->waits_from = ps->room;
    if (!ps->waits)
        say_waits(p, ps, queue_path(o));
    ps->waits = true;
    o->no_room = true;
    queue_retry(p->o->queue, o, LATER_MAX, LATER_MAX, NULL);
    return false;
}
