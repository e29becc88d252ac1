/*
 * What differs between an entry here and one there, by their records alone: what kind of difference
 * it is, and what sending it means. Knows nothing of how they were found, nor whether it is sent.
 */
#include "primary/push/compare/difference.h"

#include <string.h>

#include "base/mem.h"
#include "tree/content/digest.h"

char *difference_path(const char *dir, struct bytes name)
{
    return dir[0] ? mem_format("%s/%.*s", dir, (int)name.len, (const char *)name.data)
                  : mem_copy_bytes(name.data, name.len);
}

bool difference_owner_matters(const struct push_site *ps)
{
    return ps->site->options.owner && (ps->caps & CAP_SET_OWNER);
}

bool difference_same_sums(
    const struct push_site *ps, const struct msg_sums *a, const struct msg_sums *b)
{
    bool proven = a->unproven == 0 && b->unproven == 0;
    if (ps->site->lost && !proven)
        return false;
    return a->entries == b->entries && digest_equal(&a->meta, &b->meta) &&
           (!difference_owner_matters(ps) || digest_equal(&a->owner, &b->owner)) &&
           (!proven || digest_equal(&a->content, &b->content));
}

struct difference *differences_add(
    struct differences *all, const char *dir, struct bytes name, enum owed_kind kind)
{
    if (all->count == all->room) {
        all->room = all->room ? all->room * 2 : 64;
        all->found = mem_resize(all->found, all->room, sizeof *all->found);
    }
    struct difference *d = &all->found[all->count++];
    char *path = difference_path(dir, name);
    *d = (struct difference){.path = {path, strlen(path)}, .kind = kind};
    return d;
}

void difference_describe(struct difference *d, const struct entry *e, const struct msg_sums *sums)
{
    d->type = e->type;
    d->bytes = e->type == ENTRY_DIR ? sums->bytes : e->size;
    d->entries = 1 + (e->type == ENTRY_DIR ? sums->entries : 0);
    d->files = e->type == ENTRY_DIR ? sums->files : 1;
    d->subtree = e->type == ENTRY_DIR;
    d->has_digest = e->has_digest;
    d->digest = e->digest;
    if (sums)
        d->sums = *sums;
}

bool difference_is_newer(const struct entry *a, const struct entry *b)
{
    return a->mtime > b->mtime || (a->mtime == b->mtime && a->mtime_nsec > b->mtime_nsec);
}

/* What has to be done so that the far entry becomes ours; OWED_ANY: nothing. */
enum owed_kind difference_of(
    const struct push_site *ps, const struct entry *ours, const struct entry *theirs)
{
    bool meta = entry_meta_equal(ours, theirs) &&
                (!difference_owner_matters(ps) || entry_owner_equal(ours, theirs));
    if (ours->type != theirs->type || ours->type == ENTRY_LINK)
        return meta ? OWED_ANY : OWED_UPDATE;
    if (ours->type == ENTRY_DIR)
        return meta ? OWED_ANY : OWED_META;
    bool known = ours->has_digest && theirs->has_digest;
    bool same_time = ours->mtime == theirs->mtime && ours->mtime_nsec == theirs->mtime_nsec;
    if (!entry_content_equal(ours, theirs) || (!known && !same_time))
        return OWED_UPDATE;
    /* After a power loss at this end the far one may have lost content under an unchanged time.
     * What it has is known there, what it should have only by reading: then the digest is sent. */
    bool doubtful = ps->site->lost && !ours->has_digest && theirs->has_digest;
    return meta && !doubtful ? OWED_ANY : OWED_META;
}

void differences_free(struct differences *all)
{
    for (size_t i = 0; i < all->count; i++) {
        free((void *)all->found[i].path.data);
        free(all->found[i].source);
    }
    free(all->found);
}
