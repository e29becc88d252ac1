/* Digests from the reading's thread to the manifest, which the session's thread writes; see
 * proof.h. What cannot be stored or kept is read again by a later pass. */
#include "secondary/site/proof.h"

#include <pthread.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/site/checkpoint.h"
#include "tree/manifest/seen.h"

enum {
    PROOF_KEPT = 65536, /* that wait to be stored */
    PROOF_TELL_MS = 5000,
};

struct proof {
    struct replica *r;
    uint64_t told, told_ms;
    pthread_mutex_t lock; /* of this: */
    struct seen *seen;
};

struct proof *proof_new(struct replica *r, uint64_t unproven)
{
    struct proof *p = mem_alloc(sizeof *p);
    p->r = r;
    p->told = unproven;
    p->seen = seen_new(r->manifest);
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

void proof_free(struct proof *p)
{
    if (!p)
        return;
    seen_free(p->seen);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void proof_add(struct proof *p, struct bytes path, const struct record *r)
{
    pthread_mutex_lock(&p->lock);
    if (seen_count(p->seen) < PROOF_KEPT)
        seen_add(p->seen, path, r);
    pthread_mutex_unlock(&p->lock);
}

static struct seen *take(struct proof *p)
{
    struct seen *taken = NULL;
    pthread_mutex_lock(&p->lock);
    if (seen_count(p->seen) > 0) {
        taken = p->seen;
        p->seen = seen_new(p->r->manifest);
    }
    pthread_mutex_unlock(&p->lock);
    return taken;
}

static int count_unproven(const struct replica *r, uint64_t *n, struct err *err)
{
    struct manifest_txn *t;
    struct msg_sums sums = {0};
    if (manifest_begin(r->manifest, false, &t, err) < 0)
        return -1;
    int bad = manifest_sums(t, MANIFEST_ROOT, &sums, err);
    manifest_abort(t);
    *n = sums.unproven;
    return bad;
}

static void tell(struct proof *p, uint64_t unproven)
{
    struct replica *r = p->r;
    uint64_t now = io_now_ms();
    if (r->tools->version < MSG_VERSION_NEWS || unproven == p->told ||
        (unproven > 0 && now < p->told_ms + PROOF_TELL_MS))
        return;
    p->told = unproven;
    p->told_ms = now;
    msg_put_proving(
        &r->tools->out.writer, &(struct msg_proving){.site = r->site, .unproven = unproven});
    outbox_put(&r->tools->out);
    if (unproven == 0)
        checkpoint_uncovered(r); /* so that it need not be read again after a power loss */
}

void proof_step(struct proof *p)
{
    struct err why;
    struct seen *seen = take(p);
    uint64_t unproven;
    if (!seen && p->told == 0)
        return;
    int bad = seen ? seen_store(seen, &why) : 0;
    seen_free(seen);
    if (!bad)
        bad = count_unproven(p->r, &unproven, &why);
    if (bad)
        log_warn("%s: what was read is not remembered: %s", p->r->path, why.text);
    else
        tell(p, unproven);
}
