/*
 * What is right to do with an atom when its message comes: what is staged now, what is left to the
 * commit, and what must be looked at first; see atom.h. How content is staged is in transfer.c and
 * copy.c.
 */
#include "secondary/commit/atom.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "secondary/commit/survey.h"
#include "secondary/stage/copy.h"
#include "secondary/stage/place.h"
#include "secondary/stage/transfer.h"
#include "secondary/unit/grace.h"

/* Most paths come in one directory after another: what is above is looked at once. */
static bool is_excluded(struct replica *r, struct bytes path, bool is_dir)
{
    struct bytes parent = path_parent(path);
    if (bytes_equal(parent, r->mirrored))
        return filter_excludes(r->filter, path, is_dir);
    if (filter_excludes_deep(r->filter, path, is_dir))
        return true;
    step_set_bytes(&r->mirrored, parent.data, parent.len);
    return false;
}

static bool refuse_excluded(struct atom *a, struct bytes path, bool is_dir)
{
    if (!is_excluded(a->batch->replica, path, is_dir))
        return false;
    step_fail_text(&a->step, REASON_PATH, "apply", "the path is excluded");
    return true;
}

/* What stands at a path now: 0, or -1. */
static int stat_path(struct atom *a, struct bytes path, struct stat *st)
{
    char name[PATH_NAME_MAX + 1];
    int dir = root_borrow_parent(a->batch->replica->root, path, name);
    return dir < 0 ? -1 : fstatat(dir, name, st, AT_SYMLINK_NOFOLLOW);
}

static int stat_live(struct atom *a, struct stat *st)
{
    return stat_path(a, a->step.path, st);
}

static bool is_inside_new(const struct atom *a)
{
    struct bytes parent = path_parent(a->step.path);
    return set_find(a->batch->directories, parent.data, parent.len) != NULL;
}

static void remember_inode(struct atom *a, int dirfd, const char *name)
{
    struct stat st;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        step_fail_errno(&a->step, REASON_IO, errno, "stage", "stat");
        return;
    }
    a->step.inode = st.st_ino;
    a->step.after = validators_of(&st);
}

static void stage_directory(struct atom *a)
{
    char name[PATH_NAME_MAX + 1];
    int dir = place_new(a, name);
    if (dir < 0 || mkdirat(dir, name, 0700) < 0) {
        step_fail_errno(&a->step, REASON_IO, errno, "stage", "mkdir");
        return;
    }
    struct replica *r = a->batch->replica;
    label_place_directory(&r->label, r->root, a->step.path, dir, name);
    remember_inode(a, dir, name);
    set_add(a->batch->directories, a->step.path.data, a->step.path.len)->value = a;
}

static void stage_link(struct atom *a)
{
    char name[PATH_NAME_MAX + 1];
    struct err why;
    int dir = place_new(a, name);
    char *target CLEANUP_FREE = mem_copy_bytes(a->step.entry.target.data, a->step.entry.target.len);
    if (dir < 0 || symlinkat(target, dir, name) < 0)
        step_fail_errno(&a->step, REASON_IO, errno, "stage", "symlink");
    else if (meta_apply_link(&a->batch->replica->rules, dir, name, &a->step.entry, &why) < 0)
        step_fail(&a->step, why.code == ERR_PARTIAL ? REASON_OWNER : REASON_IO, "stage", &why);
    else
        remember_inode(a, dir, name);
}

static bool same_owner(struct atom *a, const struct stat *st)
{
    struct meta_owner owner;
    struct err why;
    if (meta_resolve(&a->batch->replica->rules, &a->step.entry, &owner, &why) < 0)
        return false;
    return (owner.uid == (uid_t)-1 || owner.uid == st->st_uid) &&
           (owner.gid == (gid_t)-1 || owner.gid == st->st_gid);
}

/* What the manifest says of the live file: is its content known, and does anything but its times
 * change? */
static void compare_meta(struct atom *a, const struct stat *st, bool *content_known)
{
    struct manifest_txn *t;
    struct record record;
    uint64_t parent;
    struct err why;
    struct step *s = &a->step;
    *content_known = true;
    if (manifest_begin(a->batch->replica->manifest, false, &t, &why) < 0)
        return;
    bool found =
        manifest_lookup(t, s->path, &record, &parent, &why) == 1 && record.entry.type == ENTRY_FILE;
    *content_known = !found || record.entry.has_digest;
    s->times_only = found && (st->st_mode & 07777) == s->entry.mode && same_owner(a, st) &&
                    (!a->batch->replica->rules.acl || bytes_equal(record.entry.acl, s->entry.acl));
    manifest_abort(t);
}

/* Only metadata is to change: set on the live inode at the commit, unless others share it. A
 * replaced unit that is kept may share it while only its times change. */
static void prepare_file_meta(struct atom *a)
{
    struct stat st;
    bool content_known;
    if (stat_live(a, &st) < 0 || !S_ISREG(st.st_mode))
        return; /* an earlier batch may still bring it; the commit decides */
    compare_meta(a, &st, &content_known);
    bool shared = st.st_nlink > 1 || a->batch->whole;
    unsigned kept =
        st.st_nlink > 1 ? grace_links(a->batch->replica->stage, a->step.path, st.st_ino) : 0;
    if ((shared && !a->step.times_only) || st.st_nlink > 1 + kept)
        copy_start(a, a->step.path);
    else if (!content_known)
        copy_verify(a);
}

static void stage_entry(struct atom *a, const struct msg_entry *m)
{
    struct stat st;
    struct digest base;
    bool is_dir = m->entry.type == ENTRY_DIR;
    if (m->how == HOW_BASED)
        memcpy(base.b, m->content.data, sizeof base.b);
    bool there = !is_inside_new(a) && stat_live(a, &st) == 0;
    bool on_dir = there && S_ISDIR(st.st_mode);
    if (on_dir && !is_dir)
        survey_start(a);
    if (is_dir) {
        if (!on_dir && !a->batch->whole) /* units are built with directories of their own */
            stage_directory(a);
    } else if (m->entry.type == ENTRY_LINK)
        stage_link(a);
    else if (m->how == HOW_INLINE)
        transfer_inline(a, m);
    else if (m->how == HOW_COPY)
        copy_start(a, m->source);
    else if (m->how == HOW_META)
        prepare_file_meta(a);
    else if (m->how == HOW_BASED)
        transfer_begin_based(a, &base);
    else
        transfer_begin(a, m->how == HOW_DELTA);
}

static bool owner_known(struct atom *a)
{
    struct meta_owner owner;
    struct err why;
    if (meta_resolve(&a->batch->replica->rules, &a->step.entry, &owner, &why) == 0)
        return true;
    step_fail(&a->step, REASON_OWNER, "apply", &why);
    return false;
}

/* A delta's primary waits for a signature: it gets an empty one. */
static void answer_delta(struct tools *tools, const struct msg_entry *m)
{
    if (m->how != HOW_DELTA)
        return;
    msg_put_signature(
        &tools->out.writer, &(struct msg_signature){.atom = m->atom, .last = 1, .none = 1});
    outbox_put(&tools->out);
}

int atom_entry(struct tools *tools, const struct msg_entry *m, struct err *err)
{
    if (m->how == HOW_BASED && tools->version < MSG_VERSION_BASED)
        return err_set(err, ERR_FAILED, "HOW_BASED in a session of version %u", tools->version);
    struct atom *a = batch_add_atom(tools, m->batch, m->atom, STEP_ENTRY, m->path, err);
    if (!a)
        return -1;
    struct replica *r = a->batch->replica;
    if (!r) {
        answer_delta(tools, m);
        return 0;
    }
    struct entry e = m->entry;
    if (e.type == ENTRY_FILE && !(r->flags & OPEN_SPECIAL_BITS))
        e.mode &= 01777;
    if (batch_hold(tools, a, step_set_entry(&a->step, &e), err) < 0)
        return -1;
    if (m->path.len == 0)
        return 0; /* the root: at the commit */
    if (refuse_excluded(a, a->step.path, e.type == ENTRY_DIR) || !owner_known(a)) {
        answer_delta(tools, m);
        return 0;
    }
    stage_entry(a, m);
    return 0;
}

int atom_unit(struct tools *tools, const struct msg_unit *m, struct err *err)
{
    struct atom *a = batch_add_atom(tools, m->batch, m->atom, STEP_UNIT, m->path, err);
    if (!a)
        return -1;
    if (a->batch->replica)
        refuse_excluded(a, a->step.path, true);
    return 0;
}

int atom_delete(struct tools *tools, const struct msg_delete *m, struct err *err)
{
    struct atom *a = batch_add_atom(tools, m->batch, m->atom, STEP_DELETE, m->path, err);
    struct stat st;
    if (!a)
        return -1;
    if (!a->batch->replica)
        return 0;
    bool is_dir = stat_live(a, &st) == 0 && S_ISDIR(st.st_mode);
    if (!refuse_excluded(a, a->step.path, is_dir) && is_dir)
        survey_start(a);
    return 0;
}

int atom_move(struct tools *tools, const struct msg_move *m, struct err *err)
{
    struct atom *a = batch_add_atom(tools, m->batch, m->atom, STEP_MOVE, m->to, err);
    struct stat st;
    char own[STAGE_NAME_MAX];
    if (!a)
        return -1;
    struct replica *r = a->batch->replica;
    if (!r)
        return 0;
    step_set_bytes(&a->step.from, m->from.data, m->from.len);
    if (batch_hold(tools, a, m->from.len, err) < 0)
        return -1;
    step_set_bytes(&a->step.staged, own, stage_new_name(r->stage, 'n', own));
    bool is_dir = stat_path(a, a->step.from, &st) == 0 && S_ISDIR(st.st_mode);
    if (refuse_excluded(a, a->step.from, is_dir) || refuse_excluded(a, a->step.path, is_dir))
        return 0;
    if (stat_live(a, &st) == 0 && S_ISDIR(st.st_mode))
        survey_start(a);
    return 0;
}

int atom_data(struct tools *tools, const struct msg_data *m, struct err *err)
{
    struct atom *a = batch_find_atom(tools, m->atom, err);
    if (!a)
        return -1;
    if (a->batch->replica)
        transfer_data(a, m);
    return 0;
}

int atom_range(struct tools *tools, const struct msg_range *m, struct err *err)
{
    struct atom *a = batch_find_atom(tools, m->atom, err);
    if (!a)
        return -1;
    if (!a->batch->replica || transfer_range(a, m, err) == 0)
        return 0;
    tools->reason = REASON_LIMIT;
    return -1;
}

int atom_finish(struct tools *tools, const struct msg_finish *m, struct err *err)
{
    struct atom *a = batch_find_atom(tools, m->atom, err);
    if (!a)
        return -1;
    if (a->batch->replica)
        transfer_finish(a, m);
    return 0;
}

int atom_abort(struct tools *tools, const struct msg_abort *m, struct err *err)
{
    struct atom *a = batch_find_atom(tools, m->atom, err);
    if (!a)
        return -1;
    if (a->step.kind == STEP_UNIT)
        return err_set(err, ERR_FAILED, "ABORT of atom %u, which is a UNIT", m->atom);
    a->aborted = true;
    batch_clear_atom(a);
    return 0;
}
