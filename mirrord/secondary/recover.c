/* After a crash: the journal's steps are done again by the commit's own code; see recover.h. */
#include "secondary/recover.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "secondary/commit/commit.h"
#include "secondary/commit/journal.h"
#include "secondary/health/health_note.h"
#include "secondary/hook/hook_note.h"
#include "secondary/site/checkpoint.h"
#include "secondary/site/former.h"
#include "secondary/site/opening.h"
#include "secondary/stage/reap.h"
#include "secondary/unit/grace.h"
#include "secondary/unit/retire.h"

static void free_steps(struct step **steps, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        step_clear(steps[i]);
        free(steps[i]);
    }
    free(steps);
}

/* What was staged inside a directory that is staged still appears with it. */
static void link_containers(struct step **steps, size_t n)
{
    struct set *places = set_new();
    for (size_t i = 0; i < n; i++) {
        struct step *s = steps[i];
        struct set_item *item;
        if (!s->staged.len)
            continue;
        struct bytes in = path_parent(s->staged);
        if (in.len && (item = set_find(places, in.data, in.len)) != NULL)
            s->above = item->value;
        if (s->kind == STEP_ENTRY && s->entry.type == ENTRY_DIR)
            set_add(places, s->staged.data, s->staged.len)->value = s;
    }
    set_free(places);
}

/* What lies in a unit is switched with it. */
static void link_units(struct step **steps, size_t n)
{
    for (size_t u = 0; u < n && steps[u]->kind > STEP_MOVE; u++)
        for (size_t i = 0; i < n; i++)
            if (steps[i]->kind <= STEP_MOVE && path_beneath(steps[i]->path, steps[u]->path))
                steps[i]->unit = steps[u];
}

static int forget_journal(struct replica *r, struct err *err)
{
    struct manifest_txn *t;
    if (manifest_begin(r->manifest, true, &t, err) < 0)
        return -1;
    if (manifest_journal_clear(t, err) == 0)
        return manifest_commit(t, err);
    manifest_abort(t);
    return -1;
}

int recover_run(struct replica *r, struct err *err)
{
    struct manifest_txn *t;
    struct step **steps = NULL;
    size_t n = 0;
    bool same_boot = false;
    if (manifest_begin(r->manifest, false, &t, err) < 0)
        return -1;
    int found = journal_read(t, &steps, &n, &same_boot, err);
    manifest_abort(t);
    if (found >= 0 && checkpoint_replay(r, err) < 0)
        found = -1;
    if (found == 1 && checkpoint_since(r)) { /* of the time of the copy: the ledger goes on */
        free_steps(steps, n);
        health_mark_forget(state_fd(r->locked));
        return forget_journal(r, err);
    }
    if (found == 1) {
        if (r->policy.hook)
            hook_note_mark(state_fd(r->locked));
        log_warn("%s: an interrupted commit of %zu steps is finished", r->path, n);
        link_containers(steps, n);
        link_units(steps, n);
        int bad = r->stage ? 0 : replica_make_stage(r, err);
        found = bad ? -1 : commit_again(r, steps, n, !same_boot, err);
        checkpoint_due(r);
    }
    free_steps(steps, n);
    if (found >= 0)
        health_mark_forget(state_fd(r->locked));
    return found < 0 ? -1 : 0;
}

static int recover_root(struct replica *r, const char *state_dir, struct err *err)
{
    struct digest nobody = {0}, filter;
    int known;
    if (root_open(r->path, &r->root, err) < 0)
        return -1;
    if (state_open(state_dir, root_path(r->root), &nobody, 0, &r->locked, err) != 0)
        return -1;
    if ((known = former_last_filter(r, &filter, err)) <= 0)
        return known;
    if (opening_manifest(r, &filter, err) < 0)
        return -1;
    if (r->stage) {
        grace_load(r->stage);
        reap_begin(r->stage, r->tools->outside);
        while (retire_some(r, JOB_BUDGET_MS) || reap_some(r->stage, JOB_BUDGET_MS))
            continue;
    }
    checkpoint_end(r, true);
    return 0;
}

int recover_beside(const struct outside *outside, const char *state_dir, const char *root,
    const struct receive_policy *policy, struct err *err)
{
    struct receive_options options = {.state_dir = state_dir};
    struct tools tools = {.options = &options, .outside = outside};
    tools.names = names_new(&outside->names);
    tools.replicas = set_new();
    jobs_init(&tools.jobs);
    struct replica *r = mem_alloc(sizeof *r);
    r->tools = &tools;
    r->epoch_dir = r->epoch_lock = -1;
    boot_id(r->boot);
    r->path = mem_copy_string(root);
    r->policy = *policy;
    r->keep_days = policy->keep_days;
    r->unit_grace = policy->said ? policy->unit_grace : MSG_UNIT_GRACE_MAX;
    int result = recover_root(r, state_dir, err);
    replica_free(r);
    set_free(tools.replicas);
    names_free(tools.names);
    return result < 0 ? -1 : 0;
}

int receive_recover(
    const char *state_dir, const char *root, const struct receive_policy *policy, struct err *err)
{
    struct receive_options options = {.state_dir = state_dir};
    struct outside_direct direct = {.options = &options, .names = names_new(NULL)};
    struct outside outside = outside_direct(&direct);
    int result = recover_beside(&outside, state_dir, root, policy, err);
    names_free(direct.names);
    return result;
}
