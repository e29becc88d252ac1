/* Batches: their atoms and their numbers; see batch.h. What is done with an atom is in atom.c, what
 * comes after COMMIT in turn.c. */
#include "secondary/commit/batch.h"

#include "base/log.h"
#include "base/mem.h"
#include "secondary/commit/survey.h"
#include "secondary/commit/turn.h"
#include "secondary/stage/parts.h"
#include "secondary/stage/transfer.h"

_Static_assert(
    sizeof(struct atom) <= MSG_HELD_ATOM, "what an atom holds is counted by the protocol");

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

void batch_job_done(struct batch *b)
{
    if (b->replica && b->commit_order && b->pending == 0)
        turn_next(b->replica);
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

/* Much content that came for an atom whose commit did not: the next session goes on with it. */
static bool is_kept(struct stage *stage, const struct atom *a)
{
    return a->keeping && !a->aborted && a->step.state == STEP_WAITING &&
           parts_keep(stage, a->step.path, a->step.staged);
}

/* Removes from the stage what was not published. */
static void unstage(struct batch *b)
{
    struct replica *r = b->replica;
    for (size_t i = 0; r && r->stage && i < b->count; i++) {
        struct step *s = &b->atoms[i]->step;
        if (s->staged.len && !s->published && !s->above && !is_kept(r->stage, b->atoms[i]))
            stage_drop(r->stage, s->staged);
    }
}

void batch_forget(struct batch *b, struct tools *tools)
{
    struct batch **at = &tools->batches;
    while (*at != b)
        at = &(*at)->next;
    *at = b->next;
    tools->batch_count--;
    for (size_t i = 0; i < b->count; i++)
        batch_clear_atom(b->atoms[i]);
    turn_end(b);
    unstage(b);
    for (size_t i = 0; i < b->count; i++) {
        tools->held -= b->atoms[i]->held;
        free_atom(b->atoms[i]);
    }
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
            batch_forget(b, tools);
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
        turn_abandon(b);
        b->replica = NULL;
    }
}

void batch_drop_all(struct replica *r)
{
    for (struct batch *next, *b = r->tools->batches; b; b = next) {
        next = b->next;
        if (b->replica == r)
            batch_forget(b, r->tools);
    }
}

void batch_forget_all(struct tools *tools)
{
    while (tools->batches)
        batch_forget(tools->batches, tools);
}

/* UNITs come before everything else, and none within another. */
static int check_unit(
    struct tools *tools, const struct batch *b, struct bytes path, struct err *err)
{
    for (size_t i = 0; i < b->count; i++) {
        const struct step *s = &b->atoms[i]->step;
        if (s->kind != STEP_UNIT)
            return err_set(err, ERR_FAILED, "UNIT behind other atoms of batch %u", b->number);
        if (path_beneath(path, s->path) || path_beneath(s->path, path))
            return err_set(err, ERR_FAILED, "a UNIT within another of batch %u", b->number);
    }
    if (b->count < MSG_UNITS_MAX)
        return 0;
    tools->reason = REASON_LIMIT;
    return err_set(err, ERR_FAILED, "over %d units in one batch", MSG_UNITS_MAX);
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
    if (kind == STEP_UNIT && check_unit(tools, b, path, err) < 0)
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
    return batch_hold(tools, a, MSG_HELD_ATOM + path.len, err) < 0 ? NULL : a;
}

int batch_hold(struct tools *tools, struct atom *a, size_t bytes, struct err *err)
{
    a->held += bytes;
    tools->held += bytes;
    if (tools->held <= MSG_HELD_MAX)
        return 0;
    tools->reason = REASON_LIMIT;
    return err_set(
        err, ERR_FAILED, "over %d MiB of atoms not yet acknowledged", MSG_HELD_MAX >> 20);
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

bool batch_has_failed(const struct batch *b)
{
    for (size_t i = 0; i < b->count; i++)
        if (!b->atoms[i]->aborted && b->atoms[i]->step.state == STEP_FAILED)
            return true;
    return false;
}

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

int batch_commit(struct tools *tools, const struct msg_commit *m, struct err *err)
{
    struct batch *b = find_batch(tools, m->batch);
    if (!b || b->commit_order)
        return err_set(err, ERR_FAILED, "COMMIT of batch %u, which is not open", m->batch);
    if (!b->replica) {
        batch_forget(b, tools);
        return 0;
    }
    end_unfinished(b);
    b->commit_order = ++tools->commits;
    turn_next(b->replica);
    return 0;
}

int batch_drop(struct tools *tools, const struct msg_drop *m, struct err *err)
{
    struct batch *b = find_batch(tools, m->batch);
    if (!b || b->commit_order)
        return err_set(err, ERR_FAILED, "DROP of batch %u, which is not open", m->batch);
    struct replica *r = b->replica;
    batch_forget(b, tools);
    if (r)
        replica_reap(r);
    return 0;
}
