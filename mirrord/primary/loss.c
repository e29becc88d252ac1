/* What a site lost lately; see loss.h. Knows nothing of what is held because of it. */
#include "primary/loss.h"

#include <time.h>

void loss_init(struct loss *l)
{
    pthread_mutex_init(&l->lock, NULL);
}

void loss_free(struct loss *l)
{
    pthread_mutex_destroy(&l->lock);
}

static uint64_t without_excused(struct loss *l, uint64_t lost, int64_t now)
{
    if (now >= l->excused_until)
        l->excused = 0;
    uint64_t spared = lost < l->excused ? lost : l->excused;
    l->excused -= spared;
    return lost - spared;
}

static void look(struct loss *l, uint64_t entries)
{
    int64_t now = time(NULL);
    if (l->looked && entries < l->entries)
        deletions_add(
            &l->deletions, now, without_excused(l, l->entries - entries, now), l->entries);
    else if (l->looked)
        deletions_take_back(&l->deletions, now, entries - l->entries);
    l->entries = entries;
    l->looked = true;
    l->had |= entries > 0;
}

void loss_look(struct loss *l, uint64_t entries)
{
    pthread_mutex_lock(&l->lock);
    look(l, entries);
    pthread_mutex_unlock(&l->lock);
}

void loss_excuse(struct loss *l, uint64_t entries)
{
    pthread_mutex_lock(&l->lock);
    l->excused += entries;
    l->excused_until = time(NULL) + DELETIONS_MINUTES * 60;
    pthread_mutex_unlock(&l->lock);
}

static int count(struct manifest *m, uint64_t *entries, struct err *err)
{
    struct manifest_txn *t;
    struct msg_sums sums;
    if (manifest_begin(m, false, &t, err) < 0)
        return -1;
    int r = manifest_sums(t, MANIFEST_ROOT, &sums, err);
    manifest_abort(t);
    *entries = sums.entries;
    return r;
}

int loss_check(
    struct loss *l, struct manifest *m, const struct deletions_limit *limit, struct err *err)
{
    uint64_t entries, before;
    if (count(m, &entries, err) < 0)
        return -1;
    pthread_mutex_lock(&l->lock);
    look(l, entries);
    uint64_t lost = deletions_sum(&l->deletions, time(NULL), entries, &before);
    bool emptied = l->had && entries == 0;
    pthread_mutex_unlock(&l->lock);
    if (emptied && limit->percent < 100)
        return err_set(err, ERR_REFUSED,
            "the root is empty, which it was not: nothing is deleted. If that is right, use "
            "--force");
    if (!deletions_too_many(limit, lost, before))
        return 0;
    return err_set(err, ERR_REFUSED,
        "%llu of %llu entries were deleted here within %d minutes, more than max-delete allows "
        "(%u %% and %llu): nothing more is deleted. If that is right, use --force",
        (unsigned long long)lost, (unsigned long long)before, DELETIONS_MINUTES, limit->percent,
        (unsigned long long)limit->count);
}

void loss_forgive(struct loss *l)
{
    pthread_mutex_lock(&l->lock);
    l->deletions = (struct deletions){0};
    pthread_mutex_unlock(&l->lock);
}
