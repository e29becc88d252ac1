/*
 * Files with more than one name: what is done through one name gives no event for the others. When
 * such a file was found changed, its other names are looked for by its inode, in the manifest, some
 * milliseconds at a time, and hinted at. Nothing is kept for the many files that have one name.
 */
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "primary/scan/number_map.h"
#include "primary/scan/scan_impl.h"

enum {
    STEP_US = 5000,
    SEVERAL_MAX = 65536,
    REST_FACTOR = 10, /* a search is followed by so many times its length without one */
};

struct links {
    struct number_map wanted;  /* inode → 1: looked for now */
    struct number_map next;    /* …in the search after this one */
    struct number_map several; /* inodes that were seen to have more than one name */
    bool running;
    uint64_t began_ms, due_ms;
    uint64_t *dirs; /* still to be looked through */
    size_t count, cap;
};

static struct links *links_of(struct scan_site *s)
{
    if (!s->links)
        s->links = mem_alloc(sizeof *s->links);
    return s->links;
}

void links_free(struct scan_site *s)
{
    if (!s->links)
        return;
    number_map_free(&s->links->wanted);
    number_map_free(&s->links->next);
    number_map_free(&s->links->several);
    free(s->links->dirs);
    free(s->links);
    s->links = NULL;
}

void links_note(struct scan_site *s, uint64_t inode)
{
    struct links *l = links_of(s);
    if (l->several.count >= SEVERAL_MAX)
        number_map_free(&l->several);
    number_map_put(&l->next, inode, 1);
    number_map_put(&l->several, inode, 1);
}

void links_lost(struct scan_site *s, uint64_t inode)
{
    if (s->links && number_map_get(&s->links->several, inode))
        links_note(s, inode);
}

bool links_is_wanted(const struct scan_site *s)
{
    return s->links && (s->links->running || s->links->next.count > 0);
}

uint64_t links_due(const struct scan_site *s)
{
    return links_is_wanted(s) ? s->links->due_ms : UINT64_MAX;
}

static void push(struct links *l, uint64_t dir)
{
    if (l->count == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 64;
        l->dirs = mem_resize(l->dirs, l->cap, sizeof *l->dirs);
    }
    l->dirs[l->count++] = dir;
}

static void begin(struct links *l)
{
    number_map_free(&l->wanted);
    l->wanted = l->next;
    l->next = (struct number_map){0};
    l->running = true;
    l->began_ms = io_now_ms();
    l->count = 0;
    push(l, MANIFEST_ROOT);
}

static void finish(struct links *l)
{
    uint64_t now = io_now_ms();
    number_map_free(&l->wanted);
    l->running = false;
    l->due_ms = now + (now - l->began_ms) * REST_FACTOR;
}

/* One directory: names of the wanted inodes, and the directories beneath. */
static int look_through(struct scan_site *s, struct manifest_txn *t, uint64_t dir, struct err *err)
{
    struct links *l = s->links;
    uint64_t now = io_now_ms();
    struct bytes name;
    struct record r;
    char after[PATH_NAME_MAX + 1];
    size_t len = 0;
    int found;
    while ((found = manifest_next(t, dir, (struct bytes){after, len}, &name, &r, err)) > 0) {
        memcpy(after, name.data, name.len);
        len = name.len;
        if (r.entry.type == ENTRY_DIR)
            push(l, r.dir);
        else if (number_map_get(&l->wanted, r.validators.inode))
            batch_add(
                s->batch, (struct hint_key){dir, {after, len}}, HINT_META | HINT_LINKED, now, now);
    }
    return found;
}

void links_step(struct scan_site *s)
{
    struct links *l = s->links;
    struct manifest_txn *t;
    struct err err;
    if (!links_is_wanted(s) || io_now_ms() < l->due_ms)
        return;
    if (!l->running)
        begin(l);
    if (manifest_begin(s->site->manifest, false, &t, &err) < 0) {
        scan_trouble(s, &err);
        return;
    }
    uint64_t end = io_now_us() + STEP_US;
    int looked = 0;
    while (l->count && looked == 0 && io_now_us() < end)
        looked = look_through(s, t, l->dirs[--l->count], &err);
    manifest_abort(t);
    if (looked < 0)
        scan_trouble(s, &err);
    else if (l->count == 0)
        finish(l);
}
