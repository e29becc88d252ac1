/* Batches: their atoms, their numbers, their commit and acknowledgement; see batch.h. What is done
 * with an atom is in atom.c, what a commit does to the disk in commit.c. */
#include "secondary/batch.h"

#include "base/log.h"
#include "base/mem.h"
#include "secondary/commit.h"
#include "secondary/place.h"
#include "secondary/survey.h"
#include "secondary/swap.h"
#include "secondary/transfer.h"

static struct replica *find_replica(struct tools *tools, uint32_t site)
{
    struct set_item *item = set_find(tools->replicas, &site, sizeof site);
    return item ? item->value : NULL;
}

static struct batch *find_batch(struct tools *tools, uint32_t number)
{
    struct batch *b = tools->batches;
    while (b && b->number != number)
        b = b->next;
    return b;
}

void batch_clear_atom(struct atom *a)
{
    transfer_drop(a);
    survey_drop(a);
}

static void free_atom(struct atom *a)
{
    batch_clear_atom(a);
    step_clear(&a->step);
    free(a);
}

/* Removes from the stage what was not published. */
static void unstage(struct batch *b)
{
    struct replica *r = b->replica;
    for (size_t i = 0; r && r->stage && i < b->count; i++) {
        struct step *s = &b->atoms[i]->step;
        if (s->staged.len && !s->published && !s->above)
            stage_drop(r->stage, s->staged);
    }
}

static void forget(struct tools *tools, struct batch *b)
{
    struct batch **at = &tools->batches;
    while (*at != b)
        at = &(*at)->next;
    *at = b->next;
    tools->batch_count--;
    for (size_t i = 0; i < b->count; i++)
        batch_clear_atom(b->atoms[i]);
    swap_free(b);
    unstage(b);
    for (size_t i = 0; i < b->count; i++)
        free_atom(b->atoms[i]);
    free(b->atoms);
    set_free(b->directories);
    free(b);
}

/* Batches whose site failed after their COMMIT. */
static void forget_dead(struct tools *tools)
{
    for (struct batch *next, *b = tools->batches; b; b = next) {
        next = b->next;
        if (!b->replica && b->commit_order)
            forget(tools, b);
    }
}

int batch_open(struct tools *tools, const struct msg_begin *m, struct err *err)
{
    struct replica *r = find_replica(tools, m->site);
    if (!r || r->state == REPLICA_OPENING || (r->flags & OPEN_DRY_RUN))
        return err_set(err, ERR_FAILED, "BEGIN for site %u, which takes none now", m->site);
    if (m->batch <= tools->last_batch)
        return err_set(err, ERR_FAILED, "batch %u after batch %u", m->batch, tools->last_batch);
    forget_dead(tools);
    if (tools->batch_count >= MSG_BATCHES_MAX) {
        tools->reason = REASON_LIMIT;
        return err_set(err, ERR_FAILED, "over %d batches not yet acknowledged", MSG_BATCHES_MAX);
    }
    struct batch *b = mem_alloc(sizeof *b);
    b->number = tools->last_batch = m->batch;
    b->directories = set_new();
    if (r->state == REPLICA_OPEN && replica_prepare(r) == 0)
        b->replica = r;
    struct batch **end = &tools->batches;
    while (*end)
        end = &(*end)->next;
    *end = b;
    tools->batch_count++;
    return 0;
}

void batch_orphan(struct replica *r)
{
    for (struct batch *b = r->tools ? r->tools->batches : NULL; b; b = b->next) {
        if (b->replica != r)
            continue;
        for (size_t i = 0; i < b->count; i++)
            batch_clear_atom(b->atoms[i]);
        swap_free(b);
        b->replica = NULL;
    }
}

bool batch_is_committing(const struct tools *tools)
{
    for (const struct batch *b = tools->batches; b; b = b->next)
        if (b->replica && b->commit_order)
            return true;
    return false;
}

void batch_drop_all(struct replica *r)
{
    for (struct batch *next, *b = r->tools->batches; b; b = next) {
        next = b->next;
        if (b->replica == r)
            forget(r->tools, b);
    }
}

void batch_forget_all(struct tools *tools)
{
    while (tools->batches)
        forget(tools, tools->batches);
}

/* UNITs come before everything else, and none within another. */
static int check_unit(const struct batch *b, struct bytes path, struct err *err)
{
    for (size_t i = 0; i < b->count; i++) {
        const struct step *s = &b->atoms[i]->step;
        if (s->kind != STEP_UNIT)
            return err_set(err, ERR_FAILED, "UNIT behind other atoms of batch %u", b->number);
        if (path_beneath(path, s->path) || path_beneath(s->path, path))
            return err_set(err, ERR_FAILED, "a UNIT within another of batch %u", b->number);
    }
    return 0;
}

struct atom *batch_add_atom(struct tools *tools, uint32_t batch, uint32_t number, uint8_t kind,
    struct bytes path, struct err *err)
{
    struct batch *b = find_batch(tools, batch);
    if (!b || b->commit_order) {
        err_set(err, ERR_FAILED, "an atom of batch %u, which is not open", batch);
        return NULL;
    }
    if (number <= tools->last_atom) {
        err_set(err, ERR_FAILED, "atom %u after atom %u", number, tools->last_atom);
        return NULL;
    }
    if (kind == STEP_MOVE && b->whole) {
        err_set(err, ERR_FAILED, "MOVE in batch %u, which has a UNIT", batch);
        return NULL;
    }
    if (kind == STEP_UNIT && check_unit(b, path, err) < 0)
        return NULL;
    size_t most = b->whole ? MSG_UNIT_ATOMS_MAX : MSG_ATOMS_MAX;
    if (b->count >= most) {
        tools->reason = REASON_LIMIT;
        err_set(err, ERR_FAILED, "over %zu atoms in one batch", most);
        return NULL;
    }
    b->whole = b->whole || kind == STEP_UNIT;
    if (b->count == b->cap) {
        b->cap = b->cap ? 2 * b->cap : 16;
        b->atoms = mem_resize(b->atoms, b->cap, sizeof *b->atoms);
    }
    struct atom *a = mem_alloc(sizeof *a);
    step_init(&a->step, kind, path);
    a->number = tools->last_atom = number;
    a->batch = b;
    b->atoms[b->count++] = a;
    return a;
}

static struct atom *atom_in(const struct batch *b, uint32_t number)
{
    size_t low = 0, high = b->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (b->atoms[middle]->number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < b->count && b->atoms[low]->number == number ? b->atoms[low] : NULL;
}

struct atom *batch_find_atom(struct tools *tools, uint32_t number, struct err *err)
{
    for (struct batch *b = tools->batches; b; b = b->next) {
        struct atom *a = b->commit_order ? NULL : atom_in(b, number);
        if (a && !a->aborted)
            return a;
    }
    err_set(err, ERR_FAILED, "atom %u is not known", number);
    return NULL;
}

/* --- commits --- */

static void end_unfinished(struct batch *b)
{
    for (size_t i = 0; b->replica && i < b->count; i++) {
        struct atom *a = b->atoms[i];
        struct transfer *t = a->transfer;
        if (!t || transfer_is_job(a))
            continue;
        step_fail_text(&a->step, REASON_NEED_CONTENT, "stage", "COMMIT came before FINISH");
        transfer_drop(a);
    }
}

bool batch_has_failed(const struct batch *b)
{
    for (size_t i = 0; i < b->count; i++)
        if (!b->atoms[i]->aborted && b->atoms[i]->step.state == STEP_FAILED)
            return true;
    return false;
}

static void put_failure(struct msg_ack *m, const struct atom *a)
{
    m->failures[m->count++] = (struct msg_failure){
        .atom = a->number,
        .reason = a->step.reason,
        .errno_value = a->step.sys,
        .text = bytes_of(a->step.text),
    };
}

static bool is_piecemeal(const struct batch *b)
{
    for (size_t i = 0; i < b->count; i++)
        if (b->atoms[i]->step.piecemeal)
            return true;
    return false;
}

static void acknowledge(struct batch *b)
{
    struct outbox *out = &b->replica->tools->out;
    struct msg_ack m = {
        .batch = b->number,
        .flags = is_piecemeal(b) ? ACK_PIECEMEAL : 0,
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

static void commit(struct batch *b)
{
    struct replica *r = b->replica;
    struct step **steps CLEANUP_FREE = mem_array(b->count + 1, sizeof *steps);
    struct err why;
    if (!root_in_place(r->root)) {
        err_set(&why, ERR_FAILED, "%s is not the directory any more that was opened", r->path);
        replica_fail(r, REASON_NO_ROOT, &why);
        return;
    }
    if (b->whole && batch_has_failed(b)) {
        acknowledge(b);
        return;
    }
    size_t n = collect(b, steps);
    if (commit_run(r, steps, n, &why) < 0) {
        replica_fail(r, REASON_INTERNAL, &why); /* the journal stays for the next opening */
        return;
    }
    acknowledge(b);
}

/* Commits of one site are done in the order in which they were asked for. */
static struct batch *next_commit(const struct tools *tools, const struct replica *r)
{
    struct batch *first = NULL;
    for (struct batch *b = tools->batches; b; b = b->next)
        if (b->replica == r && b->commit_order && (!first || b->commit_order < first->commit_order))
            first = b;
    return first;
}

static void commit_ready(struct tools *tools, struct replica *r)
{
    struct batch *b;
    while (r->state == REPLICA_OPEN && (b = next_commit(tools, r)) && b->pending == 0 &&
           (!b->whole || swap_ready(b))) {
        commit(b);
        forget(tools, b);
    }
    replica_reap(r);
}

void batch_job_done(struct batch *b)
{
    if (b->replica && b->commit_order && b->pending == 0)
        commit_ready(b->replica->tools, b->replica);
}

int batch_commit(struct tools *tools, const struct msg_commit *m, struct err *err)
{
    struct batch *b = find_batch(tools, m->batch);
    if (!b || b->commit_order)
        return err_set(err, ERR_FAILED, "COMMIT of batch %u, which is not open", m->batch);
    if (!b->replica) {
        forget(tools, b);
        return 0;
    }
    end_unfinished(b);
    b->commit_order = ++tools->commits;
    commit_ready(tools, b->replica);
    return 0;
}

int batch_drop(struct tools *tools, const struct msg_drop *m, struct err *err)
{
    struct batch *b = find_batch(tools, m->batch);
    if (!b || b->commit_order)
        return err_set(err, ERR_FAILED, "DROP of batch %u, which is not open", m->batch);
    struct replica *r = b->replica;
    forget(tools, b);
    if (r)
        replica_reap(r);
    return 0;
}
