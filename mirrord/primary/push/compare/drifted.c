/* The set of drifted paths of one secondary's site; see drifted.h. Sends nothing. */
#include "primary/push/compare/drifted.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/set.h"
#include "tree/entry.h"

struct row {
    uint8_t kind;
    bool left;              /* seen to differ, and left so */
    bool told;              /* in this opening */
    struct bytes committed; /* encoded; owned */
};

struct drifted {
    struct set *rows; /* by path */
    bool keep_all;
    size_t bytes;   /* of their paths and entries */
    size_t left;    /* rows that were left */
    uint64_t quiet; /* of these, only the times differ */
    uint64_t more;  /* not kept */
    uint64_t healed;
};

struct drifted *drifted_new(bool keep_all)
{
    struct drifted *d = mem_alloc(sizeof *d);
    d->rows = set_new();
    d->keep_all = keep_all;
    return d;
}

static void drop(struct drifted *d, struct set_item *item)
{
    struct row *r = item->value;
    d->quiet -= r->kind == DRIFT_TIMES;
    d->left -= r->left;
    d->bytes -= item->len + r->committed.len;
    free((void *)r->committed.data);
    free(r);
    set_remove(d->rows, item);
}

void drifted_free(struct drifted *d)
{
    if (!d)
        return;
    while (set_first(d->rows))
        drop(d, set_first(d->rows));
    set_free(d->rows);
    free(d);
}

void drifted_opening(struct drifted *d)
{
    d->more = 0;
    d->left = 0;
    for (struct set_item *i = set_first(d->rows); i; i = i->next)
        ((struct row *)i->value)->told = ((struct row *)i->value)->left = false;
}

void drifted_opened(struct drifted *d)
{
    struct set_item *next;
    for (struct set_item *i = set_first(d->rows); i; i = next) {
        next = i->next;
        if (!((struct row *)i->value)->told)
            drop(d, i);
    }
}

static struct bytes encode(const struct entry *e)
{
    struct wire_writer w = {0};
    entry_encode(&w, e);
    struct bytes b = {mem_copy_bytes(w.data, w.len), w.len};
    wire_free(&w);
    return b;
}

static bool is_full(const struct drifted *d)
{
    size_t bytes = d->keep_all ? DRIFTED_MAX_BYTES : DRIFTED_KEPT_BYTES;
    return set_count(d->rows) >= (d->keep_all ? DRIFTED_MAX : DRIFTED_KEPT) || d->bytes >= bytes;
}

int drifted_take(struct drifted *d, const struct msg_drift *m, struct err *err)
{
    struct set_item *item = set_find(d->rows, m->path.data, m->path.len);
    bool news = !item;
    if (news && is_full(d)) {
        if (d->keep_all)
            return err_set(err, ERR_FAILED,
                "it tells of more than %d paths that drifted, or %d MiB of them", DRIFTED_MAX,
                DRIFTED_MAX_BYTES >> 20);
        d->more += m->kind != DRIFT_TIMES;
        return 0;
    }
    if (news) {
        item = set_add(d->rows, m->path.data, m->path.len);
        item->value = mem_alloc(sizeof(struct row));
        d->bytes += item->len;
    }
    struct row *r = item->value;
    news |= r->kind != m->kind;
    d->bytes -= r->committed.len;
    d->quiet += m->kind == DRIFT_TIMES;
    d->quiet -= r->kind == DRIFT_TIMES;
    free((void *)r->committed.data);
    *r = (struct row){
        .kind = m->kind, .left = r->left, .told = true, .committed = encode(&m->committed)};
    d->bytes += r->committed.len;
    return news;
}

void drifted_healed(struct drifted *d, struct bytes path)
{
    struct set_item *item = set_find(d->rows, path.data, path.len);
    if (!item)
        return;
    d->healed += ((struct row *)item->value)->kind != DRIFT_TIMES;
    drop(d, item);
}

bool drifted_leave(struct drifted *d, struct bytes path, const struct entry *ours, bool owner)
{
    const struct set_item *item = set_find(d->rows, path.data, path.len);
    struct entry committed;
    if (!item)
        return false;
    struct row *r = item->value;
    struct wire_reader reader = wire_reader_of(r->committed.data, r->committed.len);
    entry_decode(&reader, &committed);
    bool same = !ours || committed.type == ENTRY_NONE
                    ? !ours && committed.type == ENTRY_NONE
                    : entry_meta_equal(&committed, ours) && entry_content_equal(&committed, ours) &&
                          (!owner || entry_owner_equal(&committed, ours));
    d->left += same && !r->left;
    r->left |= same;
    return same;
}

size_t drifted_level(struct drifted *d)
{
    struct set_item *next;
    d->more = 0;
    for (struct set_item *i = set_first(d->rows); i && d->left < set_count(d->rows); i = next) {
        next = i->next;
        if (!((struct row *)i->value)->left)
            drop(d, i);
    }
    return d->left;
}

const char *drifted_name(uint8_t kind)
{
    return kind == DRIFT_ADDED ? "added" : kind == DRIFT_REMOVED ? "removed" : "changed";
}

void drifted_status(const struct drifted *d, struct drifted_status *out)
{
    out->count = set_count(d->rows) - d->quiet + d->more;
    out->healed = d->healed;
    out->shown = 0;
    for (struct set_item *i = set_first(d->rows); i && out->shown < DRIFTED_SHOWN; i = i->next) {
        const struct row *r = i->value;
        if (r->kind == DRIFT_TIMES)
            continue;
        log_name(out->paths[out->shown].path, DRIFTED_PATH, i->key, i->len);
        out->paths[out->shown++].what = drifted_name(r->kind);
    }
}
