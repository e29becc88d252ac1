/* Changes by path, in the walk's order; see walked.h. */
#include "primary/walked.h"

#include <string.h>

#include "base/mem.h"
#include "base/set.h"

struct walked {
    struct msg_sums sums;
    struct set *changes;  /* of struct former, or NULL: nothing was there */
    struct set *new_dirs; /* those in new ones as well */
    size_t bytes;         /* of both */
    bool incomplete;
};

struct former {
    struct entry entry; /* points behind it */
    uint8_t encoded[];
};

struct walked *walked_begin(struct manifest *m, struct err *err)
{
    struct manifest_txn *t;
    if (manifest_begin(m, false, &t, err) < 0)
        return NULL;
    struct walked *w = mem_alloc(sizeof *w);
    int r = manifest_sums(t, MANIFEST_ROOT, &w->sums, err);
    manifest_abort(t);
    if (r < 0) {
        free(w);
        return NULL;
    }
    w->changes = set_new();
    w->new_dirs = set_new();
    return w;
}

static void forget(struct walked *w)
{
    if (!w->changes)
        return;
    for (struct set_item *i = set_first(w->changes); i; i = i->next)
        free(i->value);
    set_free(w->changes);
    set_free(w->new_dirs);
    w->changes = w->new_dirs = NULL;
}

void walked_free(struct walked *w)
{
    if (!w)
        return;
    forget(w);
    free(w);
}

static struct former *keep(struct walked *walked, const struct entry *e)
{
    struct wire_writer w = {0};
    entry_encode(&w, e);
    walked->bytes += w.len;
    struct former *f = mem_alloc(sizeof *f + w.len);
    memcpy(f->encoded, w.data, w.len);
    struct wire_reader r = wire_reader_of(f->encoded, w.len);
    entry_decode(&r, &f->entry);
    wire_free(&w);
    return f;
}

static bool is_in_new(const struct walked *w, struct bytes path)
{
    struct bytes above = path_parent(path);
    return set_find(w->new_dirs, above.data, above.len); /* the root's own path is never in it */
}

static bool is_dir(const struct record *r)
{
    return r && r->entry.type == ENTRY_DIR;
}

void walked_add(
    struct walked *w, struct bytes path, const struct record *before, const struct record *after)
{
    if (w->incomplete || path.len == 0)
        return;
    bool covered = is_in_new(w, path);
    if (!before && is_dir(after)) {
        set_add(w->new_dirs, path.data, path.len);
        w->bytes += path.len;
    }
    if (!covered && !set_find(w->changes, path.data, path.len)) {
        struct set_item *item = set_add(w->changes, path.data, path.len);
        item->value = before ? keep(w, &before->entry) : NULL;
        w->bytes += path.len;
    }
    w->incomplete = (before && is_dir(before) != is_dir(after)) || w->bytes > WALKED_BYTES_MAX ||
                    set_count(w->changes) + set_count(w->new_dirs) > WALKED_MAX;
    if (w->incomplete)
        forget(w);
}

const struct msg_sums *walked_sums(const struct walked *w)
{
    return w->incomplete ? NULL : &w->sums;
}

const void *walked_next(const struct walked *w, const void *at, struct walked_change *out)
{
    const struct set_item *i = at ? ((const struct set_item *)at)->next : set_first(w->changes);
    if (!i)
        return NULL;
    const struct former *f = i->value;
    *out = (struct walked_change){.path = {i->key, i->len}, .was = f != NULL};
    if (f)
        out->before = f->entry;
    return i;
}
