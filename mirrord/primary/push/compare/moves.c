/*
 * Moves among the differences that a comparison found: something that is missing there and equal to
 * something that is to be deleted there was moved, or copied and the source deleted. The content
 * need not be sent then.
 */
#include "primary/push/compare/moves.h"

#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/set.h"
#include "tree/content/digest.h"

enum {
    COPY_MIN = 4096,                   /* smaller files are sent sooner than they are matched */
    CANDIDATE_MAX = 256 * 1024 * 1024, /* larger ones are not read on a guess */
};

/* A directory under both digests that only equal subtrees share. */
static void directory_key(const struct msg_sums *s, uint8_t key[32])
{
    memcpy(key, s->meta.b, 16);
    memcpy(key + 16, s->content.b, 16);
}

static bool movable_file(const struct difference *d)
{
    return d->type == ENTRY_FILE && d->has_digest && d->bytes >= COPY_MIN;
}

static bool movable_dir(const struct difference *d)
{
    return d->type == ENTRY_DIR && d->subtree && d->sums.unproven == 0 && d->sums.entries > 0;
}

static size_t key_of(const struct difference *d, uint8_t key[32])
{
    if (movable_dir(d)) {
        directory_key(&d->sums, key);
        return 32;
    }
    memcpy(key, d->digest.b, 16);
    return movable_file(d) ? 16 : 0;
}

/* A new file of a size that is to be deleted there: its content may be the same, which is worth
 * reading it. */
static void read_candidate(struct push_site *ps, const struct set *sizes, struct difference *d)
{
    struct stat st;
    struct err err;
    if (d->kind != OWED_CREATE || d->type != ENTRY_FILE || d->has_digest || d->bytes < COPY_MIN ||
        d->bytes > CANDIDATE_MAX || !set_find(sizes, &d->bytes, sizeof d->bytes))
        return;
    int fd CLEANUP_FD = root_open_file(ps->site->root, d->path, &st);
    d->has_digest = fd >= 0 && (uint64_t)st.st_size == d->bytes &&
                    digest_of_fd(fd, d->bytes, &d->digest, &err) == 0;
}

/* What is to be deleted there: by content, and (files) by size. */
static void collect_doomed(struct differences *all, struct set *doomed, struct set *sizes)
{
    uint8_t key[32];
    for (size_t i = 0; i < all->count; i++) {
        struct difference *d = &all->found[i];
        size_t n = d->kind == OWED_DELETE ? key_of(d, key) : 0;
        if (n)
            set_add(doomed, key, n)->value = d;
        if (n && d->type == ENTRY_FILE)
            set_add(sizes, &d->bytes, sizeof d->bytes);
    }
}

/* What is new here and equal to something that is to be deleted there was moved. */
uint64_t moves_match(struct push_site *ps, struct differences *all)
{
    struct set *doomed = set_new(), *sizes = set_new();
    uint8_t key[32];
    uint64_t spared = 0;
    collect_doomed(all, doomed, sizes);
    for (size_t i = 0; i < all->count && set_count(doomed) > 0; i++) {
        struct difference *d = &all->found[i];
        read_candidate(ps, sizes, d);
        size_t n = d->kind == OWED_CREATE ? key_of(d, key) : 0;
        struct set_item *match = n ? set_find(doomed, key, n) : NULL;
        if (!match)
            continue;
        struct difference *from = match->value;
        if (!push_site_may_move(ps, from->path, d->path))
            continue;
        d->source = mem_copy_bytes(from->path.data, from->path.len);
        if (d->type != ENTRY_DIR)
            continue; /* copied; the source is deleted when that is done */
        d->kind = OWED_MOVE;
        from->taken = true;
        spared += from->entries;
        set_remove(doomed, match);
    }
    set_free(doomed);
    set_free(sizes);
    return spared;
}
