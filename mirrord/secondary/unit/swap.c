/* Preparing the switch of units; see swap.h. How one is built is in clone.c, the switch itself in
 * units.c. */
#include "secondary/unit/swap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/commit/survey.h"
#include "secondary/unit/clone.h"
#include "secondary/unit/grace.h"
#include "secondary/unit/retire.h"
#include "tree/content/digest.h"

enum phase { PHASE_LOOK, PHASE_LINK, PHASE_FILL, PHASE_SEAL, PHASE_CHECK, PHASE_READY };

enum { SWAP_STRIDE = 32 }; /* steps between looks at the clock */

struct swap {
    struct job job;
    struct batch *b;
    enum phase phase;
    struct set *steps;    /* by path: those that are to be done */
    struct step **sorted; /* the same, what contains before what is in it */
    size_t n, units;      /* units: the atoms in front that are UNITs */
    size_t at;            /* in this phase */
    uint64_t done;
};

/* --- looking --- */

static struct step *unit_step(struct swap *s, size_t i)
{
    return &s->b->atoms[i]->step;
}

static bool is_unit(const struct step *u)
{
    return u->kind == STEP_UNIT || u->kind == STEP_UNIT_GONE;
}

/* Of several atoms of one path the last one counts. */
static void collect(struct swap *s)
{
    struct batch *b = s->b;
    while (s->units < b->count && is_unit(unit_step(s, s->units)))
        s->units++;
    for (size_t i = s->units; i < b->count; i++) {
        struct atom *a = b->atoms[i];
        if (a->aborted)
            continue;
        struct set_item *item = set_add(s->steps, a->step.path.data, a->step.path.len);
        struct atom *before = item->value;
        if (before)
            before->aborted = true;
        item->value = a;
    }
    s->sorted = mem_array(set_count(s->steps) + 1, sizeof *s->sorted);
    for (struct set_item *i = set_first(s->steps); i; i = i->next) {
        struct atom *a = i->value;
        s->sorted[s->n++] = &a->step;
        i->value = &a->step;
    }
}

static int by_path(const void *a, const void *b)
{
    return bytes_compare((*(struct step *const *)a)->path, (*(struct step *const *)b)->path);
}

static bool live_stat(struct replica *r, struct bytes path, struct stat *st)
{
    char name[PATH_NAME_MAX + 1];
    int dir = root_borrow_parent(r->root, path, name);
    return dir >= 0 && fstatat(dir, name, st, AT_SYMLINK_NOFOLLOW) == 0;
}

static struct swap *begin(struct batch *b)
{
    struct swap *s = mem_alloc(sizeof *s);
    struct stat st;
    *s = (struct swap){.b = b, .steps = set_new()};
    b->swap = s;
    b->replica->swaps++;
    root_forget(b->replica->root);
    root_forget(b->replica->stage->root);
    collect(s);
    if (batch_has_failed(b)) {
        s->phase = PHASE_READY;
        return s;
    }
    qsort(s->sorted, s->n, sizeof *s->sorted, by_path);
    for (size_t i = 0; i < s->units; i++)
        if (live_stat(b->replica, unit_step(s, i)->path, &st) && S_ISDIR(st.st_mode))
            survey_start(b->atoms[i]);
    return s;
}

/* --- deciding --- */

/* The unit's atoms are done one by one. */
static void take_apart(struct swap *s, struct step *u, enum msg_ack_flags cause)
{
    u->state = STEP_DONE;
    u->piecemeal = (uint8_t)cause;
    for (size_t i = 0; i < s->n; i++)
        if (s->sorted[i]->unit == u)
            s->sorted[i]->unit = NULL;
    replica_say_piecemeal(s->b->replica, u->path, cause);
}

static void fail(struct step *s, const struct err *why)
{
    step_fail(s, REASON_IO, "switch", why);
}

static void place_of(struct step *u, const char *name)
{
    char *place CLEANUP_FREE = mem_format("%s" GRACE_CONTENT, name);
    step_set_bytes(&u->staged, place, strlen(place));
}

/* Deleted: it goes where the replaced ones are kept. */
static void decide_gone(struct swap *s, struct step *u, const struct stat *live)
{
    char name[STAGE_NAME_MAX];
    struct err why;
    u->kind = STEP_UNIT_GONE;
    u->inode = live->st_ino;
    if (grace_make(s->b->replica->stage, u->path, name, &why) < 0)
        fail(u, &why);
    else
        place_of(u, name);
}

static void decide_new(struct swap *s, struct step *u, bool empty)
{
    struct err why;
    u->clone = clone_new(s->b->replica, u, s->steps, empty, &why);
    if (u->clone)
        place_of(u, u->clone->name);
    else
        fail(u, &why);
}

/* Marks what lies in the unit; is there anything? */
static bool claim(struct swap *s, struct step *u)
{
    bool any = false;
    for (size_t i = 0; i < s->n; i++) {
        if (!path_beneath(s->sorted[i]->path, u->path))
            continue;
        s->sorted[i]->unit = u;
        any = true;
    }
    return any;
}

/* What replaces the directory by something else, or is done where none is, is one step anyway. */
static void leave(struct swap *s, struct step *u)
{
    u->state = STEP_DONE;
    for (size_t i = 0; i < s->n; i++)
        if (s->sorted[i]->unit == u)
            s->sorted[i]->unit = NULL;
}

static void decide(struct swap *s, struct step *u)
{
    struct replica *r = s->b->replica;
    const struct set_item *item = set_find(s->steps, u->path.data, u->path.len);
    const struct step *own = item ? item->value : NULL;
    struct stat st;
    if (u->state != STEP_WAITING)
        return;
    bool there = live_stat(r, u->path, &st), is_dir = there && S_ISDIR(st.st_mode);
    bool gone = own && own->kind == STEP_DELETE;
    bool other = own && own->kind == STEP_ENTRY && own->entry.type != ENTRY_DIR;
    if (!claim(s, u) || other || (gone && !is_dir))
        leave(s, u);
    else if (is_dir && u->way == WAY_EXCLUDED)
        take_apart(s, u, u->mount ? ACK_MOUNT : ACK_EXCLUDED);
    else if (gone)
        decide_gone(s, u, &st);
    else if (there && !r->stage->exchange)
        take_apart(s, u, ACK_EXCHANGE);
    else
        decide_new(s, u, !is_dir);
}

/* --- building --- */

static bool cannot_link(int sys)
{
    return sys == EPERM || sys == EMLINK || sys == EXDEV || sys == EOPNOTSUPP;
}

static void refresh(struct replica *r, struct step *u)
{
    struct err why;
    int more = u->clone ? 1 : 0;
    while (more == 1)
        more = clone_refresh(u->clone, &why);
    if (more < 0)
        log_warn("%s: %s", r->path, why.text);
}

/* What was built is not wanted, but moved the ctimes of what it links. */
static void discard(struct replica *r, struct step *u)
{
    refresh(r, u);
    struct bytes holder = path_parent(u->staged);
    char *name CLEANUP_FREE = mem_copy_bytes(holder.data, holder.len);
    grace_discard(r->stage, name, u->path);
    u->published = true; /* it is retire's */
}

static int link_next(struct swap *s, uint64_t deadline)
{
    struct step *u = s->at < s->units ? unit_step(s, s->at) : NULL;
    struct err why;
    if (!u)
        return 0;
    int more = u->clone ? clone_link(u->clone, deadline, &why) : 0;
    if (more < 0 && cannot_link(why.sys)) {
        discard(s->b->replica, u);
        clone_free(TAKE_PTR(u->clone));
        take_apart(s, u, ACK_LINK);
    } else if (more < 0)
        fail(u, &why);
    s->at += more != 1;
    return 1;
}

static int fill_next(struct swap *s, uint64_t deadline)
{
    for (unsigned n = 1; s->at < s->n; n++) {
        struct step *step = s->sorted[s->at++];
        if (step->unit && step->unit->clone)
            clone_fill(step->unit->clone, step);
        if (n % SWAP_STRIDE == 0 && io_now_us() >= deadline)
            break;
    }
    return s->at < s->n;
}

static int seal_next(struct swap *s, uint64_t deadline)
{
    struct step *u = s->at < s->units ? unit_step(s, s->at) : NULL;
    struct err why;
    struct stat st;
    if (!u)
        return 0;
    int more = u->clone ? clone_seal(u->clone, deadline, &why) : 0;
    if (more == 1)
        return 1;
    char name[PATH_NAME_MAX + 1];
    int dir = u->clone ? root_borrow_parent(s->b->replica->stage->root, u->staged, name) : -1;
    if (dir >= 0 && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        u->inode = st.st_ino;
    else if (u->clone)
        step_fail_errno(u, REASON_IO, errno, "switch", "stat what was built");
    s->at++;
    return 1;
}

/* --- the rest of the batch, before anything is switched --- */

static bool has_parent(struct swap *s, const struct step *step)
{
    struct bytes parent = path_parent(step->path);
    char name[PATH_NAME_MAX + 1];
    const struct set_item *item = parent.len ? set_find(s->steps, parent.data, parent.len) : NULL;
    const struct step *above = item ? item->value : NULL;
    if (above && above->kind == STEP_ENTRY)
        return above->entry.type == ENTRY_DIR;
    return root_borrow_parent(s->b->replica->root, step->path, name) >= 0;
}

static bool content_is_known(struct swap *s, struct step *step)
{
    struct record r;
    struct stat st;
    struct err why;
    if (!live_stat(s->b->replica, step->path, &st) || !S_ISREG(st.st_mode))
        return false;
    if (step->verified)
        return true;
    return manifest_peek(s->b->replica->manifest, step->path, &r, &why) == 1 &&
           r.entry.has_digest && digest_equal(&r.entry.digest, &step->entry.digest);
}

static void check(struct swap *s, struct step *step)
{
    bool content = step->entry.type == ENTRY_FILE && !step->staged.len;
    if (step->unit || step->kind != STEP_ENTRY || step->state != STEP_WAITING || !step->path.len)
        return;
    if (!has_parent(s, step))
        step_fail_text(step, REASON_NO_PARENT, "apply", "the directory above is not there");
    else if (content && !content_is_known(s, step))
        step_fail_text(
            step, REASON_NEED_CONTENT, "apply", "the content here is not known to be right");
}

static int check_next(struct swap *s, uint64_t deadline)
{
    for (unsigned n = 1; s->at < s->n; n++) {
        check(s, s->sorted[s->at++]);
        if (n % SWAP_STRIDE == 0 && io_now_us() >= deadline)
            break;
    }
    return s->at < s->n;
}

/* --- the job --- */

/* 1 there is more in this phase. */
static int work(struct swap *s, uint64_t deadline)
{
    switch (s->phase) {
    case PHASE_LINK: return link_next(s, deadline);
    case PHASE_FILL: return fill_next(s, deadline);
    case PHASE_SEAL: return seal_next(s, deadline);
    case PHASE_CHECK: return check_next(s, deadline);
    default: return 0;
    }
}

static void finish(struct swap *s)
{
    struct batch *b = s->b;
    s->phase = PHASE_READY;
    job_stop(&s->job);
    b->pending--;
    batch_job_done(b);
}

static void step(struct job *job, unsigned budget_ms)
{
    struct swap *s = (struct swap *)((char *)job - offsetof(struct swap, job));
    uint64_t deadline = io_now_us() + (uint64_t)budget_ms * 1000;
    bool failed = false;
    do {
        if (work(s, deadline) == 0) {
            failed = batch_has_failed(s->b);
            s->phase++;
            s->at = 0;
        }
    } while (s->phase != PHASE_READY && !failed && io_now_us() < deadline);
    replica_progress(s->b->replica, ++s->done);
    if (s->phase == PHASE_READY || failed)
        finish(s);
}

static void build(struct swap *s)
{
    for (size_t i = 0; i < s->units; i++)
        decide(s, unit_step(s, i));
    s->phase = PHASE_LINK;
    s->at = 0;
    s->b->pending++;
    job_start(&s->b->replica->tools->jobs, &s->job, step);
}

bool swap_ready(struct batch *b)
{
    struct swap *s = b->swap ? b->swap : begin(b);
    if (s->phase == PHASE_LOOK && !b->pending)
        build(s);
    return s->phase == PHASE_READY;
}

void swap_free(struct batch *b)
{
    struct swap *s = b->swap;
    struct replica *r = b->replica;
    if (!s)
        return;
    b->swap = NULL;
    if (job_running(&s->job))
        b->pending--;
    job_stop(&s->job);
    for (size_t i = 0; i < s->units; i++) {
        struct step *u = unit_step(s, i);
        if (u->staged.len && !u->published)
            discard(r, u);
        else
            refresh(r, u);
        clone_free(TAKE_PTR(u->clone));
    }
    r->swaps--;
    retire_schedule(r);
    set_free(s->steps);
    free(s->sorted);
    free(s);
}
