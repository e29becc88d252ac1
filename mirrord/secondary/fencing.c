/* Who may push here; see fencing.h. The epoch's file is tree/epoch.c's; which host the
 * configuration names is the fence's. */
#include "secondary/fencing.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "tree/digest.h"

int fencing_present(struct replica *r, const struct msg_open *m, bool primary_here,
    uint16_t *reason, struct err *err)
{
    char *host CLEANUP_FREE = mem_copy_bytes(r->tools->peer_host.data, r->tools->peer_host.len);
    *reason = REASON_IO;
    r->epoch_dir =
        state_open_dir(r->tools->options->state_dir, root_path(r->root), m->epoch > 0, err);
    if (r->epoch_dir == -1)
        return -1;
    *reason = REASON_FENCED;
    if (r->epoch_dir == STATE_NONE)
        return primary_here ? err_set(err, ERR_REFUSED, "fenced: this host is the primary itself")
                            : 0;
    int verdict =
        epoch_present(r->epoch_dir, primary_here, m->epoch, &m->epoch_id, host, &r->epoch, err);
    if (verdict < 0)
        *reason = REASON_IO;
    r->epoch_stamp = epoch_stamp(r->epoch_dir);
    return verdict == 0 ? 0 : -1;
}

static bool is_raised(const struct replica *r)
{
    return r->epoch_dir >= 0 && epoch_stamp(r->epoch_dir) != r->epoch_stamp;
}

/* The directory is there by now, since the root's state has been opened. */
static void find_directory(struct replica *r)
{
    struct err ignored;
    if (r->epoch_dir < 0)
        r->epoch_dir =
            state_open_dir(r->tools->options->state_dir, root_path(r->root), false, &ignored);
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
        if (r->state != REPLICA_OPEN || r->epoch_lock >= 0)
            continue;
        find_directory(r);
        if (!is_raised(r))
            continue;
        fenced(r, &why);
        replica_fail(r, REASON_FENCED, &why);
    }
}

/* An interrupted commit of the former primary is finished before this host counts as one. Under the
 * epoch's lock: a receiver that holds the root is alive, and in no commit. */
static void settle(struct tools *tools, const struct receive_grant *g)
{
    struct err why;
    if (access(g->root, F_OK) == 0 &&
        receive_recover(tools->options->state_dir, g->root, &g->policy, &why) < 0 &&
        why.code != ERR_TEMPORARY)
        log_warn("%s: %s", g->root, why.text);
}

/* The primary hands over: this host raises the epoch. Repeated, it has done so already. */
static int take(struct tools *tools, const struct receive_grant *g, int dir, const struct msg_claim *m,
    struct epoch *now, struct err *err)
{
    const struct receive_options *o = tools->options;
    struct digest self;
    int lock CLEANUP_FD = epoch_lock(dir, err);
    if (lock < 0 || epoch_read(dir, now, err) < 0 || state_host_id(o->state_dir, &self, err) < 0)
        return -1;
    if (now->role == ROLE_PRIMARY && now->counter > m->epoch && digest_equal(&now->id, &self))
        return 0;
    enum epoch_order order = epoch_compare(now, m->epoch, &m->epoch_id);
    if (order == EPOCH_LOWER || order == EPOCH_SPLIT || now->role == ROLE_PRIMARY) {
        err_set(err, ERR_REFUSED, "fenced: %s is the primary (epoch %llu)", now->primary,
            (unsigned long long)now->counter);
        return 1;
    }
    settle(tools, g);
    *now = (struct epoch){.counter = m->epoch + 1, .id = self, .role = ROLE_PRIMARY};
    snprintf(now->primary, sizeof now->primary, "%s", o->host ? o->host : "?");
    return epoch_write(dir, now, err);
}

static int claim(struct tools *tools, const struct msg_claim *m, struct epoch *now, struct err *err)
{
    const struct receive_options *o = tools->options;
    struct receive_grant grant;
    char *host CLEANUP_FREE = mem_copy_bytes(m->primary.data, m->primary.len);
    if (o->fence->resolve(o->fence->ctx, m->name, (struct bytes){0}, &grant, err) < 0)
        return -1;
    char *root CLEANUP_FREE = grant.root;
    int dir CLEANUP_FD = state_open_dir(o->state_dir, root, true, err);
    if (dir < 0)
        return -1;
    if (!m->take)
        return epoch_present(dir, grant.primary, m->epoch, &m->epoch_id, host, now, err);
    return take(tools, &grant, dir, m, now, err);
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
