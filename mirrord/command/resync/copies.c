/* Copies are deleted by resyncs from an empty directory; see copies.h. */
#include "command/resync/copies.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/mem.h"
#include "command/far.h"
#include "command/resync/resync_job.h"
#include "command/words.h"
#include "tree/state/state.h"

struct deletion {
    const struct copies *of;
    const char *scratch, *empty; /* a state for this once, and a directory in it */
    struct epoch epoch;
    struct digest host_id;
};

/* `forced` passes all limits of what may be deleted at once, and also what guards a root that is
 * another directory now: so that is found out first, by a run that deletes nothing. */
static int run(const struct deletion *d, const struct resync_target *target, bool forced,
    uint64_t *deleted, struct err *err)
{
    const struct config_site *s = d->of->s;
    struct resync_result out = {0};
    const struct resync_job job = {.site = {.name = d->of->name,
                                       .root = d->empty,
                                       .state_dir = d->scratch,
                                       .filter = s->filter,
                                       .units = s->units,
                                       .fsync_batch = s->fsync_batch,
                                       .max_delete_percent = 100,
                                       .keep_days = s->keep_days,
                                       .max_size = s->max_size,
                                       .force = forced,
                                       .no_delete = !forced},
        .target = target,
        .host_id = d->host_id,
        .host = d->of->c->self,
        .epoch = d->epoch,
        .stop = d->of->stop};
    int r = resync_job_run(&job, &out, err);
    *deleted = out.push.deleted;
    resync_result_free(&out);
    return r;
}

static int delete_at(
    const struct deletion *d, const struct config_host *h, uint64_t *deleted, struct err *err)
{
    struct peer_options peer;
    char **argv = far_peer_options(d->of->c, h, &d->host_id, &peer, err);
    if (!argv)
        return -1;
    const struct resync_target target = {.name = h->name,
        .link = peer.link,
        .without = config_exclude_at(d->of->s, h->name),
        .compress = peer.compress,
        .bwlimit = peer.bwlimit,
        .keepalive_ms = peer.keepalive_ms};
    int r = run(d, &target, false, deleted, err);
    if (r == 0)
        r = run(d, &target, true, deleted, err);
    words_free(argv);
    return r;
}

/* The first error decides, but none keeps the others from being done. */
static int delete_all(const struct deletion *d, struct err *err)
{
    int result = 0;
    for (char **h = d->of->s->hosts; *h && !*d->of->stop; h++) {
        struct err why;
        uint64_t n = 0;
        if (strcmp(*h, d->of->c->self) == 0)
            continue;
        if (delete_at(d, config_host(d->of->c, *h), &n, &why) == 0) {
            if (!d->of->quiet)
                printf("%s on %s: %llu path%s deleted\n", d->of->name, *h, (unsigned long long)n,
                    n == 1 ? "" : "s");
            continue;
        }
        if (result < 0)
            log_error("%s", why.text);
        else
            *err = why;
        result = -1;
    }
    return result;
}

int copies_delete(const struct copies *copies, struct err *err)
{
    struct deletion d = {.of = copies};
    if (state_host_id(copies->state_dir, &d.host_id, err) < 0 ||
        epoch_of(copies->state_dir, copies->root, &d.epoch, err) < 0)
        return -1;
    char *scratch CLEANUP_FREE = state_scratch(copies->state_dir, err);
    if (!scratch)
        return -1;
    char *empty CLEANUP_FREE = mem_format("%s/empty", scratch);
    d.scratch = scratch;
    d.empty = empty;
    int r = mkdir(empty, 0755) < 0 ? err_sys(err, errno, "create %s", empty) : delete_all(&d, err);
    state_discard(scratch);
    return r;
}
