/* Messages about a site, but for what is in its batches: OPEN, CLOSE, LIST, LEVEL, OWED, TELL,
 * CLAIM; see session_impl.h. What is done for them is site/'s. */
#include "base/mem.h"
#include "secondary/commit/batch.h"
#include "secondary/commit/turn.h"
#include "secondary/health/health_feed.h"
#include "secondary/hook/told.h"
#include "secondary/session/session_impl.h"
#include "secondary/site/fencing.h"
#include "secondary/site/listing.h"
#include "secondary/site/replica.h"
#include "secondary/site/settle.h"

int on_open(struct session *s, struct bytes payload, struct err *err)
{
    struct msg_open *m CLEANUP_FREE = mem_alloc(sizeof *m);
    if (!msg_get_open(payload, m))
        return UNREADABLE;
    return replica_open(&s->tools, m, payload, NULL, err);
}

/* The replica of this number: NULL with err where it was never opened, or is being opened. */
static struct replica *open_replica(struct session *s, uint32_t site, struct err *err)
{
    struct set_item *item = set_find(s->tools.replicas, &site, sizeof site);
    struct replica *r = item ? item->value : NULL;
    if (r && r->state != REPLICA_OPENING)
        return r;
    err_set(err, ERR_FAILED, "site %u is not open", site);
    return NULL;
}

int on_list(struct session *s, struct bytes payload, struct err *err)
{
    struct msg_list m;
    if (!msg_get_list(payload, &m))
        return UNREADABLE;
    struct replica *r = open_replica(s, m.site, err);
    if (!r)
        return -1;
    if (r->state == REPLICA_OPEN)
        listing_answer(r, &m);
    return 0;
}

int on_level(struct session *s, struct bytes payload, struct err *err)
{
    struct msg_level m;
    if (!msg_get_level(payload, &m))
        return UNREADABLE;
    struct replica *r = open_replica(s, m.site, err);
    if (!r)
        return -1;
    if (r->flags & OPEN_DRY_RUN)
        return err_set(err, ERR_FAILED, "LEVEL in a dry run");
    /* A root that was taken by force and is equal: no batch would ever mark it. */
    bool taken = (r->flags & OPEN_FORCE) && !r->marked && r->state == REPLICA_OPEN;
    r->flags &= ~(uint32_t)OPEN_FORCE;
    if (taken && replica_prepare(r) < 0)
        return 0;
    if (r->state == REPLICA_OPEN) {
        settle_start(r);
        health_feed_level(r);
    }
    return 0;
}

int on_owed(struct session *s, struct bytes payload, struct err *err)
{
    struct msg_owed m;
    if (!msg_get_owed(payload, &m))
        return UNREADABLE;
    struct replica *r = open_replica(s, m.site, err);
    if (!r)
        return -1;
    if (r->state == REPLICA_OPEN)
        health_feed_owed(r, &m);
    return 0;
}

int on_tell(struct session *s, struct bytes payload, struct err *err)
{
    struct msg_tell m;
    if (!msg_get_tell(payload, &m))
        return UNREADABLE;
    struct replica *r = open_replica(s, m.site, err);
    if (!r)
        return -1;
    if (r->state == REPLICA_OPEN)
        told_ask(r, m.token);
    return 0;
}

int on_claim(struct session *s, struct bytes payload, struct err *err)
{
    struct msg_claim m;
    (void)err;
    if (!msg_get_claim(payload, &m))
        return UNREADABLE;
    fencing_claim(&s->tools, &m);
    return 0;
}

int on_close(struct session *s, struct bytes payload, struct err *err)
{
    struct msg_close m;
    if (!msg_get_close(payload, &m))
        return UNREADABLE;
    struct set_item *item = set_find(s->tools.replicas, &m.site, sizeof m.site);
    if (!item)
        return err_set(err, ERR_FAILED, "site %u is not open", m.site);
    struct replica *r = item->value;
    turn_finish(r);
    batch_drop_all(r);
    replica_end(r);
    replica_free(r);
    set_remove(s->tools.replicas, item);
    return 0;
}
