/* A stack of directories, and a run of what was listed last; see beneath.h. */
#include "primary/push/send/beneath.h"

#include <string.h>

#include "base/mem.h"

enum { RUN = 64 }; /* entries listed in one transaction */

struct level {
    uint64_t dir;
    size_t path_len; /* of the directory's own path */
    size_t last_len; /* of the name given last; behind path_len and a slash in the path */
};

struct listed {
    size_t path, len; /* in `paths` */
    bool is_dir, is_unit, is_foreseen;
    struct foreseen foreseen;
};

struct beneath {
    struct push_site *ps;
    bool units, started, ended;
    struct level *stack;
    size_t depth, room;
    struct listed *run; /* RUN of them; NULL before the first */
    uint64_t news;      /* the queue's, before they were listed */
    size_t run_count, run_next;
    char *paths;
    size_t paths_len, paths_room;
    size_t top_len;
    char path[PATH_TOTAL_MAX + PATH_NAME_MAX + 2];
};

struct beneath *beneath_new(struct push_site *ps, struct bytes top, bool units)
{
    struct beneath *s = mem_alloc(sizeof *s);
    s->ps = ps;
    s->units = units;
    memcpy(s->path, top.data, top.len);
    s->top_len = top.len;
    return s;
}

void beneath_free(struct beneath *s)
{
    if (!s)
        return;
    free(s->stack);
    free(s->run);
    free(s->paths);
    free(s);
}

static void enter(struct beneath *s, uint64_t dir, size_t path_len)
{
    if (s->depth == s->room) {
        s->room = s->room ? s->room * 2 : 16;
        s->stack = mem_resize(s->stack, s->room, sizeof *s->stack);
    }
    s->stack[s->depth++] = (struct level){.dir = dir, .path_len = path_len};
}

static int start(struct beneath *s, struct manifest_txn *t, struct err *err)
{
    struct record r;
    uint64_t parent;
    struct bytes top = {s->path, s->top_len};
    int found = manifest_lookup(t, top, &r, &parent, err);
    if (found == 1 && r.entry.type == ENTRY_DIR)
        enter(s, top.len ? r.dir : MANIFEST_ROOT, top.len);
    s->started = found >= 0;
    return found < 0 ? -1 : 0;
}

/* Puts name behind the directory's path; 0 when the whole would be too long for the wire. */
static size_t join(struct beneath *s, const struct level *l, struct bytes name)
{
    size_t at = l->path_len ? l->path_len + 1 : 0;
    if (at + name.len > PATH_TOTAL_MAX)
        return 0;
    if (at)
        s->path[at - 1] = '/';
    memcpy(s->path + at, name.data, name.len);
    s->path[at + name.len] = '\0';
    return at + name.len;
}

/* The name given last in this level, as it stands in the path. */
static struct bytes last_name(const struct beneath *s, const struct level *l)
{
    size_t at = l->path_len ? l->path_len + 1 : 0;
    return (struct bytes){s->path + at, l->last_len};
}

/* One step: 1 with the path's length and its record (until t ends), 0 at the end of everything, -1.
 * A directory is not entered yet. */
static int step(
    struct beneath *s, struct manifest_txn *t, size_t *len, struct record *r, struct err *err)
{
    while (s->depth > 0) {
        struct level *l = &s->stack[s->depth - 1];
        struct bytes name;
        char after[PATH_NAME_MAX];
        struct bytes last = last_name(s, l);
        memcpy(after, last.data, last.len);
        int found = manifest_next(t, l->dir, (struct bytes){after, last.len}, &name, r, err);
        if (found < 0)
            return -1;
        if (found == 0) {
            s->depth--;
            continue;
        }
        l->last_len = name.len;
        *len = join(s, l, name);
        if (*len > 0 &&
            !push_site_lacks(s->ps, (struct bytes){s->path, *len}, r->entry.type == ENTRY_DIR))
            return 1;
    }
    return 0;
}

/* Appends what is found at s->path to the run. */
static void add(struct beneath *s, size_t len, const struct record *r)
{
    struct bytes path = {s->path, len}, key;
    struct listed *l = &s->run[s->run_count++];
    l->path = s->paths_len;
    l->len = len;
    l->is_dir = r->entry.type == ENTRY_DIR;
    l->is_unit = s->units && unit_rules_match(s->ps->site->options.units, path, l->is_dir, &key);
    l->is_foreseen = sight_foresee(&l->foreseen, r);
    if (s->paths_len + len + 1 > s->paths_room) {
        s->paths_room = 2 * (s->paths_len + len + 1);
        s->paths = mem_resize(s->paths, s->paths_room, 1);
    }
    memcpy(s->paths + s->paths_len, s->path, len + 1);
    s->paths_len += len + 1;
    if (l->is_dir && !l->is_unit)
        enter(s, r->dir, len);
}

static int list_run(struct beneath *s, struct err *err)
{
    struct manifest_txn *t;
    struct record record;
    size_t len;
    s->news = queue_news(s->ps->owed);
    if (manifest_begin(s->ps->site->manifest, false, &t, err) < 0)
        return -1;
    if (!s->run)
        s->run = mem_array(RUN, sizeof *s->run);
    s->run_count = s->run_next = s->paths_len = 0;
    int found = s->started ? 0 : start(s, t, err);
    while (found >= 0 && s->run_count < RUN && (found = step(s, t, &len, &record, err)) == 1)
        add(s, len, &record);
    manifest_abort(t);
    if (found < 0)
        return s->run_count > 0 ? 0 : -1; /* what was read is good; the failure comes again */
    s->ended = s->run_count < RUN;
    return 0;
}

int beneath_next(struct beneath *s, struct beneath_entry *out, struct err *err)
{
    if (s->run_next == s->run_count) {
        if (s->ended)
            return 0;
        if (list_run(s, err) < 0)
            return -1;
        if (s->run_count == 0)
            return 0;
    }
    const struct listed *l = &s->run[s->run_next++];
    /* Since it was listed it may have changed, been owed and been sent: what was foreseen is older
     * then than what the secondary has. */
    bool newest = queue_news(s->ps->owed) == s->news;
    *out = (struct beneath_entry){.path = {s->paths + l->path, l->len},
        .is_dir = l->is_dir,
        .is_unit = l->is_unit,
        .foreseen = l->is_foreseen && newest ? &l->foreseen : NULL};
    return 1;
}
