/* One site's life at the secondary, and what its messages ask of it as a whole; see replica.h. How
 * it is opened is in opening.c, what is done to its files in batch.c and behind. */
#include "secondary/site/replica.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/commit/batch.h"
#include "secondary/hook/told.h"
#include "secondary/site/checkpoint.h"
#include "secondary/site/drift.h"
#include "secondary/site/fencing.h"
#include "secondary/site/opening.h"
#include "secondary/site/settle.h"
#include "secondary/stage/reap.h"
#include "secondary/trash/keeper.h"
#include "secondary/unit/grace.h"
#include "secondary/unit/retire.h"
#include "tree/content/digest.h"

enum {
    PROGRESS_EVERY_MS = 500,
    PRUNE_STRIDE = 1024, /* records: a millisecond's work */
};

static int read_rules(struct replica *r, const struct msg_open *m, struct err *err)
{
    r->filter = filter_new();
    for (size_t i = 0; i < m->rule_count; i++)
        if (filter_add(r->filter, m->rules[i].include, m->rules[i].pattern, err) < 0)
            return -1;
    return 0;
}

/* The session's replica of this number: a new one, or one that failed and is asked for again. */
static struct replica *take_number(struct tools *tools, uint32_t site)
{
    struct set_item *item = set_add(tools->replicas, &site, sizeof site);
    struct replica *old = item->value;
    if (old && old->state != REPLICA_FAILED)
        return NULL;
    replica_free(old);
    struct replica *r = mem_alloc(sizeof *r);
    r->epoch_dir = r->epoch_lock = -1;
    boot_id(r->boot);
    item->value = r;
    return r;
}

static struct bytes copy_bytes(struct bytes b)
{
    return (struct bytes){mem_copy_bytes(b.data, b.len), b.len};
}

/* The root that is meant. */
static int find_place(struct replica *r, const struct msg_open *m, struct err *err)
{
    const struct outside *o = r->tools->outside;
    struct outside_place place;
    r->asked = (struct outside_site){copy_bytes(m->name), copy_bytes(m->root)};
    if (o->place(o->ctx, &r->asked, !(r->flags & OPEN_DRY_RUN), &place, err) < 0)
        return -1;
    r->path = place.root;
    r->policy = place.policy;
    r->limit = (struct deletions_limit){m->max_delete_percent, m->max_delete_count};
    r->keep_days = r->policy.said ? r->policy.keep_days : m->keep_days;
    r->unit_grace = r->policy.said ? r->policy.unit_grace : m->unit_grace;
    strcpy(r->ready, place.stage);
    r->barred = place.barred;
    r->no_way = place.no_way;
    return 0;
}

/* All that this host's own configuration excludes here besides. NULL-terminated; -1 with err. */
static int ask_excludes(const struct replica *r, char ***out, size_t *count, struct err *err)
{
    const struct outside *o = r->tools->outside;
    char **all = NULL, *pattern = NULL;
    size_t n = 0;
    int more;
    while ((more = o->exclude(o->ctx, &r->asked, (unsigned)n, &pattern, err)) == 1) {
        all = mem_resize(all, n + 1, sizeof *all);
        all[n++] = TAKE_PTR(pattern);
    }
    *out = all;
    *count = n;
    return more;
}

/* They must end the rules that came: a primary that does not know of them would miss these paths
 * here, and is not to touch them. */
static int check_excludes(const struct replica *r, struct err *err)
{
    char **own = NULL;
    size_t n = 0, count = filter_count(r->filter);
    int bad = ask_excludes(r, &own, &n, err);
    for (size_t i = 0; !bad && i < n; i++) {
        struct msg_rule rule = {.include = true};
        if (n <= count)
            filter_rule(r->filter, count - n + i, &rule);
        if (rule.include || !bytes_equal(rule.pattern, bytes_of(own[i])))
            bad = err_set(err, ERR_REFUSED,
                "on this host the site excludes %s, and the primary's configuration does not say "
                "so: give both the same file",
                QUOTED(own[i], strlen(own[i])));
    }
    for (size_t i = 0; i < n; i++)
        free(own[i]);
    free(own);
    return bad;
}

/* A file of root's with such a bit, and whoever may execute it here is root: that is for this
 * host's own configuration to allow. */
static int check_special(const struct replica *r, struct err *err)
{
    if (!(r->flags & OPEN_SPECIAL_BITS) || r->policy.special_bits)
        return 0;
    return err_set(err, ERR_REFUSED,
        "the primary wants setuid and setgid bits kept, and special-bits is not set for the site "
        "on "
        "this host: give both the same file");
}

/* The sandbox does not have the root. A primary that knows RENEW asks for another process; else the
 * session ends once all that is asked for was. */
static void refuse_barred(struct replica *r)
{
    struct err why;
    r->state = REPLICA_FAILED;
    r->tools->outdated |= r->tools->version < MSG_VERSION_RENEW;
    if (r->tools->outdated)
        return;
    err_set(&why, ERR_TEMPORARY,
        "%s is new to this receiver, or another directory than when it began", r->path);
    replica_fail(r, REASON_YIELD, &why);
}

/* What was open is taken over as it was, or not at all: the primary opens it anew, then. */
static int check_same(
    const struct replica *r, const struct replica_before *b, uint16_t *reason, struct err *err)
{
    struct digest filter;
    struct stat st;
    filter_digest(r->filter, &filter);
    *reason = REASON_YIELD;
    if (!bytes_equal(b->path, bytes_of(r->path)))
        return err_set(err, ERR_TEMPORARY, "its root is %s now", r->path);
    if (!digest_equal(&filter, &b->filter))
        return err_set(err, ERR_TEMPORARY, "what is mirrored of it is not the same any more");
    if (b->owner != r->policy.owner || b->uid != r->policy.uid || b->gid != r->policy.gid)
        return err_set(err, ERR_TEMPORARY, "its files belong to somebody else now");
    return lstat(r->path, &st) < 0 ? err_sys(err, errno, "%s", r->path) : 0;
}

static void open_or_resume(struct replica *r, const struct replica_before *before)
{
    struct err why;
    if (!before || !before->open)
        opening_start(r);
    else if (opening_resume(r, before, &why) < 0)
        replica_fail(r, r->refused ? REASON_HELD : REASON_IO, &why);
}

static void take_before(struct replica *r, const struct replica_before *b)
{
    r->counted = b->counted;
    r->distrust = b->distrust;
    r->session_before = b->session_before;
}

static int check_limits(struct tools *tools, const struct msg_open *m, size_t len, struct err *err)
{
    tools->reason = REASON_LIMIT;
    if (set_count(tools->replicas) >= MSG_SITES_MAX &&
        !set_find(tools->replicas, &m->site, sizeof m->site))
        return err_set(err, ERR_FAILED, "over %d sites in one session", MSG_SITES_MAX);
    if (tools->opened_bytes + len > MSG_OPENS_MAX)
        return err_set(err, ERR_FAILED, "over %d MiB of OPENs in one session", MSG_OPENS_MAX >> 20);
    tools->reason = REASON_MALFORMED;
    return 0;
}

int replica_open(struct tools *tools, const struct msg_open *m, struct bytes payload,
    const struct replica_before *before, struct err *err)
{
    if (check_limits(tools, m, payload.len, err) < 0)
        return -1;
    struct replica *r = take_number(tools, m->site);
    if (!r)
        return err_set(err, ERR_FAILED, "site %u is open already", m->site);
    r->tools = tools;
    r->opened_by = copy_bytes(payload);
    tools->opened_bytes += payload.len;
    r->site = m->site;
    r->flags = m->flags;
    r->session = m->session;
    r->known = m->known;
    if (before)
        take_before(r, before);
    uint16_t reason = REASON_MALFORMED;
    struct err why;
    err_clear(&why);
    int bad = read_rules(r, m, &why);
    if (!bad) {
        reason = REASON_PATH;
        bad = find_place(r, m, &why) || check_special(r, &why) || check_excludes(r, &why) ? -1 : 0;
    }
    if (!bad && r->barred) {
        refuse_barred(r);
        return 0;
    }
    if (!bad && before && before->open)
        bad = check_same(r, before, &reason, &why);
    if (!bad)
        bad = opening_root(r, &reason, &why);
    if (!bad && r->root)
        bad = fencing_present(r, m, &reason, &why);
    if (bad)
        replica_fail(r, reason, &why);
    else
        open_or_resume(r, before);
    return 0;
}

void replica_end(struct replica *r)
{
    health_feed_end(r);
    drift_free(TAKE_PTR(r->drift)); /* its thread writes to the manifest, too */
    checkpoint_end(r, r->state == REPLICA_OPEN);
}

static void release(struct replica *r)
{
    drift_free(TAKE_PTR(r->drift)); /* its thread reads the manifest */
    checkpoint_end(r, false);
    job_stop(&r->job);
    fencing_leave(r);
    if (r->epoch_dir >= 0)
        close(r->epoch_dir);
    r->epoch_dir = -1;
    retire_free(TAKE_PTR(r->retire));
    keeper_free(TAKE_PTR(r->keeper));
    walk_free(TAKE_PTR(r->walk));
    inherit_free(TAKE_PTR(r->inherit));
    mounts_free(TAKE_PTR(r->mounts));
    settle_free(TAKE_PTR(r->settle));
    told_free(r);
    manifest_close(TAKE_PTR(r->former));
    manifest_close(TAKE_PTR(r->manifest));
    stage_close(TAKE_PTR(r->stage));
    root_close(TAKE_PTR(r->root));
    health_feed_leave(r);
    state_close(TAKE_PTR(r->locked));
    if (r->scratch)
        state_discard(r->scratch);
    free(TAKE_PTR(r->scratch));
    filter_free(TAKE_PTR(r->filter));
    free(TAKE_PTR(r->path));
    if (r->tools)
        r->tools->opened_bytes -= r->opened_by.len;
    free((void *)r->opened_by.data);
    r->opened_by = (struct bytes){0};
    free((void *)r->asked.name.data);
    free((void *)r->asked.asked.data);
    r->asked = (struct outside_site){0};
    free((void *)r->mirrored.data);
    r->mirrored = (struct bytes){0};
}

void replica_free(struct replica *r)
{
    if (!r)
        return;
    batch_orphan(r);
    release(r);
    free(r);
}

static void log_failure(const struct replica *r, uint16_t reason, const struct err *why)
{
    const char *path = r->path ? r->path : "";
    char again[OFTEN_AGAIN], *cause CLEANUP_FREE = mem_format("%s: %s", path, why->text);
    if (!often_may_say(r->tools->often, cause, io_now_ms(), again))
        return;
    if (reason == REASON_YIELD) /* it goes on in another process */
        log_info("site %u at %s: %s", r->site, path, why->text);
    else
        log_warn("site %u%s%s: %s%s", r->site, *path ? " at " : "", path, why->text, again);
}

void replica_fail(struct replica *r, uint16_t reason, const struct err *why)
{
    log_failure(r, reason, why);
    char text[MSG_TEXT_MAX + 1];
    size_t len = strnlen(why->text, MSG_TEXT_MAX);
    memcpy(text, why->text, len);
    bool fenced = reason == REASON_FENCED;
    struct digest nobody = {0};
    struct bytes primary = bytes_of(r->epoch.primary);
    msg_put_site_error(&r->tools->out.writer, &(struct msg_site_error){.site = r->site,
                                                  .reason = reason,
                                                  .errno_value = (uint32_t)why->sys,
                                                  .text = {text, len},
                                                  .epoch = fenced ? r->epoch.counter : 0,
                                                  .epoch_id = fenced ? r->epoch.id : nobody,
                                                  .primary = fenced ? primary : (struct bytes){0}});
    outbox_put(&r->tools->out);
    health_feed_failed(r, reason, why);
    batch_orphan(r);
    release(r);
    r->state = REPLICA_FAILED;
}

int replica_make_stage(struct replica *r, struct err *err)
{
    stage_close(r->stage);
    r->stage = NULL;
    if (!r->marker.stage[0] && r->ready[0])
        strcpy(r->marker.stage, r->ready);
    else if (!r->marker.stage[0])
        stage_invent(r->marker.stage);
    /* In this order, so that a stage that a killed process has just made is found again. */
    if (marker_write(root_fd(r->root), state_fd(r->locked), &r->marker, err) < 0 ||
        stage_make(r->root, r->marker.stage, &r->stage, err) < 0)
        return err_prefix(err, "prepare %s", root_path(r->root));
    if (!r->stage->exchange)
        log_warn("%s: this filesystem cannot exchange directories: type changes take two steps",
            root_path(r->root));
    r->marked = true;
    r->root_touched = true;
    return 0;
}

int replica_prepare(struct replica *r)
{
    struct err why;
    if (r->stage && r->marked)
        return 0;
    if (replica_make_stage(r, &why) < 0) {
        replica_fail(r, REASON_IO, &why);
        return -1;
    }
    reap_begin(r->stage, r->tools->outside);
    replica_reap(r);
    grace_load(r->stage);
    retire_schedule(r);
    return 0;
}

/* What is dead in the manifest. */
static int prune_some(struct replica *r, struct err *err)
{
    struct manifest_txn *t;
    if (manifest_begin(r->manifest, true, &t, err) < 0)
        return -1;
    int more = manifest_prune(t, PRUNE_STRIDE, err);
    if (more >= 0)
        return manifest_commit(t, err) < 0 ? -1 : more;
    manifest_abort(t);
    return -1;
}

static void reap_step(struct job *job, unsigned budget_ms)
{
    struct replica *r = (struct replica *)((char *)job - offsetof(struct replica, job));
    struct err why;
    unsigned wait = reap_wait(r->stage);
    if (r->cut) {
        int more = prune_some(r, &why);
        if (more < 0)
            log_warn("%s: what was deleted stays in the manifest: %s", r->path, why.text);
        r->cut = more == 1;
    } else if (wait)
        job->not_before = io_now_ms() + wait;
    else if (!reap_some(r->stage, budget_ms))
        job_stop(job);
}

void replica_reap(struct replica *r)
{
    if (r->state == REPLICA_OPEN && r->stage && !job_running(&r->job))
        job_start(&r->tools->jobs, &r->job, reap_step);
}

void replica_progress(struct replica *r, uint64_t done)
{
    uint64_t now = io_now_ms();
    if (now < r->progress_due)
        return;
    r->progress_due = now + PROGRESS_EVERY_MS;
    msg_put_progress(&r->tools->out.writer, &(struct msg_progress){r->site, done});
    outbox_put(&r->tools->out);
}

void replica_say_piecemeal(struct replica *r, struct bytes unit, enum msg_ack_flags cause)
{
    if (!(r->piecemeal_said & cause))
        log_warn("%s: %s is not switched as a whole but file by file: %s", r->path,
            QUOTED(unit.data, unit.len), msg_piecemeal_text(cause));
    r->piecemeal_said |= cause;
}

uint64_t replica_free_bytes(const struct replica *r)
{
    struct statvfs fs;
    if (!r->root || fstatvfs(root_fd(r->root), &fs) < 0)
        return 0;
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}
