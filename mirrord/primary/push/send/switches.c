/*
 * Links that a deployment switches (current -> releases/8): one goes only when nothing is owed any
 * more beneath what it leads to, and while one waits nothing is deleted, since there the old link
 * still leads to what may be deleted here by now.
 */
#include <string.h>

#include "base/io.h"
#include "primary/push/push_impl.h"

enum {
    HELD_MS = 2 * SWITCH_DELAY_MAX, /* a waiting link is seen again within this */
    SEARCH_MS = 100,                /* in this time no more than */
    SEARCH_MAX = 1000000,           /* owed paths are gone through for links: about 10 ms */
};

/* Takes the last name off. False: there was none. */
static bool ascend(struct bytes *path)
{
    if (path->len == 0)
        return false;
    *path = path_parent(*path);
    return true;
}

/* Where a link at `path` leads, by its text alone: the path beneath the root, in `to`. False: out
 * of the root, or over-long. */
static bool lead(const char *root, struct bytes path, struct bytes target, char *to, size_t *len)
{
    struct bytes at = path_parent(path);
    const char *text = target.data, *end = text + target.len;
    size_t root_len = strlen(root);
    if (target.len > 0 && *text == '/') {
        if (target.len <= root_len || memcmp(text, root, root_len) != 0 || text[root_len] != '/')
            return false;
        text += root_len;
        at.len = 0;
    }
    memcpy(to, at.data, at.len);
    at.data = to;
    while (text < end) {
        const char *slash = memchr(text, '/', (size_t)(end - text));
        size_t n = (size_t)((slash ? slash : end) - text);
        if (n == 2 && memcmp(text, "..", 2) == 0) {
            if (!ascend(&at))
                return false;
        } else if (n > 0 && !(n == 1 && *text == '.')) {
            if (at.len + 1 + n > PATH_TOTAL_MAX)
                return false;
            if (at.len > 0)
                to[at.len++] = '/';
            memcpy(to + at.len, text, n);
            at.len += n;
        }
        text += n + (slash != NULL);
    }
    *len = at.len;
    return true;
}

/* A link for which there is no time now waits, whatever is owed. */
static bool is_owed_beneath(struct push *p, struct push_site *ps, struct bytes target)
{
    uint64_t now = io_now_ms();
    if (now >= ps->search_ms + SEARCH_MS) {
        ps->search_ms = now;
        ps->searched = 0;
    }
    if (ps->searched > SEARCH_MAX)
        return true;
    ps->searched += queue_size(p->o->queue, ps->owed);
    return queue_owes_beneath(p->o->queue, ps->owed, target);
}

bool switches_await(struct push *p, struct push_site *ps, struct owed *o, const struct entry *e)
{
    char to[PATH_TOTAL_MAX + 1];
    size_t len;
    struct bytes path = queue_path(o);
    o->awaits = false;
    if (!lead(root_path(ps->site->root), path, e->target, to, &len))
        return false;
    struct bytes target = {to, len};
    if (path_beneath(path, target)) /* it leads to a directory above itself */
        return false;
    if (!is_owed_beneath(p, ps, target))
        return false;
    o->awaits = true;
    o->whole |= o->kind == OWED_MOVE; /* what it is renamed from may be gone by then */
    ps->awaited_ms = io_now_ms();
    queue_retry(p->o->queue, o, SWITCH_DELAY_MS, SWITCH_DELAY_MAX, NULL);
    return true;
}

bool switches_hold(struct push *p, struct push_site *ps, struct owed *o)
{
    bool awaits = ps->awaited_ms && io_now_ms() < ps->awaited_ms + HELD_MS;
    o->awaits = awaits;
    if (awaits) /* from then on it is the queue's, and may be gone */
        queue_retry(p->o->queue, o, SWITCH_DELAY_MS, SWITCH_DELAY_MAX, NULL);
    return awaits;
}
