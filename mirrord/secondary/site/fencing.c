/* Who may push here; see fencing.h. The epoch's file is tree/state/epoch.c's; which host the
 * configuration names is the fence's. */
#include "secondary/site/fencing.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/recover.h"
#include "tree/content/digest.h"
#include "tree/state/epochs.h"

static struct epoch presented_of(uint64_t counter, const struct digest *id, struct bytes host)
{
    struct epoch e = {.counter = counter, .id = *id};
    snprintf(e.primary, sizeof e.primary, "%.*s", (int)host.len,
        host.len ? (const char *)host.data : "");
    return e;
}

int fencing_present(struct replica *r, const struct msg_open *m, uint16_t *reason, struct err *err)
{
    const struct outside *o = r->tools->outside;
    struct epoch presented = presented_of(m->epoch, &m->epoch_id, r->tools->peer_host);
    int verdict = o->epoch(o->ctx, &r->asked, false, -1, &presented, &r->epoch, err);
    *reason = verdict < 0 ? REASON_IO : REASON_FENCED;
    if (verdict)
        return -1;
    *reason = REASON_IO;
    r->epoch_dir = epochs_open(r->tools->options->state_dir, root_path(r->root), false, err);
    if (r->epoch_dir == -1)
        return -1;
    if (r->epoch_dir >= 0)
        r->epoch_stamp = epoch_stamp(r->epoch_dir);
    return 0;
}

/* Does the file say another host, or a later promotion, than when the site was opened? That it was
 * written again, as a handover does that is finished twice, is nothing. */
static bool is_raised(struct replica *r)
{
    struct epoch now;
    struct err ignored;
    uint64_t stamp = r->epoch_dir >= 0 ? epoch_stamp(r->epoch_dir) : r->epoch_stamp;
    if (stamp == r->epoch_stamp)
        return false;
    if (epoch_read(r->epoch_dir, &now, &ignored) != 0 || now.counter > r->epoch.counter ||
        (now.counter == r->epoch.counter && !digest_equal(&now.id, &r->epoch.id)))
        return true;
    r->epoch_stamp = stamp;
    return false;
}

/* Where a session is, its parent has made it when the site was presented. */
static void find_directory(struct replica *r)
{
    struct err ignored;
    if (r->epoch_dir < 0)
        r->epoch_dir = epochs_open(
            r->tools->options->state_dir, root_path(r->root), !r->tools->self, &ignored);
}

static int fenced(struct replica *r, struct err *err)
{
    if (epoch_read(r->epoch_dir, &r->epoch, err) < 0)
        return -1;
    return err_set(err, ERR_REFUSED, "fenced: %s was promoted meanwhile (epoch %llu)",
        r->epoch.primary, (unsigned long long)r->epoch.counter);
}

int fencing_enter(struct replica *r, struct err *err)
{
    fencing_leave(r);
    find_directory(r);
    if (r->epoch_dir < 0)
        return 0;
    r->epoch_lock = epoch_lock(r->epoch_dir, err);
    if (r->epoch_lock < 0)
        return -1;
    return is_raised(r) ? fenced(r, err) : 0;
}

void fencing_leave(struct replica *r)
{
    if (r->epoch_lock >= 0)
        close(r->epoch_lock);
    r->epoch_lock = -1;
}

void fencing_look(struct tools *tools)
{
    struct err why;
    uint64_t now = io_now_ms();
    if (now < tools->look_due)
        return;
    tools->look_due = now + FENCING_LOOK_MS;
    for (struct set_item *i = set_first(tools->replicas); i; i = i->next) {
        struct replica *r = i->value;
        if (r->state != REPLICA_OPEN || !r->root || r->epoch_lock >= 0)
            continue; /* without a root: a dry run, for which none was made */
        find_directory(r);
        if (!is_raised(r))
            continue;
        fenced(r, &why);
        replica_fail(r, REASON_FENCED, &why);
    }
}

/* An interrupted commit of the former primary is finished before this host counts as one. Under the
 * epoch's lock: a receiver that holds the root is alive, and in no commit. */
static void settle(struct tools *tools, const struct outside_place *p)
{
    struct err why;
    if (!p->barred && access(p->root, F_OK) == 0 &&
        recover_beside(tools->outside, tools->options->state_dir, p->root, &p->policy, &why) < 0 &&
        why.code != ERR_TEMPORARY)
        log_warn("%s: %s", p->root, why.text);
}

/* The primary hands over. -1 with err, or the lock (EPOCHS_NONE: there is nothing to be settled).
 */
static int settle_locked(struct tools *tools, const struct outside_place *p, struct err *err)
{
    int dir CLEANUP_FD = epochs_open(tools->options->state_dir, p->root, false, err);
    if (dir < 0)
        return dir;
    int lock = epoch_lock(dir, err);
    if (lock >= 0)
        settle(tools, p);
    return lock;
}

static int claim(struct tools *tools, const struct msg_claim *m, struct epoch *now, struct err *err)
{
    const struct outside *o = tools->outside;
    const struct outside_site site = {.name = m->name};
    struct epoch presented = presented_of(m->epoch, &m->epoch_id, m->primary);
    struct outside_place place;
    if (o->place(o->ctx, &site, false, &place, err) < 0)
        return -1;
    int lock CLEANUP_FD = m->take ? settle_locked(tools, &place, err) : EPOCHS_NONE;
    free(place.root);
    if (lock == -1)
        return -1;
    return o->epoch(o->ctx, &site, m->take, lock, &presented, now, err);
}

void fencing_claim(struct tools *tools, const struct msg_claim *m)
{
    struct epoch now = {0};
    struct err why = {0};
    int verdict = claim(tools, m, &now, &why);
    struct msg_claimed answer = {.request = m->request,
        .reason = verdict == 0   ? REASON_NONE
                  : verdict == 1 ? REASON_FENCED
                                 : REASON_IO,
        .epoch = now.counter,
        .epoch_id = now.id,
        .primary = bytes_of(now.primary),
        .text = {why.text, strnlen(why.text, MSG_TEXT_MAX)}};
    if (verdict == 0)
        log_info("%s: epoch %llu of %s", QUOTED(m->name.data, m->name.len),
            (unsigned long long)now.counter, now.primary);
    msg_put_claimed(&tools->out.writer, &answer);
    outbox_put(&tools->out);
    tools->look_due = 0;
}
