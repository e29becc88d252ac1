/* Commits in their order, each a job that other messages come between; see turn.h. What a commit
 * does to the disk is in commit.c. */
#include "secondary/commit/turn.h"

#include <errno.h>
#include <poll.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/commit/commit.h"
#include "secondary/commit/gate.h"
#include "secondary/hook/hold_feed.h"
#include "secondary/site/checkpoint.h"
#include "secondary/site/fencing.h"
#include "secondary/site/room.h"
#include "secondary/stage/place.h"
#include "secondary/stage/reap.h"
#include "secondary/trash/keeper.h"
#include "secondary/unit/swap.h"

enum {
    PASS_MAX = 256,    /* atoms of a batch that is passed: they are compared one by one, */
    PASS_WORK = 65536, /* with those of the one that passes */
};

static void put_failure(struct msg_ack *m, const struct atom *a)
{
    m->failures[m->count++] = (struct msg_failure){
        .atom = a->number,
        .reason = a->step.reason,
        .errno_value = a->step.sys,
        .text = bytes_of(a->step.text),
    };
}

/* Why units of it were renamed file by file: flags; 0: none was. */
static uint8_t piecemeal(const struct batch *b)
{
    uint8_t causes = 0;
    for (size_t i = 0; i < b->count; i++)
        causes |= b->atoms[i]->step.piecemeal;
    return causes;
}

/* The primary's people read how much room there is. */
static bool is_short_of_room(const struct batch *b)
{
    for (size_t i = 0; i < b->count; i++)
        if (b->atoms[i]->step.state == STEP_FAILED && b->atoms[i]->step.sys == ENOSPC)
            return true;
    return false;
}

static void acknowledge(struct batch *b)
{
    if (is_short_of_room(b))
        room_tell(b->replica);
    struct outbox *out = &b->replica->tools->out;
    struct msg_ack m = {
        .batch = b->number,
        .flags = piecemeal(b),
        .free_bytes = replica_free_bytes(b->replica),
    };
    for (size_t i = 0; i < b->count; i++) {
        const struct atom *a = b->atoms[i];
        if (a->aborted || a->step.state != STEP_FAILED)
            continue;
        if (m.count == MSG_FAILURES_MAX) {
            msg_put_ack(&out->writer, &m);
            outbox_put(out);
            m.count = 0;
        }
        log_info("%s", a->step.text);
        put_failure(&m, a);
    }
    m.last = 1;
    msg_put_ack(&out->writer, &m);
    outbox_put(out);
}

/* What is kept of our own goes before what is live fails for want of room. */
static void look_after_trash(struct batch *b)
{
    uint64_t wanted = 0;
    bool any = false;
    for (size_t i = 0; i < b->count; i++) {
        const struct step *s = &b->atoms[i]->step;
        bool full = s->state == STEP_FAILED && (s->sys == ENOSPC || s->sys == EDQUOT);
        any = any || full;
        if (full && s->kind == STEP_ENTRY && s->entry.size > wanted)
            wanted = s->entry.size;
    }
    if (any && b->replica->stage)
        reap_hurry(b->replica->stage);
    keeper_make_room(b->replica, wanted);
}

/* The steps that are to be done; what the others staged is taken out of their way. */
static size_t collect(struct batch *b, struct step **steps)
{
    struct step **all CLEANUP_FREE = mem_array(b->count + 1, sizeof *all);
    size_t n = 0;
    for (size_t i = 0; i < b->count; i++) {
        all[i] = &b->atoms[i]->step;
        if (!b->atoms[i]->aborted && all[i]->state == STEP_WAITING)
            steps[n++] = all[i];
    }
    for (size_t i = 0; i < b->count; i++)
        if (b->atoms[i]->aborted || all[i]->state != STEP_WAITING)
            place_detach(b->replica->stage, all[i], all, b->count);
    return n;
}

static int begin(struct batch *b, uint16_t *reason, struct err *err)
{
    struct replica *r = b->replica;
    struct step **steps CLEANUP_FREE = mem_array(b->count + 1, sizeof *steps);
    if (gate_pass(b, reason, err) < 0)
        return -1;
    b->commit = commit_new(r, steps, collect(b, steps));
    return 0;
}

/* Acknowledged, or the site fails: then the journal stays for the next opening. */
static void end(struct batch *b, int result, uint16_t reason, const struct err *why)
{
    struct tools *tools = b->replica->tools;
    fencing_leave(b->replica);
    if (result < 0)
        replica_fail(b->replica, reason, why);
    else {
        checkpoint_due(b->replica);
        acknowledge(b);
        look_after_trash(b);
    }
    commit_free(TAKE_PTR(b->commit));
    batch_forget(b, tools);
}

/* True when the batch is not finished with yet. What comes behind a COMMIT finds it done, but for
 * units. */
static bool go_on(struct batch *b, unsigned budget_ms)
{
    struct err why;
    uint64_t deadline = b->whole ? io_now_us() + (uint64_t)budget_ms * 1000 : UINT64_MAX;
    int more = commit_step(b->commit, deadline, &why);
    if (more < 1)
        end(b, more, REASON_INTERNAL, &why);
    return more == 1;
}

static void step(struct job *job, unsigned budget_ms)
{
    struct batch *b = (struct batch *)((char *)job - offsetof(struct batch, turn));
    struct replica *r = b->replica;
    replica_progress(r, ++b->turns);
    if (!go_on(b, budget_ms))
        turn_next(r);
}

/* True when it is finished with. */
static bool take_turn(struct batch *b)
{
    struct err why;
    uint16_t reason;
    if (b->whole && batch_has_failed(b)) {
        end(b, 0, REASON_NONE, NULL);
        return true;
    }
    if (begin(b, &reason, &why) < 0) {
        end(b, -1, reason, &why);
        return true;
    }
    if (!go_on(b, JOB_BUDGET_MS))
        return true;
    job_start(&b->replica->tools->jobs, &b->turn, step);
    return false;
}

/* The commit that was asked for next after this place in the order. */
static struct batch *commit_after(
    const struct tools *tools, const struct replica *r, uint64_t order)
{
    struct batch *next = NULL;
    for (struct batch *b = tools->batches; b; b = b->next)
        if (b->replica == r && b->commit_order > order &&
            (!next || b->commit_order < next->commit_order))
            next = b;
    return next;
}

static bool on_one_line(struct bytes a, struct bytes b)
{
    return bytes_equal(a, b) || path_beneath(a, b) || path_beneath(b, a);
}

static bool concerns(const struct batch *b, struct bytes path)
{
    for (size_t i = 0; i < b->count; i++) {
        const struct step *s = &b->atoms[i]->step;
        if (on_one_line(s->path, path) || (s->kind == STEP_MOVE && on_one_line(s->from, path)))
            return true;
    }
    return false;
}

/* Units are passed while their readers are waited for, and nothing works on them. */
static bool is_passed(const struct batch *b, const struct batch *before)
{
    if (!before->pending || before->commit)
        return false;
    if (before->whole)
        return hold_feed_waits(before) && before->count * b->count <= PASS_WORK;
    return before->count <= PASS_MAX;
}

/* A large file that is still being made, a tree that is looked through before it is deleted, or
 * readers that are waited for may take seconds: what has nothing to do with them does not wait. */
static bool may_pass(const struct batch *b, const struct batch *before)
{
    if (!is_passed(b, before))
        return false;
    for (size_t i = 0; i < before->count; i++) {
        const struct step *s = &before->atoms[i]->step;
        if (concerns(b, s->path) || (s->kind == STEP_MOVE && concerns(b, s->from)))
            return false;
    }
    return true;
}

static bool may_pass_all(const struct tools *tools, const struct batch *b)
{
    const struct batch *before = NULL;
    uint64_t at = 0;
    if (b->whole || b->pending || b->commit)
        return false;
    while ((before = commit_after(tools, b->replica, at)) != b && may_pass(b, before))
        at = before->commit_order;
    return before == b;
}

/* Commits of one site are done in the order in which they were asked for, but for may_pass. */
static struct batch *next_commit(const struct tools *tools, const struct replica *r)
{
    struct batch *first = commit_after(tools, r, 0);
    for (struct batch *b = first; b; b = commit_after(tools, r, b->commit_order))
        if (may_pass_all(tools, b))
            return b;
    return first;
}

void turn_next(struct replica *r)
{
    struct batch *b;
    while (
        r->state == REPLICA_OPEN && (b = next_commit(r->tools, r)) && !b->commit && !b->pending) {
        if (b->whole && !swap_ready(b))
            break;
        if (b->whole && !hold_feed_ready(b))
            continue; /* others may pass it now */
        if (!take_turn(b))
            break;
    }
    replica_reap(r);
}

void turn_finish(struct replica *r)
{
    struct batch *b;
    while (r->state == REPLICA_OPEN && (b = next_commit(r->tools, r))) {
        int wait = jobs_step(&r->tools->jobs);
        if (wait < 0 || (wait > 0 && !hold_feed_waits(b)))
            break;
        if (wait > 0)
            poll(NULL, 0, wait);
    }
}

void turn_abandon(struct batch *b)
{
    job_stop(&b->turn);
    if (b->commit)
        fencing_leave(b->replica);
    commit_free(TAKE_PTR(b->commit));
    hold_feed_drop(b);
    swap_free(b);
}

void turn_end(struct batch *b)
{
    struct err why;
    int more = b->commit ? 1 : 0;
    while (more == 1)
        more = commit_step(b->commit, UINT64_MAX, &why);
    if (more < 0)
        log_warn("%s: a commit is left to the next opening: %s", b->replica->path, why.text);
    turn_abandon(b);
}
