/* Answers to LIST: a directory of the manifest in frames, a read transaction a frame, so that none
 * lives while the primary takes its time. */
#include "secondary/site/listing.h"

#include <string.h>

#include "base/mem.h"
#include "tree/manifest/buckets.h"

enum {
    LISTING_FULL = FRAME_PAYLOAD_MAX - 24 * 1024, /* one more item always fits behind that */
    PASSED_MAX = 16384,                           /* entries passed over in one transaction */
};

struct listing {
    uint64_t dir;
    char after[PATH_NAME_MAX]; /* the last name sent */
    size_t after_len;
    struct wire_writer items;
    uint16_t count;
    bool end;
    unsigned bits; /* of the buckets; 0: everything is listed */
    uint8_t differ[MSG_BUCKETS_MAX / 8];
    bool told; /* which buckets differ */
};

static int put_item(struct listing *l, struct manifest_txn *t, struct bytes name,
    const struct record *record, struct err *err)
{
    struct msg_item item = {.name = name, .entry = record->entry};
    if (record->entry.type == ENTRY_DIR && manifest_sums(t, record->dir, &item.sums, err) < 0)
        return -1;
    msg_item_encode(&l->items, &item);
    l->count++;
    return 0;
}

static bool is_asked_for(const struct listing *l, struct bytes name)
{
    return l->bits == 0 || buckets_differ(l->differ, buckets_index(name, l->bits));
}

/* Items up to a frame's measure, or none where many need not be listed. */
static int gather(struct listing *l, struct manifest_txn *t, struct err *err)
{
    wire_reset(&l->items);
    l->count = 0;
    for (int n = 0; n < PASSED_MAX && l->items.len < LISTING_FULL && l->count < MSG_ITEMS_MAX;
         n++) {
        struct bytes name;
        struct record record;
        struct bytes after = {l->after, l->after_len};
        int r = manifest_next(t, l->dir, after, &name, &record, err);
        if (r < 0)
            return -1;
        l->end = r == 0;
        if (l->end)
            return 0;
        if (is_asked_for(l, name) && put_item(l, t, name, &record, err) < 0)
            return -1;
        memcpy(l->after, name.data, name.len);
        l->after_len = name.len;
    }
    return 0;
}

static void put_frame(struct replica *r, uint32_t request, struct listing *l, bool missing)
{
    struct msg_listing m = {
        .request = request,
        .last = l->end,
        .missing = missing,
        .count = l->count,
        .items = {l->items.data, l->items.len},
    };
    if (l->bits && !l->told)
        m.differ = (struct bytes){l->differ, BUCKETS_DIFFER(l->bits)};
    l->told = true;
    msg_put_listing(&r->tools->out.writer, &m);
    outbox_put(&r->tools->out);
}

/* The number of a directory: 1, 0 not there, -1. */
static int find_directory(struct replica *r, struct bytes path, uint64_t *dir, struct err *err)
{
    struct manifest_txn *t;
    struct record record;
    uint64_t parent;
    *dir = MANIFEST_ROOT;
    if (path.len == 0)
        return 1;
    if (manifest_begin(r->manifest, false, &t, err) < 0)
        return -1;
    int found = manifest_lookup(t, path, &record, &parent, err);
    if (found == 1 && record.entry.type != ENTRY_DIR)
        found = 0;
    if (found == 1)
        *dir = record.dir;
    manifest_abort(t);
    return found;
}

static int send_items(struct replica *r, uint32_t request, struct listing *l, struct err *err)
{
    while (!l->end) {
        struct manifest_txn *t;
        if (manifest_begin(r->manifest, false, &t, err) < 0)
            return -1;
        int bad = gather(l, t, err);
        manifest_abort(t);
        if (bad)
            return -1;
        if (l->count > 0 || l->end)
            put_frame(r, request, l, false);
    }
    return 0;
}

/* Which of the primary's buckets are not like ours. */
static int compare_buckets(
    struct replica *r, struct bytes theirs, struct listing *l, struct err *err)
{
    struct buckets ours;
    if (theirs.len == 0)
        return 0;
    l->bits = buckets_bits(theirs.len);
    if (buckets_make(r->manifest, l->dir, r->rules.owner, l->bits, &ours, err) < 0)
        return -1;
    buckets_compare(&ours, theirs, l->differ);
    return 0;
}

static int send_directory(
    struct replica *r, const struct msg_list *m, struct listing *l, struct err *err)
{
    return compare_buckets(r, m->buckets, l, err) < 0 ? -1 : send_items(r, m->request, l, err);
}

void listing_answer(struct replica *r, const struct msg_list *m)
{
    struct listing l = {0};
    struct err why;
    /* Without a manifest this is a dry run, and the root is not there yet. */
    int found = r->manifest ? find_directory(r, m->path, &l.dir, &why) : 0;
    if (found == 1) {
        found = send_directory(r, m, &l, &why);
    } else if (found == 0) {
        l.end = true;
        put_frame(r, m->request, &l, true);
    }
    wire_free(&l.items);
    if (found < 0)
        replica_fail(r, REASON_INTERNAL, &why);
}
