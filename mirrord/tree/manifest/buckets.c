/* Dealing the entries of a directory into buckets; see buckets.h. */
#include "tree/manifest/buckets.h"

#include <endian.h>
#include <string.h>

#include "base/mem.h"
#include "tree/content/digest.h"

enum {
    RUN_MAX = 4096,   /* entries in one transaction */
    LISTED_WHOLE = 8, /* entries of a directory for which buckets are not worth it */
    SUIT_MAX = 9,     /* bits: more buckets would weigh more than what they save */
};

static uint64_t first_half(const void *p, size_t n)
{
    struct digest d;
    uint64_t half;
    digest_plain(p, n, &d);
    memcpy(&half, d.b, sizeof half);
    return be64toh(half);
}

unsigned buckets_index(struct bytes name, unsigned bits)
{
    return bits ? (unsigned)(first_half(name.data, name.len) >> (64 - bits)) : 0;
}

unsigned buckets_suit(uint64_t entries)
{
    unsigned bits = 1;
    if (entries <= LISTED_WHOLE)
        return 0;
    while (bits < SUIT_MAX && (UINT64_C(4) << bits) < entries)
        bits++;
    return bits;
}

static int encode(struct manifest_txn *t, struct bytes name, const struct record_front *f,
    bool owner, struct wire_writer *out, struct err *err)
{
    struct record r;
    if (manifest_unfold(t, f, &r, err) < 0)
        return -1;
    struct msg_item item = {.name = name, .entry = r.entry};
    if (r.entry.type == ENTRY_DIR && manifest_sums(t, r.dir, &item.sums, err) < 0)
        return -1;
    if (!owner) {
        item.entry.owner = item.entry.group = (struct bytes){0};
        item.sums.owner = (struct digest){{0}};
    }
    msg_item_encode(out, &item);
    return 0;
}

/* One more entry. The scratch is kept from one to the next. What the manifest holds of a file is
 * what an item has of it. */
static int add(struct manifest_txn *t, struct buckets *b, struct bytes name,
    const struct record_front *f, bool owner, struct wire_writer *scratch, struct err *err)
{
    wire_reset(scratch);
    if (owner && f->type == ENTRY_FILE) {
        wire_short(scratch, name);
        wire_raw(scratch, f->entry.data, f->entry.len);
    } else if (encode(t, name, f, owner, scratch, err) < 0)
        return -1;
    if (scratch->bad)
        return err_set(err, ERR_FAILED, "an entry cannot be encoded");
    b->sums[buckets_index(name, b->bits)] += first_half(scratch->data, scratch->len);
    b->entries++;
    return 0;
}

/* A run of entries behind `after`, which moves on. 1 there are more, 0, -1. */
static int add_run(struct manifest_txn *t, uint64_t dir, bool owner, struct buckets *b,
    char after[PATH_NAME_MAX], size_t *after_len, struct wire_writer *scratch, struct err *err)
{
    for (int i = 0; i < RUN_MAX; i++) {
        struct bytes name;
        struct record_front f;
        int found = manifest_next_front(t, dir, (struct bytes){after, *after_len}, &name, &f, err);
        if (found != 1)
            return found;
        if (add(t, b, name, &f, owner, scratch, err) < 0)
            return -1;
        memcpy(after, name.data, name.len);
        *after_len = name.len;
    }
    return 1;
}

int buckets_make(struct manifest *m, uint64_t dir, bool owner, unsigned bits, struct buckets *out,
    struct err *err)
{
    char after[PATH_NAME_MAX];
    size_t after_len = 0;
    struct wire_writer scratch = {0};
    int more = 1;
    *out = (struct buckets){.bits = bits};
    while (more == 1) {
        struct manifest_txn *t;
        more = manifest_begin(m, false, &t, err);
        if (more < 0)
            break;
        more = add_run(t, dir, owner, out, after, &after_len, &scratch, err);
        manifest_abort(t);
    }
    wire_free(&scratch);
    return more;
}

void buckets_fold(struct buckets *b, unsigned bits)
{
    for (; b->bits > bits; b->bits--)
        for (size_t i = 0; i < (size_t)1 << (b->bits - 1); i++)
            b->sums[i] = b->sums[2 * i] + b->sums[2 * i + 1];
}

void buckets_encode(const struct buckets *b, uint8_t *out)
{
    for (size_t i = 0; i < (size_t)1 << b->bits; i++) {
        uint64_t sum = htole64(b->sums[i]);
        memcpy(out + i * sizeof sum, &sum, sizeof sum);
    }
}

unsigned buckets_bits(size_t encoded)
{
    unsigned bits = 0;
    while (BUCKETS_BYTES(bits) < encoded)
        bits++;
    return bits;
}

void buckets_compare(const struct buckets *b, struct bytes theirs, uint8_t *differ)
{
    memset(differ, 0, BUCKETS_DIFFER(b->bits));
    for (size_t i = 0; i < (size_t)1 << b->bits; i++) {
        uint64_t sum;
        memcpy(&sum, (const uint8_t *)theirs.data + i * sizeof sum, sizeof sum);
        if (le64toh(sum) != b->sums[i])
            differ[i / 8] |= (uint8_t)(1 << i % 8);
    }
}
