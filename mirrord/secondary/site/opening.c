/*
 * Opening a site, in steps between the session's messages: root, lock, marker, manifest,
 * interrupted commit, walk, OPENED; see opening.h. Knows nothing of batches.
 */
#include "secondary/site/opening.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/confine/sandbox.h"
#include "secondary/hook/hook_feed.h"
#include "secondary/recover.h"
#include "secondary/site/checkpoint.h"
#include "secondary/site/drift.h"
#include "secondary/site/former.h"
#include "secondary/site/room.h"
#include "secondary/site/settle.h"
#include "secondary/stage/parts.h"
#include "secondary/stage/reap.h"
#include "secondary/trash/keeper.h"
#include "secondary/unit/grace.h"
#include "secondary/unit/retire.h"
#include "tree/state/rootid.h"

enum { LOCK_WAIT_MS = 5000, LOCK_SLICE_MS = 50 };

static bool is_empty(const struct root *root)
{
    int fd = openat(root_fd(root), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;
    bool empty = true;
    if (!dir)
        return false;
    while (empty && (e = readdir(dir)) != NULL)
        empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
                path_is_reserved(bytes_of(e->d_name));
    closedir(dir);
    return empty;
}

/* Where it is missing or does not serve, the first batch makes another. */
static void find_stage(struct replica *r)
{
    struct err why;
    int found = stage_find(r->root, r->marker.stage, &r->stage, &why);
    if (found == 0 || (found == 1 && stage_probe(r->stage, r->root, &why) == 0))
        return;
    log_warn("%s: the stage does not serve and is made anew: %s", r->path, why.text);
    stage_close(r->stage);
    r->stage = NULL;
    r->marked = false;
    if (found < 0)
        r->marker.stage[0] = '\0';
}

/* A volume that is not mounted would be filled beneath its mount point; a directory that somebody
 * put in the root's place may be anything. */
static int refuse_other_root(struct replica *r, struct err *err)
{
    if (r->flags & (OPEN_FORCE | OPEN_ADOPT | OPEN_DRY_RUN))
        return 0;
    const char *what = r->root_state == ROOT_CREATED ? "was removed"
                       : is_empty(r->root)           ? "is another, empty directory now"
                                                     : "is another directory now";
    r->refused = true;
    const struct outside *o = r->tools->outside;
    struct err ignored;
    if (r->root_state == ROOT_CREATED)
        o->make(o->ctx, &r->asked, true, &ignored);
    return err_set(err, ERR_REFUSED,
        "the root %s, which was filled from here before, %s: is its volume not mounted? Nothing is "
        "changed; if it is meant to be so, use --force",
        r->path, what);
}

/* This host was the site's primary: no marker, but no stranger's directory either. */
static bool was_primary(const struct replica *r)
{
    struct rootid now, before;
    struct err ignored;
    return r->epoch.counter && rootid_of(root_fd(r->root), &now, &ignored) == 0 &&
           rootid_read(state_fd(r->locked), &before, &ignored) == 1 && rootid_equal(&now, &before);
}

/* A scratch state has none: it is beside that state, in the root's own. */
static int find_marker(struct replica *r, struct err *err)
{
    if (!r->scratch)
        return marker_read(root_fd(r->root), state_fd(r->locked), &r->marker, err);
    char *own CLEANUP_FREE = state_root_dir(r->tools->options->state_dir, root_path(r->root));
    int fd CLEANUP_FD = open(own, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? err_sys(err, errno, "open %s", own)
                  : marker_read(root_fd(r->root), fd, &r->marker, err);
}

static int read_marker(struct replica *r, struct err *err)
{
    int found = find_marker(r, err);
    if (found < 0 || (found == MARKER_OTHER && refuse_other_root(r, err) < 0))
        return -1;
    r->marked = found == 1;
    if (found == 0 && was_primary(r))
        r->root_state = ROOT_OURS;
    if (!r->root_state)
        r->root_state = r->marked ? ROOT_OURS : is_empty(r->root) ? ROOT_EMPTY : ROOT_FOREIGN;
    if (r->marked && !(r->flags & OPEN_DRY_RUN))
        find_stage(r);
    return 0;
}

static void read_caps(struct replica *r)
{
    bool acl =
        fgetxattr(root_fd(r->root), "system.posix_acl_access", NULL, 0) >= 0 || errno != EOPNOTSUPP;
    bool chown = r->tools->can_chown;
    r->label = label_of(root_fd(r->root));
    r->caps = (chown && r->policy.owner == RECEIVE_OWNER_MIRRORED ? CAP_SET_OWNER : 0) |
              (acl ? CAP_SET_ACL : 0);
    if (!chown && r->policy.owner == RECEIVE_OWNER_FIXED)
        log_warn(
            "%s: the configuration gives it an owner, which takes root: it is left out", r->path);
    r->rules = (struct meta_rules){
        .outside = r->tools->outside,
        .names = r->tools->names,
        .host = r->tools->options->host ? r->tools->options->host : "this host",
        .owner = (r->flags & OPEN_OWNER) && (r->caps & CAP_SET_OWNER),
        .acl = acl,
        .fixed = chown && r->policy.owner == RECEIVE_OWNER_FIXED,
        .uid = r->policy.uid,
        .gid = r->policy.gid,
    };
}

int opening_manifest(struct replica *r, const struct digest *filter, struct err *err)
{
    read_caps(r);
    r->mounts = mounts_load(state_fd(r->locked));
    deletions_load(&r->deletions, state_fd(r->locked));
    if (r->flags & OPEN_FORCE) {
        mounts_forget_all(r->mounts);
        r->deletions = (struct deletions){0};
    }
    if (read_marker(r, err) < 0 || checkpoint_open(r, err) < 0 ||
        former_open_manifest(r, filter, err) < 0 || checkpoint_begin(r, err) < 0)
        return -1;
    return (r->flags & OPEN_DRY_RUN) ? checkpoint_replay(r, err) : recover_run(r, err);
}

static void walk_skipped(void *ctx, struct bytes path, const char *why)
{
    struct replica *r = ctx;
    log_info("%s: %s is not mirrored: %s", r->path, QUOTED(path.data, path.len), why);
}

static void walk_unreadable(void *ctx, struct bytes path, const struct err *why)
{
    struct replica *r = ctx;
    log_warn("%s: %s cannot be read: %s", r->path, QUOTED(path.data, path.len), why->text);
}

/* Does the manifest say what was committed? After a power loss it is older than the tree. */
static bool is_known(const struct replica *r)
{
    return !r->scratch && !r->doubtful && !checkpoint_since(r);
}

static void start_walk(struct replica *r)
{
    struct walk_options options = {
        .checksum = (r->flags & OPEN_CHECKSUM) || r->distrust,
        .keep_special = r->flags & OPEN_SPECIAL_BITS,
        .keep_accepted = true,
        .ahead = WALK_AHEAD,
        .since = checkpoint_since(r),
        .mounts = r->mounts,
        .drift = is_known(r) ? drift_kinds(r) : 0,
    };
    struct walk_hooks hooks = {.skipped = walk_skipped, .unreadable = walk_unreadable, .ctx = r};
    r->walk = walk_new(
        r->root, r->manifest, r->filter, r->tools->names, (struct bytes){0}, &options, &hooks);
}

/* What is there, from the manifest. */
static int describe(
    struct replica *r, struct msg_opened *m, struct manifest_txn **t, struct err *err)
{
    struct record root;
    uint64_t parent;
    if (manifest_begin(r->manifest, false, t, err) < 0)
        return -1;
    int found = manifest_lookup(*t, (struct bytes){0}, &root, &parent, err);
    if (found == 0)
        return err_set(err, ERR_FAILED, "the manifest of %s has no root", r->path);
    if (found < 0 || manifest_sums(*t, MANIFEST_ROOT, &m->sums, err) < 0)
        return -1;
    m->root = root.entry;
    r->entries_left = m->sums.entries;
    m->deleted = deletions_sum(&r->deletions, time(NULL), m->sums.entries, &m->deleted_from);
    return 0;
}

/* How the receiver is confined, as the primary is told it. */
static uint32_t fences(const struct tools *tools)
{
    unsigned lacks = tools->self->lacks;
    if (!lacks)
        return CAP_SANDBOX;
    if (tools->version < MSG_VERSION_NEWS)
        return 0;
    return (lacks & SANDBOX_LANDLOCK ? CAP_LACKS_LANDLOCK : 0) |
           (lacks & SANDBOX_CALLS ? CAP_LACKS_CALLS : 0) |
           (lacks & SANDBOX_MOUNTS ? CAP_LACKS_MOUNTS : 0);
}

static int report(struct replica *r, uint64_t *unproven, struct err *err)
{
    struct manifest_txn *t = NULL;
    struct msg_opened m = {
        .site = r->site,
        .state = r->root_state,
        .caps = r->caps | fences(r->tools),
        .root = {.type = ENTRY_DIR, .mode = 0755},
        .free_bytes = replica_free_bytes(r),
        .session = r->session_before,
    };
    int bad = r->root ? describe(r, &m, &t, err) : 0;
    if (!bad) {
        msg_put_opened(&r->tools->out.writer, &m);
        outbox_put(&r->tools->out);
    }
    manifest_abort(t);
    *unproven = m.sums.unproven;
    return bad;
}

static struct replica *of_job(struct job *job)
{
    return (struct replica *)((char *)job - offsetof(struct replica, job));
}

/* Open: what is done to it from now on besides the primary's wishes. */
static void begin_work(struct replica *r, uint64_t unproven)
{
    r->state = REPLICA_OPEN;
    room_tell(r);
    if (r->stage && !(r->flags & OPEN_DRY_RUN)) {
        reap_begin(r->stage, r->tools->outside);
        r->cut = true;
        replica_reap(r);
        grace_load(r->stage);
        retire_schedule(r);
        keeper_look(r);
    }
    hook_feed_opened(r);
    health_feed_opened(r);
    if (r->drift && !(r->flags & OPEN_DRY_RUN))
        drift_watch(r->drift, unproven);
}

static void finish(struct replica *r)
{
    struct err why;
    uint64_t unproven = 0;
    job_stop(&r->job);
    if (r->stage && !(r->flags & OPEN_DRY_RUN))
        parts_find(r->stage);
    if (r->stage && r->stage->part_count)
        r->caps |= CAP_PARTS;
    if (checkpoint_walked(r, &why) < 0 || report(r, &unproven, &why) < 0) {
        replica_fail(r, REASON_INTERNAL, &why);
        return;
    }
    begin_work(r, unproven);
}

static void tell_on(struct job *job, unsigned budget_ms)
{
    struct replica *r = of_job(job);
    struct err why;
    (void)budget_ms;
    int more = drift_tell(r->drift, &why);
    if (more < 0)
        replica_fail(r, REASON_INTERNAL, &why);
    else if (more == 0)
        finish(r);
}

static void tell_drift(struct replica *r)
{
    if (!r->scratch) {
        r->drift = drift_new(r);
        job_start(&r->tools->jobs, &r->job, tell_on);
    } else {
        finish(r);
    }
}

static void inherit_on(struct job *job, unsigned budget_ms)
{
    struct replica *r = of_job(job);
    struct err why;
    int more = inherit_step(r->inherit, budget_ms, &why);
    replica_progress(r, 0);
    if (more == 1)
        return;
    inherit_free(TAKE_PTR(r->inherit));
    if (more < 0 || drift_inherit(r, &why) < 0) {
        replica_fail(r, REASON_IO, &why);
        return;
    }
    former_forget(r);
    tell_drift(r);
}

static void walk_on(struct job *job, unsigned budget_ms)
{
    struct replica *r = of_job(job);
    struct err why;
    int more = walk_step(r->walk, budget_ms, &why);
    if (more < 0) {
        replica_fail(r, REASON_IO, &why);
        return;
    }
    replica_progress(r, walk_counts(r->walk)->entries);
    if (more == WALK_MORE)
        return;
    walk_free(r->walk);
    r->walk = NULL;
    if (!(r->flags & OPEN_DRY_RUN) && mounts_store(r->mounts, state_fd(r->locked), &why) < 0)
        log_warn("%s: %s", r->path, why.text);
    if (!r->former) {
        tell_drift(r);
        return;
    }
    r->inherit = inherit_new(r->former, r->manifest);
    job_start(&r->tools->jobs, job, inherit_on);
}

/* Everything is read and nothing believed or changed: beside whoever serves the root, too. */
static bool is_verification(const struct replica *r)
{
    return (r->flags & OPEN_DRY_RUN) && (r->flags & OPEN_CHECKSUM);
}

/* A state for this session alone: nothing is known but what is read now. */
static int open_scratch(struct replica *r, struct err *err)
{
    char *own CLEANUP_FREE = state_root_dir(r->tools->options->state_dir, root_path(r->root));
    r->scratch = state_scratch(own, err);
    return r->scratch
               ? state_open(r->scratch, root_path(r->root), &r->tools->peer, 0, &r->locked, err)
               : -1;
}

/* Nobody is disturbed by a dry run: where the root is locked it looks for itself. */
static int open_state(struct replica *r, struct err *err)
{
    int locked = is_verification(r) ? STATE_LOCKED
                                    : state_open(r->tools->options->state_dir, root_path(r->root),
                                          &r->tools->peer, 0, &r->locked, err);
    return locked == STATE_LOCKED && (r->flags & OPEN_DRY_RUN) ? open_scratch(r, err) : locked;
}

static void lock_and_read(struct job *job, unsigned budget_ms)
{
    (void)budget_ms;
    struct replica *r = of_job(job);
    struct digest filter;
    struct err why;
    const struct outside *o = r->tools->outside;
    int locked = open_state(r, &why);
    if (locked == STATE_LOCKED && !r->asked_to_yield) {
        r->asked_to_yield = true;
        o->yield(o->ctx, &r->asked, &r->tools->peer);
    }
    if (locked == STATE_LOCKED && io_now_ms() < r->lock_until) {
        job->not_before = io_now_ms() + LOCK_SLICE_MS;
        return;
    }
    if (locked != 0) {
        replica_fail(r, locked == STATE_LOCKED ? REASON_LOCKED : REASON_IO, &why);
        return;
    }
    health_feed_opening(r, false);
    filter_digest(r->filter, &filter);
    if (opening_manifest(r, &filter, &why) < 0) {
        replica_fail(r, r->refused ? REASON_HELD : REASON_IO, &why);
        return;
    }
    start_walk(r);
    job_start(&r->tools->jobs, job, walk_on);
}

static void without_root(struct job *job, unsigned budget_ms)
{
    (void)budget_ms;
    finish(of_job(job));
}

void opening_start(struct replica *r)
{
    r->state = REPLICA_OPENING;
    r->lock_until = io_now_ms() + LOCK_WAIT_MS;
    job_start(&r->tools->jobs, &r->job, r->root ? lock_and_read : without_root);
}

/* The manifest says what is there: nothing but this end's own commits came after it was walked. */
int opening_resume(struct replica *r, const struct replica_before *before, struct err *err)
{
    struct msg_opened now = {0};
    struct manifest_txn *t = NULL;
    struct digest filter;
    const char *dir = r->tools->options->state_dir;
    int locked =
        state_open(dir, root_path(r->root), &r->tools->peer, LOCK_WAIT_MS, &r->locked, err);
    if (locked == 0)
        health_feed_opening(r, true);
    filter_digest(r->filter, &filter);
    if (locked != 0 || opening_manifest(r, &filter, err) < 0)
        return -1;
    int bad = describe(r, &now, &t, err);
    manifest_abort(t);
    if (bad)
        return -1;
    if (r->stage)
        parts_find(r->stage);
    r->drift = drift_new(r);
    begin_work(r, now.sums.unproven);
    drift_resume(r->drift, before->drift_found, before->drift_due);
    checkpoint_due(r);
    if (before->settling)
        settle_start(r);
    log_debug("%s: taken over from the process before", r->path);
    return 0;
}
