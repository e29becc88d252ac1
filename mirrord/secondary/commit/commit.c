/* The order of a commit and its journal; see commit.h. */
#include "secondary/commit/commit.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "secondary/commit/commit_impl.h"
#include "secondary/commit/journal.h"
#include "secondary/hook/hook_feed.h"
#include "secondary/stage/place.h"
#include "secondary/unit/replaced.h"

static int by_path(const void *a, const void *b)
{
    const struct step *x = *(struct step *const *)a, *y = *(struct step *const *)b;
    int order = bytes_compare(x->path, y->path);
    return order ? order : x->order < y->order ? -1 : 1;
}

struct step *commit_find(const struct commit *c, struct bytes path)
{
    size_t low = 0, high = c->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (bytes_compare(c->sorted[middle]->path, path) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    struct step *last = low > 0 ? c->sorted[low - 1] : NULL; /* of several the one that wins */
    return last && last->kind == STEP_ENTRY && bytes_equal(last->path, path) ? last : NULL;
}

/* What is to be moved is known again by its inode. */
static void note_source(struct commit *c, struct step *s)
{
    char name[PATH_NAME_MAX + 1];
    struct stat st;
    int dir = root_borrow_parent(c->r->root, s->from, name);
    if (dir >= 0 && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        s->inode = st.st_ino;
}

/* A part of the steps in one transaction; the last one makes a journal of them. 1 there is more. */
static int journal_some(struct commit *c, struct err *err)
{
    struct manifest_txn *t;
    size_t left = c->n - c->at;
    size_t n = left < MANIFEST_TXN_MAX ? left : MANIFEST_TXN_MAX;
    bool last = n == left;
    for (size_t i = 0; c->moves && i < c->n; i++)
        if (c->steps[i]->kind == STEP_MOVE)
            note_source(c, c->steps[i]);
    if (manifest_begin(c->r->manifest, true, &t, err) < 0)
        return -1;
    if ((c->at == 0 && record_read_old(c, t, err) < 0) ||
        journal_put(t, c->steps, c->at, n, err) < 0 ||
        (last && journal_seal(t, c->r->boot, err) < 0)) {
        manifest_abort(t);
        return -1;
    }
    c->at += n;
    return manifest_commit(t, err) < 0 ? -1 : !last;
}

int commit_journal(struct commit *c, struct err *err)
{
    int more;
    c->at = 0;
    while ((more = journal_some(c, err)) == 1)
        continue;
    return more;
}

static int read_old(struct commit *c, struct err *err)
{
    struct manifest_txn *t;
    if (manifest_begin(c->r->manifest, false, &t, err) < 0)
        return -1;
    int bad = record_read_old(c, t, err);
    manifest_abort(t);
    return bad;
}

/* A damaged file must not appear with the directory that contains it. */
static void verify_contained(struct commit *c)
{
    for (size_t i = 0; i < c->n; i++) {
        struct step *s = c->steps[i];
        if (s->kind != STEP_ENTRY || s->entry.type != ENTRY_FILE || !s->above)
            continue;
        install_verify(c, s);
        if (s->state == STEP_FAILED)
            place_detach(c->r->stage, s, c->steps, c->n);
    }
}

/* A directory appears with its metadata: set before, from the deepest up. What cannot be made right
 * does not appear with what contains it. */
static void seal_directories(struct commit *c)
{
    for (size_t i = c->n; i-- > 0;) {
        struct step *s = c->sorted[i];
        if (s->kind != STEP_ENTRY || s->entry.type != ENTRY_DIR || !s->staged.len)
            continue;
        install_seal(c, s);
        if (s->state == STEP_FAILED)
            place_detach(c->r->stage, s, c->steps, c->n);
    }
}

/* To be done, and not with a unit. */
static bool is_alone(const struct step *s)
{
    return s->state == STEP_WAITING && !s->unit && s->kind <= STEP_MOVE;
}

static int do_steps(struct commit *c, struct err *err)
{
    root_forget(c->r->root);
    for (size_t i = 0; i < c->n; i++)
        if (c->steps[i]->kind == STEP_MOVE)
            moves_take(c, c->steps[i]);
    if (c->verify)
        verify_contained(c);
    seal_directories(c);
    if (units_switch(c, err) < 0)
        return -1;
    if (c->given_up)
        return 0;
    for (size_t i = 0; i < c->n; i++)
        if (is_alone(c->sorted[i]) && c->sorted[i]->kind != STEP_DELETE)
            install_entry(c, c->sorted[i]);
    for (size_t i = 0; i < c->n; i++)
        if (c->steps[i]->kind == STEP_MOVE && c->steps[i]->state == STEP_DONE)
            moves_finish(c, c->steps[i]);
    for (size_t i = 0; i < c->n; i++)
        if (is_alone(c->steps[i]) && c->steps[i]->kind == STEP_DELETE)
            install_delete(c, c->steps[i]);
    return 0;
}

static int touch(struct commit *c, struct err *err)
{
    if (c->r->root_touched)
        touch_add(c, (struct bytes){0});
    if (touch_all(c, err) < 0 || durable_places(c, err) < 0)
        return -1;
    c->r->root_touched = false;
    return 0;
}

/* 1 there is more of this phase. */
static int work(struct commit *c, uint64_t deadline, struct err *err)
{
    switch (c->phase) {
    case PHASE_STAGED: return durable_staged(c, err);
    case PHASE_JOURNAL: return c->recovering ? read_old(c, err) : journal_some(c, err);
    case PHASE_STEPS: return do_steps(c, err);
    case PHASE_REPLACED: return units_sort(c, deadline);
    case PHASE_UNITS: return units_settle(c, deadline);
    case PHASE_TOUCH: return touch(c, err);
    case PHASE_RECORD: return record_some(c, err);
    case PHASE_REFRESH: return units_refresh(c, err);
    case PHASE_DONE: break;
    }
    return 0;
}

int commit_step(struct commit *c, uint64_t deadline, struct err *err)
{
    int more = 0;
    while (more >= 0 && c->phase != PHASE_DONE) {
        more = work(c, deadline, err);
        if (more == 0) {
            if (c->phase == PHASE_STEPS)
                hook_feed_switched(c);
            if (c->phase == PHASE_TOUCH)
                hook_feed_commit(c);
            if (c->phase == PHASE_JOURNAL || c->phase == PHASE_RECORD)
                health_feed_commit(c->r, c->phase == PHASE_RECORD);
            c->phase++;
            c->at = 0;
        }
        if (io_now_us() >= deadline)
            break;
    }
    root_forget(c->r->root);
    if (c->r->stage)
        root_forget(c->r->stage->root);
    return more < 0 ? -1 : c->phase != PHASE_DONE;
}

struct commit *commit_new(struct replica *r, struct step **steps, size_t n)
{
    struct commit *c = mem_alloc(sizeof *c);
    *c = (struct commit){.r = r, .n = n, .mighty = geteuid() == 0, .touched = set_new()};
    c->steps = mem_array(n + 1, sizeof *c->steps);
    c->sorted = mem_array(n + 1, sizeof *c->sorted);
    memcpy(c->steps, steps, n * sizeof *steps);
    memcpy(c->sorted, steps, n * sizeof *steps);
    for (size_t i = 0; i < n; i++) {
        steps[i]->order = (uint32_t)i;
        c->moves += steps[i]->kind == STEP_MOVE;
    }
    qsort(c->sorted, n, sizeof *c->sorted, by_path);
    c->phase = n ? PHASE_STAGED : PHASE_DONE;
    return c;
}

void commit_free(struct commit *c)
{
    if (!c)
        return;
    for (struct set_item *i = set_first(c->touched); i; i = i->next)
        free(i->value);
    set_free(c->touched);
    replaced_free(c->replaced);
    free(c->sorted);
    free(c->steps);
    free(c);
}

int commit_record(
    struct replica *r, uint64_t number, struct step **steps, size_t n, struct err *err)
{
    struct commit *c = commit_new(r, steps, n);
    c->number = number;
    int more;
    while ((more = record_some(c, err)) == 1)
        continue;
    commit_free(c);
    return more;
}

int commit_last_recorded(struct replica *r, uint64_t *out, struct err *err)
{
    struct manifest_txn *t;
    if (manifest_begin(r->manifest, false, &t, err) < 0)
        return -1;
    int bad = record_last(t, out, err);
    manifest_abort(t);
    return bad;
}

int commit_again(struct replica *r, struct step **steps, size_t n, bool verify, struct err *err)
{
    struct commit *c = commit_new(r, steps, n);
    c->recovering = true;
    c->verify = verify;
    c->phase = PHASE_JOURNAL; /* without steps, too: it is cleared */
    int more;
    while ((more = commit_step(c, UINT64_MAX, err)) == 1)
        continue;
    commit_free(c);
    return more;
}
