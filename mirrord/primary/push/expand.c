/* A subtree that is owed, path by path out of the manifest, parents before what is in them. Keeps a
 * stack of names, not of descriptors or records, so that it costs the depth and not the size; reads
 * the manifest a name at a time, so that no transaction outlives a step. */
#include <string.h>

#include "base/mem.h"
#include "primary/owe.h"
#include "primary/push/push_impl.h"

struct level {
    uint64_t dir;
    size_t path_len; /* of the directory's own path */
    size_t last_len; /* of the name given last; behind path_len and a slash in the path */
};

struct expander {
    struct expander *next;
    struct push_site *ps;
    struct owed *top; /* NULL: only listed */
    size_t top_len;   /* its path, before the first step */
    struct level *stack;
    size_t depth, room;
    char path[PATH_TOTAL_MAX + PATH_NAME_MAX + 2];
    bool started, listed, answered, ok;
};

static void enter(struct expander *e, uint64_t dir, size_t path_len)
{
    if (e->depth == e->room) {
        e->room = e->room ? e->room * 2 : 16;
        e->stack = mem_resize(e->stack, e->room, sizeof *e->stack);
    }
    e->stack[e->depth++] = (struct level){.dir = dir, .path_len = path_len};
}

struct expander *expander_start(struct push_site *ps, struct owed *top)
{
    struct expander *e = mem_alloc(sizeof *e);
    struct bytes path = queue_path(top);
    e->ps = ps;
    e->top = top;
    memcpy(e->path, path.data, path.len);
    e->top_len = path.len;
    e->next = ps->expander;
    ps->expander = e;
    return e;
}

static void unlink_free(struct expander *e)
{
    struct expander **at = &e->ps->expander;
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    free(e->stack);
    free(e);
}

void expander_free_all(struct push_site *ps)
{
    while (ps->expander)
        unlink_free(ps->expander);
}

static void settle(struct push *p, struct expander *e, const char *why)
{
    if (!e->listed || !e->answered)
        return;
    if (e->ok)
        queue_done(p->o->queue, e->top);
    else
        queue_retry(p->o->queue, e->top, 1000, 60000, why);
    unlink_free(e);
}

void expander_answer(struct push *p, struct expander *e, bool ok, const char *why)
{
    e->answered = true;
    e->ok = ok;
    if (!ok)
        e->listed = true; /* nothing beneath it can go either */
    settle(p, e, why);
}

/* Puts name behind the directory's path; 0 when the whole would be too long for the wire. */
static size_t join(struct expander *e, const struct level *l, struct bytes name)
{
    size_t at = l->path_len ? l->path_len + 1 : 0;
    if (at + name.len > PATH_TOTAL_MAX)
        return 0;
    if (at)
        e->path[at - 1] = '/';
    memcpy(e->path + at, name.data, name.len);
    e->path[at + name.len] = '\0';
    return at + name.len;
}

static int start(struct expander *e, struct manifest_txn *t, struct err *err)
{
    struct record r;
    uint64_t parent;
    struct bytes top = {e->path, e->top_len};
    e->started = true;
    int found = manifest_lookup(t, top, &r, &parent, err);
    if (found == 1 && r.entry.type == ENTRY_DIR)
        enter(e, top.len ? r.dir : MANIFEST_ROOT, top.len);
    return found < 0 ? -1 : 0;
}

/* The name given last in this level, as it stands in the path. */
static struct bytes last_name(const struct expander *e, const struct level *l)
{
    size_t at = l->path_len ? l->path_len + 1 : 0;
    return (struct bytes){e->path + at, l->last_len};
}

/* One step: 1 with the path's length and its record (until t ends), 0 at the end of everything, -1.
 */
static int next_path(
    struct expander *e, struct manifest_txn *t, size_t *len, struct record *r, struct err *err)
{
    if (!e->started && start(e, t, err) < 0)
        return -1;
    while (e->depth > 0) {
        struct level *l = &e->stack[e->depth - 1];
        struct bytes name;
        char after[PATH_NAME_MAX];
        struct bytes last = last_name(e, l);
        memcpy(after, last.data, last.len);
        int found = manifest_next(t, l->dir, (struct bytes){after, last.len}, &name, r, err);
        if (found < 0)
            return -1;
        if (found == 0) {
            e->depth--;
            continue;
        }
        l->last_len = name.len;
        size_t whole = join(e, l, name);
        if (whole == 0 ||
            push_site_lacks(e->ps, (struct bytes){e->path, whole}, r->entry.type == ENTRY_DIR))
            continue;
        if (r->entry.type == ENTRY_DIR)
            enter(e, r->dir, whole);
        *len = whole;
        return 1;
    }
    return 0;
}

/* What lies in a unit goes with it, and nothing beneath it is listed here. */
static bool leave_to_unit(struct push *p, struct expander *e, struct bytes path, bool is_dir)
{
    const struct site_options *o = &e->ps->site->options;
    struct bytes key;
    if (e->top->alone || o->dry_run || !unit_rules_match(o->units, path, is_dir, &key))
        return false;
    if (is_dir)
        e->depth--;
    queue_owe(p->o->queue, e->ps->owed, path, OWE_BULK | (is_dir ? OWE_DIR : 0), OWED_CREATE,
        (struct bytes){0}, 0, 0);
    queue_backdate(p->o->queue, e->ps->owed, path);
    return true;
}

struct expander *expander_list(struct push_site *ps, struct bytes top)
{
    struct expander *e = mem_alloc(sizeof *e);
    e->ps = ps;
    memcpy(e->path, top.data, top.len);
    e->top_len = top.len;
    return e;
}

/* Is what was found last, of this length, a directory? */
static bool found_directory(const struct expander *e, size_t len)
{
    return e->depth > 0 && e->stack[e->depth - 1].path_len == len;
}

int expander_each(struct expander *e, struct bytes *path, bool *is_dir, struct err *err)
{
    struct manifest_txn *t;
    struct record record;
    size_t len = 0;
    if (manifest_begin(e->ps->site->manifest, false, &t, err) < 0)
        return -1;
    int r = next_path(e, t, &len, &record, err);
    manifest_abort(t);
    *path = (struct bytes){e->path, len};
    *is_dir = found_directory(e, len);
    return r;
}

void expander_list_free(struct expander *e)
{
    if (!e)
        return;
    free(e->stack);
    free(e);
}

static struct owed *claim_next(struct push *p, struct expander *e, struct err *err)
{
    for (;;) {
        struct manifest_txn *t;
        struct record record;
        size_t len = 0;
        if (manifest_begin(e->ps->site->manifest, false, &t, err) < 0)
            return NULL;
        int r = next_path(e, t, &len, &record, err);
        bool foreseen = r > 0 && sight_foresee(p, &record);
        manifest_abort(t);
        if (r <= 0) {
            e->listed = r == 0;
            return NULL;
        }
        if (leave_to_unit(p, e, (struct bytes){e->path, len}, found_directory(e, len)))
            continue;
        struct owed *o =
            queue_claim(p->o->queue, e->ps->owed, (struct bytes){e->path, len}, OWED_BULK, e->top);
        if (!o)
            continue;
        p->foreseen.owed = foreseen ? o : NULL;
        return o;
    }
}

struct owed *expander_next(struct push *p, struct push_site *ps, struct err *err)
{
    struct expander *next;
    for (struct expander *e = ps->expander; e; e = next) {
        next = e->next;
        if (e->listed)
            continue;
        struct owed *o = claim_next(p, e, err);
        if (o)
            return o;
        if (!e->listed)
            return NULL; /* the manifest failed: err says how */
        settle(p, e, NULL);
    }
    return NULL;
}
