/* Looking through a directory that is in the way; see survey.h. Stops at the first thing that is
 * not mirrored, since no other answer matters then. */
#include "secondary/commit/survey.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/set.h"
#include "secondary/commit/commit_impl.h"

enum { SURVEY_STRIDE = 64 }; /* entries between looks at the clock */

struct survey {
    struct job job;
    struct atom *atom;
    struct set *left; /* paths of directories still to be listed */
    DIR *dir;         /* the one being listed, the first of them */
    dev_t device;
    uint64_t number; /* its number in the manifest; 0: not there */
    uint64_t seen;
    uint8_t way;
    bool mount; /* what is not mirrored is another filesystem */
};

static void finish(struct survey *s)
{
    struct atom *a = s->atom;
    a->step.way = s->way;
    a->step.mount = s->mount;
    survey_drop(a);
    batch_job_done(a->batch);
}

static int number_of(
    struct replica *r, struct manifest_txn *t, struct bytes path, uint64_t *out, struct err *err)
{
    struct record record;
    uint64_t parent;
    int found = manifest_lookup(t, path, &record, &parent, err);
    (void)r;
    *out = found == 1 && record.entry.type == ENTRY_DIR ? record.dir : 0;
    return found < 0 ? -1 : 0;
}

/* Opens the next directory. False: there is none, or it cannot be read, which counts as foreign. */
static bool open_next(struct survey *s, struct manifest_txn *t)
{
    struct replica *r = s->atom->batch->replica;
    struct set_item *first = set_first(s->left);
    struct stat st;
    struct err why;
    if (!first)
        return false;
    struct bytes path = {first->key, first->len};
    int fd = root_open_dir(r->root, path);
    if (fd < 0 || fstat(fd, &st) < 0 || number_of(r, t, path, &s->number, &why) < 0 ||
        !(s->dir = fdopendir(fd))) {
        if (fd >= 0)
            close(fd);
        s->mount = errno == EXDEV;
        s->way = s->mount ? WAY_EXCLUDED : WAY_FOREIGN;
        set_remove(s->left, first);
        return true;
    }
    s->device = st.st_dev;
    return true;
}

static bool is_committed(
    struct survey *s, struct manifest_txn *t, struct bytes name, const struct stat *st)
{
    struct record record;
    struct err why;
    if (!s->number || manifest_get(t, s->number, name, &record, &why) != 1)
        return false;
    if (S_ISDIR(st->st_mode))
        return record.entry.type == ENTRY_DIR;
    struct step_old old = step_old_of(&record);
    return install_is_ours(&old, st);
}

static void look_at(struct survey *s, struct manifest_txn *t, const char *name)
{
    struct replica *r = s->atom->batch->replica;
    struct set_item *top = set_first(s->left);
    struct stat st;
    if (fstatat(dirfd(s->dir), name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    size_t len = strlen(name);
    char *path CLEANUP_FREE = mem_alloc(top->len + 1 + len + 1);
    memcpy(path, top->key, top->len);
    path[top->len] = '/';
    memcpy(path + top->len + 1, name, len);
    struct bytes whole = {path, top->len + 1 + len};
    bool is_dir = S_ISDIR(st.st_mode);
    s->mount = st.st_dev != s->device;
    if (s->mount || filter_excludes(r->filter, whole, is_dir))
        s->way = WAY_EXCLUDED;
    else if (!is_committed(s, t, (struct bytes){name, len}, &st))
        s->way = WAY_FOREIGN;
    if (is_dir && s->way != WAY_EXCLUDED)
        set_add(s->left, whole.data, whole.len);
}

/* Lists until the deadline. False at the directory's end. */
static bool list_some(struct survey *s, struct manifest_txn *t, uint64_t deadline)
{
    for (;;) {
        const struct dirent *e = readdir(s->dir);
        if (!e || s->way == WAY_EXCLUDED)
            return false;
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            look_at(s, t, e->d_name);
        if (++s->seen % SURVEY_STRIDE == 0 && io_now_us() >= deadline)
            return true;
    }
}

static bool work(struct survey *s, struct manifest_txn *t, uint64_t deadline)
{
    while (s->way != WAY_EXCLUDED) {
        if (!s->dir && !open_next(s, t))
            return false;
        if (s->dir && list_some(s, t, deadline))
            return true;
        if (s->dir) {
            closedir(s->dir);
            s->dir = NULL;
            set_remove(s->left, set_first(s->left));
        }
        if (io_now_us() >= deadline)
            return true;
    }
    return false;
}

static void step(struct job *job, unsigned budget_ms)
{
    struct survey *s = (struct survey *)((char *)job - offsetof(struct survey, job));
    struct replica *r = s->atom->batch->replica;
    struct manifest_txn *t;
    struct err why;
    if (manifest_begin(r->manifest, false, &t, &why) < 0) {
        s->way = WAY_FOREIGN;
        finish(s);
        return;
    }
    bool more = work(s, t, io_now_us() + (uint64_t)budget_ms * 1000);
    manifest_abort(t);
    replica_progress(r, s->seen);
    if (!more)
        finish(s);
}

void survey_start(struct atom *a)
{
    struct survey *s = mem_alloc(sizeof *s);
    s->atom = a;
    s->way = WAY_CLEAN;
    s->left = set_new();
    set_add(s->left, a->step.path.data, a->step.path.len);
    a->survey = s;
    a->batch->pending++;
    job_start(&a->batch->replica->tools->jobs, &s->job, step);
}

void survey_drop(struct atom *a)
{
    struct survey *s = a->survey;
    if (!s)
        return;
    a->survey = NULL;
    a->batch->pending--;
    job_stop(&s->job);
    if (s->dir)
        closedir(s->dir);
    set_free(s->left);
    free(s);
}
