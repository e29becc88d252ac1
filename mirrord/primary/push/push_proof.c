/*
 * A tree that was taken over as equal by size and time is read at both ends in the background. When
 * either has come to its end the manifests are compared once more, beside live work: then digests
 * decide, and what has other content is sent.
 */
#include "base/io.h"
#include "base/log.h"
#include "primary/push/push_impl.h"

enum {
    LOOK_MS = 1000,
    COMPARE_MS = 5000, /* between comparisons, whatever the far end tells */
};

void push_proof_begin(struct push_site *ps, uint64_t here, uint64_t there)
{
    ps->unproven = there;
    ps->unproven_here = here > 0;
    ps->proof = PROOF_NONE;
}

/* Has this end read its last file? An upload that is on its way just now only puts that off. */
static bool ends_here(struct push_site *ps)
{
    struct manifest_txn *t;
    struct msg_sums sums = {.unproven = 1};
    uint64_t now = io_now_ms();
    if (!ps->unproven_here || now < ps->unproven_ms)
        return false;
    ps->unproven_ms = now + LOOK_MS;
    if (manifest_begin(ps->site->manifest, false, &t, NULL) < 0)
        return false;
    manifest_sums(t, MANIFEST_ROOT, &sums, NULL);
    manifest_abort(t);
    ps->unproven_here = sums.unproven > 0;
    return !ps->unproven_here;
}

void push_proof_told(struct push_site *ps, const struct msg_proving *m)
{
    if (m->unproven == 0 && ps->unproven > 0)
        ps->proof = PROOF_DUE;
    ps->unproven = m->unproven;
}

void push_proof_tend(struct push *p, struct push_site *ps)
{
    if (p->o->once || ps->state != PUSH_OPEN)
        return;
    if (ends_here(ps))
        ps->proof = PROOF_DUE;
    if (ps->proof == PROOF_COMPARES && !ps->compare) {
        ps->proof = PROOF_NONE;
        if (!ps->unproven_here && ps->unproven == 0)
            log_info("%s: %s: proven by content at both ends", p->o->name, ps->site->label);
    }
    uint64_t now = io_now_ms();
    if (ps->proof != PROOF_DUE || ps->compare || now < ps->proof_ms)
        return;
    ps->proof_ms = now + COMPARE_MS;
    compare_start(p, ps, (struct bytes){0}, NULL);
    ps->proof = PROOF_COMPARES;
}
