/*
 * Sums of directories; see sums.h. What a directory adds to its parent besides its own entry is in
 * `contribution`, which protocol/PROTOCOL.md documents.
 */
#include "tree/manifest/sums.h"

#include <endian.h>
#include <string.h>

#include "base/mem.h"
#include "base/set.h"
#include "tree/content/digest.h"
#include "tree/entry.h"
#include "tree/manifest/manifest.h"

enum { DEPTH_MAX = PATH_TOTAL_MAX }; /* deeper is a loop */

struct sums {
    struct store *store;
    struct store_txn *txn;
    struct set *dirs; /* number → struct sums_dir */
    struct sums_dir *last;
    uint32_t round;
};

struct sums *sums_new(struct store *store, struct store_txn *txn)
{
    struct sums *s = mem_alloc(sizeof *s);
    s->store = store;
    s->txn = txn;
    s->dirs = set_new();
    return s;
}

void sums_free(struct sums *s)
{
    if (!s)
        return;
    for (struct set_item *i = set_first(s->dirs); i; i = i->next)
        free(i->value);
    set_free(s->dirs);
    free(s);
}

static void put_sums(struct wire_writer *w, const struct msg_sums *s)
{
    wire_raw(w, s->meta.b, sizeof s->meta.b);
    wire_raw(w, s->owner.b, sizeof s->owner.b);
    wire_raw(w, s->content.b, sizeof s->content.b);
    wire_u64(w, s->entries);
    wire_u64(w, s->files);
    wire_u64(w, s->bytes);
    wire_u64(w, s->unproven);
}

static void get_sums(struct wire_reader *r, struct msg_sums *out)
{
    wire_get_raw(r, out->meta.b, sizeof out->meta.b);
    wire_get_raw(r, out->owner.b, sizeof out->owner.b);
    wire_get_raw(r, out->content.b, sizeof out->content.b);
    out->entries = wire_get_u64(r);
    out->files = wire_get_u64(r);
    out->bytes = wire_get_u64(r);
    out->unproven = wire_get_u64(r);
}

int sums_read(struct store *store, struct store_txn *txn, uint64_t number, struct sums_dir *out,
    struct err *err)
{
    uint64_t key = htobe64(number);
    struct bytes value;
    int rc = store_get(txn, STORE_DIRS, (struct bytes){&key, sizeof key}, &value, err);
    if (rc != 1)
        return rc;
    struct wire_reader r = wire_reader_of(value.data, value.len);
    memset(out, 0, sizeof *out);
    out->number = number;
    out->parent = wire_get_u64(&r);
    get_sums(&r, &out->sums);
    get_sums(&r, &out->carried);
    struct bytes name = wire_get_short(&r, PATH_NAME_MAX);
    if (!wire_done(&r)) {
        store_mark_damaged(store);
        return err_set(err, ERR_FAILED, "the manifest is damaged (directory %llu)",
            (unsigned long long)number);
    }
    out->name_len = (uint8_t)name.len;
    if (name.len)
        memcpy(out->name, name.data, name.len);
    return 1;
}

static struct sums_dir *remember(struct sums *s, const struct sums_dir *d)
{
    struct set_item *item = set_add(s->dirs, &d->number, sizeof d->number);
    if (!item->value)
        item->value = mem_alloc(sizeof *d);
    memcpy(item->value, d, sizeof *d);
    return s->last = item->value;
}

int sums_get(struct sums *s, uint64_t number, struct sums_dir **out, struct err *err)
{
    struct sums_dir d;
    if (s->last && s->last->number == number) {
        *out = s->last;
        return 1;
    }
    struct set_item *item = set_find(s->dirs, &number, sizeof number);
    if (item) {
        *out = s->last = item->value;
        return 1;
    }
    int rc = sums_read(s->store, s->txn, number, &d, err);
    if (rc == 1)
        *out = remember(s, &d);
    return rc;
}

struct sums_dir *sums_add(struct sums *s, uint64_t number, uint64_t parent, struct bytes name)
{
    struct sums_dir d = {.number = number};
    sums_attach(&d, parent, name);
    return remember(s, &d);
}

int sums_drop(struct sums *s, uint64_t number, struct err *err)
{
    uint64_t key = htobe64(number);
    struct set_item *item = set_find(s->dirs, &number, sizeof number);
    if (item) {
        if (s->last == item->value)
            s->last = NULL;
        free(item->value);
        set_remove(s->dirs, item);
    }
    int rc = store_delete(s->txn, STORE_DIRS, (struct bytes){&key, sizeof key}, err);
    return rc < 0 ? -1 : 0;
}

static void sums_plus(struct msg_sums *sum, const struct msg_sums *x)
{
    digest_add(&sum->meta, &x->meta);
    digest_add(&sum->owner, &x->owner);
    digest_add(&sum->content, &x->content);
    sum->entries += x->entries;
    sum->files += x->files;
    sum->bytes += x->bytes;
    sum->unproven += x->unproven;
}

static void sums_minus(struct msg_sums *sum, const struct msg_sums *x)
{
    digest_subtract(&sum->meta, &x->meta);
    digest_subtract(&sum->owner, &x->owner);
    digest_subtract(&sum->content, &x->content);
    sum->entries -= x->entries;
    sum->files -= x->files;
    sum->bytes -= x->bytes;
    sum->unproven -= x->unproven;
}

void sums_detach(struct sums_dir *parent, struct sums_dir *child)
{
    sums_minus(&parent->sums, &child->carried);
    memset(&child->carried, 0, sizeof child->carried);
    parent->changed = parent->dirty = true;
    child->changed = child->dirty = true;
}

void sums_attach(struct sums_dir *child, uint64_t parent, struct bytes name)
{
    child->parent = parent;
    child->name_len = (uint8_t)name.len;
    if (name.len)
        memcpy(child->name, name.data, name.len);
    child->changed = child->dirty = true;
}

static void count_entry(struct bytes name, const struct entry *e, struct msg_sums *out)
{
    entry_digest_meta(name, e, &out->meta);
    entry_digest_owner(name, e, &out->owner);
    entry_digest_content(name, e, &out->content);
    out->entries = 1;
    out->files = e->type != ENTRY_DIR;
    out->bytes = e->type == ENTRY_FILE ? e->size : 0;
    out->unproven = e->type == ENTRY_FILE && !e->has_digest;
}

void sums_count_in(struct sums_dir *d, struct bytes name, const struct entry *e)
{
    struct msg_sums one;
    count_entry(name, e, &one);
    sums_plus(&d->sums, &one);
    d->changed = d->dirty = true;
}

void sums_count_out(struct sums_dir *d, struct bytes name, const struct entry *e)
{
    struct msg_sums one;
    count_entry(name, e, &one);
    sums_minus(&d->sums, &one);
    d->changed = d->dirty = true;
}

/* One digest of a directory's part: a sum of zero (nothing there that counts) adds nothing. */
static void contribute(
    uint8_t tag, const struct sums_dir *d, const struct digest *sum, struct digest *out)
{
    static const struct digest zero;
    uint8_t buf[1 + 2 + PATH_NAME_MAX + sizeof sum->b];
    struct wire_writer w = {.data = buf, .cap = sizeof buf, .max = sizeof buf};
    memset(out, 0, sizeof *out);
    if (digest_equal(sum, &zero))
        return;
    wire_u8(&w, tag);
    wire_short(&w, (struct bytes){d->name, d->name_len});
    wire_raw(&w, sum->b, sizeof sum->b);
    digest_plain(buf, w.len, out);
}

/*
 * What directory D named `name` adds to each sum of its parent, besides the digest of its own
 * entry:
 *
 *     XXH3-128(tag, u16 length of name, name, D's sum)     tags: 'M' meta, 'O' owner, 'C' content
 *
 * or nothing where D's sum is zero; and D's counts. So a change anywhere beneath changes every sum
 * up to the root, and a directory that was moved elsewhere keeps its own sums.
 */
static void contribution(const struct sums_dir *d, struct msg_sums *out)
{
    *out = d->sums;
    contribute('M', d, &d->sums.meta, &out->meta);
    contribute('O', d, &d->sums.owner, &out->owner);
    contribute('C', d, &d->sums.content, &out->content);
}

static int lost_parent(struct sums *s, const struct sums_dir *d, struct err *err)
{
    store_mark_damaged(s->store);
    return err_set(err, ERR_FAILED,
        "the manifest is damaged (directory %llu has no way to the root)",
        (unsigned long long)d->number);
}

/* Finds the depth of d, and brings all directories above it into memory with theirs. */
static int find_depth(struct sums *s, struct sums_dir *d, struct err *err)
{
    uint32_t steps = 0, depth = 0;
    for (struct sums_dir *up = d; up->round != s->round && up->number != MANIFEST_ROOT; steps++) {
        int rc = sums_get(s, up->parent, &up, err);
        if (rc < 0)
            return -1;
        if (rc == 0 || steps > DEPTH_MAX)
            return lost_parent(s, d, err);
        depth = up->round == s->round ? up->depth : 0;
    }
    depth += steps;
    for (struct sums_dir *up = d; up->round != s->round; depth--) {
        up->round = s->round;
        up->depth = depth;
        if (up->number == MANIFEST_ROOT || sums_get(s, up->parent, &up, err) != 1)
            break;
    }
    return 0;
}

static int deeper_first(const void *a, const void *b)
{
    const struct sums_dir *x = *(struct sums_dir *const *)a, *y = *(struct sums_dir *const *)b;
    return x->depth == y->depth ? 0 : x->depth > y->depth ? -1 : 1;
}

static int carry_up(struct sums *s, struct sums_dir *d, struct err *err)
{
    struct msg_sums now;
    struct sums_dir *parent;
    if (!d->changed)
        return 0;
    d->changed = false;
    if (d->number == MANIFEST_ROOT)
        return 0;
    if (sums_get(s, d->parent, &parent, err) != 1)
        return lost_parent(s, d, err);
    contribution(d, &now);
    sums_minus(&parent->sums, &d->carried);
    sums_plus(&parent->sums, &now);
    d->carried = now;
    d->dirty = true;
    parent->changed = parent->dirty = true;
    return 0;
}

int sums_settle(struct sums *s, struct err *err)
{
    s->round++;
    for (struct set_item *i = set_first(s->dirs); i; i = i->next) {
        struct sums_dir *d = i->value;
        if (d->changed && find_depth(s, d, err) != 0)
            return -1;
    }
    struct sums_dir **order CLEANUP_FREE = mem_array(set_count(s->dirs) + 1, sizeof *order);
    size_t n = 0;
    for (struct set_item *i = set_first(s->dirs); i; i = i->next) {
        struct sums_dir *d = i->value;
        if (d->round == s->round)
            order[n++] = d;
    }
    qsort(order, n, sizeof *order, deeper_first);
    for (size_t i = 0; i < n; i++)
        if (carry_up(s, order[i], err) != 0)
            return -1;
    return 0;
}

int sums_save(struct sums *s, struct err *err)
{
    uint8_t buf[512];
    if (sums_settle(s, err) != 0)
        return -1;
    for (struct set_item *i = set_first(s->dirs); i; i = i->next) {
        struct sums_dir *d = i->value;
        uint64_t key = htobe64(d->number);
        struct wire_writer w = {.data = buf, .cap = sizeof buf, .max = sizeof buf};
        if (!d->dirty)
            continue;
        wire_u64(&w, d->parent);
        put_sums(&w, &d->sums);
        put_sums(&w, &d->carried);
        wire_short(&w, (struct bytes){d->name, d->name_len});
        if (store_put(s->txn, STORE_DIRS, (struct bytes){&key, sizeof key},
                (struct bytes){buf, w.len}, err) != 0)
            return -1;
        d->dirty = false;
    }
    return 0;
}
