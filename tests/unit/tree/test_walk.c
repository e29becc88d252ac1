#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <time.h>

#include "scratch.h"
#include "tree/content/digest.h"
#include "tree/walk/walk.h"

static const struct digest no_filter;
static bool whole_seconds; /* the filesystem keeps no more of a file's times */

struct validators __real_validators_of(const struct stat *st);
struct validators __wrap_validators_of(const struct stat *st);
struct validators __wrap_validators_of(const struct stat *st)
{
    struct validators v = __real_validators_of(st);
    if (whole_seconds)
        v.ctime_nsec = v.mtime_nsec = 0;
    return v;
}

static int stat_errno; /* not 0: no name can be looked at */

int __real_fstatat64(int dirfd, const char *name, struct stat *st, int flags);
int __wrap_fstatat64(int dirfd, const char *name, struct stat *st, int flags);
int __wrap_fstatat64(int dirfd, const char *name, struct stat *st, int flags)
{
    errno = stat_errno;
    return stat_errno ? -1 : __real_fstatat64(dirfd, name, st, flags);
}

int __real_statx(int dirfd, const char *name, int flags, unsigned mask, struct statx *x);
int __wrap_statx(int dirfd, const char *name, int flags, unsigned mask, struct statx *x);
int __wrap_statx(int dirfd, const char *name, int flags, unsigned mask, struct statx *x)
{
    errno = stat_errno;
    return stat_errno ? -1 : __real_statx(dirfd, name, flags, mask, x);
}

struct place {
    char *path; /* holds tree/ and m/ */
    int fd;     /* of tree/ */
    struct root *root;
    struct manifest *m;
    struct filter *filter;
    struct names *names;
    struct walk_options o;
    struct walk_hooks hooks;
    struct walk_counts counts; /* of the last walk */
    char heard[8192];          /* by the hooks: "+new ~changed -deleted !unreadable ?skipped " */
    void (*meddle)(struct place *p, struct bytes path, int fd);
};

static void hear(struct place *p, char what, struct bytes path)
{
    size_t used = strlen(p->heard);
    snprintf(p->heard + used, sizeof p->heard - used, "%c%.*s ", what, (int)path.len,
        (const char *)path.data);
}

static void on_enter(void *ctx, uint64_t dir, struct bytes path, int fd)
{
    struct place *p = ctx;
    assert_true(dir >= MANIFEST_ROOT);
    if (p->meddle)
        p->meddle(p, path, fd);
}

static void on_changed(
    void *ctx, struct bytes path, const struct record *before, const struct record *after)
{
    hear(ctx, !before ? '+' : !after ? '-' : '~', path);
}

static void on_skipped(void *ctx, struct bytes path, const char *why)
{
    assert_true(strlen(why) > 0);
    hear(ctx, '?', path);
}

static void on_unreadable(void *ctx, struct bytes path, const struct err *why)
{
    assert_true(strlen(why->text) > 0);
    hear(ctx, '!', path);
}

static int set_up(void **state)
{
    struct place *p = mem_alloc(sizeof *p);
    struct err err;
    bool fresh;
    p->path = scratch_new();
    char *tree CLEANUP_FREE = mem_format("%s/tree", p->path);
    char *manifest CLEANUP_FREE = mem_format("%s/m", p->path);
    if (mkdir(tree, 0755) != 0 || mkdir(manifest, 0700) != 0 ||
        root_open(tree, &p->root, &err) != 0 ||
        manifest_open(manifest, &no_filter, &p->m, &fresh, &err) != 0)
        return -1;
    p->fd = root_fd(p->root);
    p->filter = filter_new();
    p->names = names_new(NULL);
    p->hooks = (struct walk_hooks){on_enter, on_changed, on_skipped, on_unreadable, p};
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    names_free(p->names);
    filter_free(p->filter);
    manifest_close(p->m);
    root_close(p->root);
    scratch_free(p->path);
    free(p);
    return 0;
}

static struct walk *new_walk(struct place *p, const char *top)
{
    p->heard[0] = '\0';
    return walk_new(p->root, p->m, p->filter, p->names, bytes_of(top), &p->o, &p->hooks);
}

static void walk_top(struct place *p, const char *top)
{
    struct walk *w = new_walk(p, top);
    struct err err;
    int rc;
    while ((rc = walk_step(w, 5, &err)) == WALK_MORE)
        ;
    p->counts = *walk_counts(w);
    walk_free(w);
    if (rc != WALK_DONE)
        fail_msg("%s", err.text);
}

static void walk_all(struct place *p)
{
    walk_top(p, "");
}

static int lookup(struct place *p, const char *path, struct record *out)
{
    struct manifest_txn *t;
    struct err err;
    uint64_t parent;
    assert_int_equal(manifest_begin(p->m, false, &t, &err), 0);
    int rc = manifest_lookup(t, bytes_of(path), out, &parent, &err);
    out->entry.owner = out->entry.group = out->entry.target = (struct bytes){0};
    manifest_abort(t);
    return rc;
}

static struct record record_at(struct place *p, const char *path)
{
    struct record r = {0};
    if (lookup(p, path, &r) != 1)
        fail_msg("%s is not in the manifest", path);
    return r;
}

static bool is_there(struct place *p, const char *path)
{
    struct record r;
    return lookup(p, path, &r) == 1;
}

/* Changes a record behind the walk's back. */
static void alter(
    struct place *p, const char *path, uint32_t flags, const struct digest *digest, int64_t mtime)
{
    struct manifest_txn *t;
    struct err err;
    struct record r;
    uint64_t parent;
    assert_int_equal(manifest_begin(p->m, true, &t, &err), 0);
    assert_int_equal(manifest_lookup(t, bytes_of(path), &r, &parent, &err), 1);
    r.flags = flags;
    r.entry.mtime = mtime;
    r.entry.has_digest = digest != NULL;
    r.entry.digest = digest ? *digest : (struct digest){{0}};
    assert_int_equal(manifest_put(t, parent, path_name(bytes_of(path)), &r, &err), 0);
    assert_int_equal(manifest_commit(t, &err), 0);
}

static void alter_size(struct place *p, const char *path, uint64_t size)
{
    struct manifest_txn *t;
    struct err err;
    struct record r;
    uint64_t parent;
    assert_int_equal(manifest_begin(p->m, true, &t, &err), 0);
    assert_int_equal(manifest_lookup(t, bytes_of(path), &r, &parent, &err), 1);
    r.entry.size = r.validators.size = size;
    assert_int_equal(manifest_put(t, parent, path_name(bytes_of(path)), &r, &err), 0);
    assert_int_equal(manifest_commit(t, &err), 0);
}

static struct msg_sums sums_of(struct manifest *m)
{
    struct manifest_txn *t;
    struct err err;
    struct msg_sums s;
    assert_int_equal(manifest_begin(m, false, &t, &err), 0);
    assert_int_equal(manifest_sums(t, MANIFEST_ROOT, &s, &err), 0);
    manifest_abort(t);
    return s;
}

/* The manifest is what a new one, made from the disk now, would be. */
static void assert_as_new(struct place *p, bool content)
{
    struct place q = *p;
    struct err err;
    bool fresh;
    char *path = scratch_new();
    assert_int_equal(manifest_open(path, &no_filter, &q.m, &fresh, &err), 0);
    q.hooks = (struct walk_hooks){0};
    walk_all(&q);
    struct msg_sums a = sums_of(p->m), b = sums_of(q.m);
    assert_int_equal(a.entries, b.entries);
    assert_int_equal(a.bytes, b.bytes);
    assert_true(digest_equal(&a.meta, &b.meta));
    assert_true(digest_equal(&a.owner, &b.owner));
    if (content) {
        assert_int_equal(a.unproven, b.unproven);
        assert_true(digest_equal(&a.content, &b.content));
    }
    manifest_close(q.m);
    scratch_free(path);
}

static void test_first_and_second_walk(void **state)
{
    struct place *p = *state;
    char longest[256];
    memset(longest, 'n', 255);
    longest[255] = '\0';
    assert_int_equal(mkdirat(p->fd, "d", 0755), 0);
    assert_int_equal(mkdirat(p->fd, "d/empty", 0700), 0);
    assert_true(scratch_write(p->fd, "d/a\nb", "12345"));
    assert_true(scratch_write(p->fd, "d/\xff\xfe", ""));
    assert_true(scratch_write(p->fd, "--leading", "x"));
    assert_true(scratch_write(p->fd, longest, "y"));
    assert_int_equal(symlinkat("nowhere", p->fd, "l"), 0);
    walk_all(p);
    assert_string_equal(strstr(p->heard, "+--leading"), p->heard + strlen("+ "));
    assert_non_null(strstr(p->heard, "+d/a\nb "));
    assert_non_null(strstr(p->heard, "+d/empty "));
    assert_int_equal(p->counts.entries, 7);
    assert_int_equal(p->counts.directories, 2);
    assert_int_equal(p->counts.files, 4);
    assert_int_equal(p->counts.bytes, 7);
    assert_int_equal(p->counts.hashed, 0);
    struct msg_sums s = sums_of(p->m);
    assert_int_equal(s.entries, 7);
    assert_int_equal(s.unproven, 4);
    struct record r = record_at(p, "d/a\nb");
    assert_int_equal(r.entry.size, 5);
    assert_false(r.entry.has_digest);
    assert_int_equal(record_at(p, "d/empty").entry.mode, 0700);
    assert_int_equal(record_at(p, "").entry.type, ENTRY_DIR);
    assert_true(is_there(p, longest));
    scratch_settle();
    walk_all(p);
    assert_string_equal(p->heard, "");
    assert_int_equal(p->counts.entries, 7);
    assert_int_equal(record_at(p, "l").flags, 0);
}

static void test_changes(void **state)
{
    struct place *p = *state;
    assert_int_equal(mkdirat(p->fd, "d", 0755), 0);
    assert_int_equal(mkdirat(p->fd, "gone", 0755), 0);
    assert_int_equal(mkdirat(p->fd, "gone/deep", 0755), 0);
    assert_true(scratch_write(p->fd, "gone/deep/f", "x"));
    assert_true(scratch_write(p->fd, "d/f", "x"));
    assert_true(scratch_write(p->fd, "d/same", "x"));
    assert_true(scratch_write(p->fd, "file-dir", "x"));
    assert_int_equal(mkdirat(p->fd, "dir-link", 0755), 0);
    assert_true(scratch_write(p->fd, "dir-link/f", "x"));
    walk_all(p);
    scratch_settle();
    walk_all(p);
    assert_true(scratch_write(p->fd, "d/f", "longer"));
    assert_int_equal(fchmodat(p->fd, "d/same", 0600, 0), 0);
    scratch_delete(p->fd, "gone");
    assert_int_equal(unlinkat(p->fd, "file-dir", 0), 0);
    assert_int_equal(mkdirat(p->fd, "file-dir", 0755), 0);
    assert_true(scratch_write(p->fd, "file-dir/inside", "x"));
    scratch_delete(p->fd, "dir-link");
    assert_int_equal(symlinkat("d", p->fd, "dir-link"), 0);
    walk_all(p);
    assert_non_null(strstr(p->heard, "~d/f "));
    assert_non_null(strstr(p->heard, "~d/same "));
    assert_non_null(strstr(p->heard, "-gone "));
    assert_null(strstr(p->heard, "gone/"));
    assert_non_null(strstr(p->heard, "~file-dir "));
    assert_non_null(strstr(p->heard, "+file-dir/inside "));
    assert_non_null(strstr(p->heard, "~dir-link "));
    assert_int_equal(record_at(p, "d/f").entry.size, 6);
    assert_int_equal(record_at(p, "dir-link").entry.type, ENTRY_LINK);
    assert_false(is_there(p, "gone"));
    assert_false(is_there(p, "dir-link/f"));
    assert_as_new(p, false);
}

/* So many directories in one another, with names as long as they can be. The innermost. */
static int make_deep(const struct place *p, int levels)
{
    char name[256];
    int fd = dup(p->fd);
    memset(name, 'n', 255);
    name[255] = '\0';
    for (int i = 0; i < levels; i++) {
        assert_int_equal(mkdirat(fd, name, 0755), 0);
        int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(fd);
        fd = next;
    }
    return fd;
}

static void test_longer_than_path_max(void **state)
{
    struct place *p = *state;
    int fd = make_deep(p, 20);
    assert_true(scratch_write(fd, "end", "deep"));
    walk_all(p);
    assert_int_equal(p->counts.entries, 21);
    scratch_settle();
    p->o.prove = true;
    walk_all(p);
    assert_int_equal(sums_of(p->m).unproven, 0);
    assert_int_equal(p->counts.hashed, 4);
    assert_int_equal(unlinkat(fd, "end", 0), 0);
    close(fd);
    walk_all(p);
    assert_int_equal(sums_of(p->m).entries, 20);
    assert_int_equal(p->counts.unreadable, 0);
}

/* Deeper than a path may be: what cannot be named is skipped, and said. */
static void test_longer_than_total_max(void **state)
{
    struct place *p = *state;
    close(make_deep(p, 130));
    p->hooks.skipped = NULL;
    p->hooks.changed = NULL;
    walk_all(p);
    assert_int_equal(p->counts.entries, 128);
    assert_int_equal(p->counts.skipped, 1);
}

static void prove(struct place *p)
{
    scratch_settle();
    p->o.prove = true;
    walk_all(p);
    p->o.prove = false;
    assert_int_equal(sums_of(p->m).unproven, 0);
}

static void test_content_is_read_when_it_must_be(void **state)
{
    struct place *p = *state;
    struct digest want;
    assert_true(scratch_write(p->fd, "f", "hello"));
    walk_all(p);
    prove(p);
    assert_string_equal(p->heard, ""); /* a digest was learned, nothing changed */
    digest_of("hello", 5, &want);
    struct record r = record_at(p, "f");
    assert_true(r.entry.has_digest && digest_equal(&r.entry.digest, &want));
    /* Proven: not read again. */
    prove(p);
    assert_int_equal(p->counts.hashed, 0);
    /* Same size: read. */
    assert_true(scratch_write(p->fd, "f", "HELLO"));
    scratch_settle();
    walk_all(p);
    assert_int_equal(p->counts.hashed, 5);
    assert_non_null(strstr(p->heard, "~f "));
    digest_of("HELLO", 5, &want);
    r = record_at(p, "f");
    assert_true(r.entry.has_digest && digest_equal(&r.entry.digest, &want));
    /* Only ctime: read, found the same, not a change. */
    assert_int_equal(fchmodat(p->fd, "f", 0644, 0), 0);
    scratch_settle();
    walk_all(p);
    assert_int_equal(p->counts.hashed, 5);
    assert_string_equal(p->heard, "");
    r = record_at(p, "f");
    assert_true(r.entry.has_digest);
    /* Another size: not read, not known. */
    assert_true(scratch_write(p->fd, "f", "hello!"));
    scratch_settle();
    walk_all(p);
    assert_int_equal(p->counts.hashed, 0);
    r = record_at(p, "f");
    assert_false(r.entry.has_digest);
}

static void test_racy(void **state)
{
    struct place *p = *state;
    struct digest want, wrong = {{1}};
    assert_true(scratch_write(p->fd, "f", "hello"));
    p->o.prove = true;
    struct record r;
    do { /* until the walk came within the granule */
        assert_true(scratch_write(p->fd, "f", "hello"));
        walk_all(p);
        r = record_at(p, "f");
    } while (!(r.flags & RECORD_RACY));
    digest_of("hello", 5, &want);
    assert_true(r.entry.has_digest && digest_equal(&r.entry.digest, &want));
    p->o.prove = false;
    scratch_settle();
    walk_all(p);
    assert_false(record_at(p, "f").flags & RECORD_RACY);
    /* What was believed too early is read again. */
    r = record_at(p, "f");
    alter(p, "f", RECORD_RACY, &wrong, r.entry.mtime);
    walk_all(p);
    digest_of("hello", 5, &want);
    r = record_at(p, "f");
    assert_int_equal(r.flags, 0);
    assert_true(r.entry.has_digest && digest_equal(&r.entry.digest, &want));
    assert_string_equal(p->heard, "~f ");
}

/* A change that leaves all as it was that a stat tells is found, since it came in the same second
 * as the one before. */
static void test_times_of_whole_seconds(void **state)
{
    struct place *p = *state;
    struct digest want;
    struct record r;
    struct stat st;
    struct validators now;
    p->o.prove = whole_seconds = true;
    do { /* until both came in one second, whose begin is some time ago */
        assert_true(scratch_write(p->fd, "f", "hello"));
        assert_int_equal(fstatat(p->fd, "f", &st, 0), 0);
        scratch_settle();
        walk_all(p);
        r = record_at(p, "f");
        assert_true(scratch_write(p->fd, "f", "HELLO"));
        assert_int_equal(fstatat(p->fd, "f", &st, 0), 0);
        now = validators_of(&st);
    } while (!validators_equal(&now, &r.validators));
    p->o.prove = false;
    scratch_settle();
    walk_all(p);
    whole_seconds = false;
    digest_of("HELLO", 5, &want);
    r = record_at(p, "f");
    assert_true(r.entry.has_digest && digest_equal(&r.entry.digest, &want));
    assert_non_null(strstr(p->heard, "~f "));
}

static void test_checksum(void **state)
{
    struct place *p = *state;
    struct digest want, wrong = {{1}};
    assert_true(scratch_write(p->fd, "f", "hello"));
    walk_all(p);
    prove(p);
    struct record r = record_at(p, "f");
    alter(p, "f", 0, &wrong, r.entry.mtime);
    walk_all(p);
    assert_string_equal(p->heard, "");
    p->o.checksum = true;
    walk_all(p);
    assert_string_equal(p->heard, "~f ");
    digest_of("hello", 5, &want);
    r = record_at(p, "f");
    assert_true(digest_equal(&r.entry.digest, &want));
    walk_all(p);
    assert_int_equal(p->counts.hashed, 5);
    assert_string_equal(p->heard, "");
}

/* Cut short by a power loss, not by anybody: its inode's times are those of the commit. */
static void test_lost_with_the_power(void **state)
{
    struct place *p = *state;
    p->o.keep_accepted = true;
    for (int lost = 0; lost < 2; lost++) {
        assert_true(scratch_write(p->fd, "f", "hello"));
        scratch_settle();
        walk_all(p);
        prove(p);
        struct record r = record_at(p, "f");
        alter(p, "f", RECORD_COMMITTED, &r.entry.digest, 4444);
        alter_size(p, "f", 4711);
        p->o.since = lost;
        walk_all(p);
        r = record_at(p, "f");
        assert_int_equal(r.flags, lost ? RECORD_COMMITTED : 0);
        assert_int_equal(r.entry.size, 5);
    }
}

static void test_open_for_writing(void **state)
{
    struct place *p = *state;
    assert_true(scratch_write(p->fd, "f", "hello"));
    walk_all(p);
    scratch_settle();
    int fd = openat(p->fd, "f", O_WRONLY | O_CLOEXEC);
    p->o.prove = true;
    walk_all(p);
    struct record busy = record_at(p, "f");
    close(fd);
    walk_all(p);
    struct record quiet = record_at(p, "f");
    assert_false(busy.entry.has_digest && !quiet.entry.has_digest);
    assert_true(quiet.entry.has_digest);
    assert_int_equal(quiet.flags, 0);
    if (fcntl(p->fd, F_GETLEASE) < 0) /* no leases here: nothing can be told */
        skip();
    assert_false(busy.entry.has_digest);
    assert_true(busy.flags & RECORD_RACY);
}

static void test_keep_accepted(void **state)
{
    struct place *p = *state;
    p->o.keep_accepted = true;
    assert_true(scratch_write(p->fd, "f", "hello"));
    assert_int_equal(mkdirat(p->fd, "d", 0755), 0);
    walk_all(p);
    prove(p);
    struct record r = record_at(p, "f");
    /* What the secondary accepted, though it could not store it so. */
    alter(p, "f", RECORD_COMMITTED, &r.entry.digest, 4444);
    alter(p, "d", RECORD_COMMITTED, NULL, 5555);
    walk_all(p);
    assert_string_equal(p->heard, "");
    assert_int_equal(record_at(p, "f").entry.mtime, 4444);
    assert_int_equal(record_at(p, "d").entry.mtime, 5555);
    p->o.checksum = true;
    walk_all(p);
    p->o.checksum = false;
    assert_int_equal(record_at(p, "f").entry.mtime, 4444);
    /* Only ctime moved, the content is the same. */
    assert_int_equal(fchmodat(p->fd, "f", 0600, 0), 0);
    assert_true(scratch_write(p->fd, "d/new", "x"));
    scratch_settle();
    walk_all(p);
    r = record_at(p, "f");
    assert_int_equal(r.flags, RECORD_COMMITTED);
    assert_int_equal(r.entry.mode, 0600);
    assert_true(r.entry.mtime != 4444);
    assert_int_equal(record_at(p, "d").flags, RECORD_COMMITTED);
    assert_int_equal(record_at(p, "d/new").flags, 0);
    /* Somebody else's. */
    assert_true(scratch_write(p->fd, "f", "HELLO"));
    assert_int_equal(unlinkat(p->fd, "d/new", 0), 0);
    assert_int_equal(unlinkat(p->fd, "d", AT_REMOVEDIR), 0);
    assert_int_equal(symlinkat("x", p->fd, "d"), 0);
    scratch_settle();
    walk_all(p);
    assert_non_null(strstr(p->heard, "~f "));
    assert_int_equal(record_at(p, "f").flags, 0);
    assert_int_equal(record_at(p, "d").flags, 0);
}

/* All counts as committed from now on, as after LEVEL. */
static void commit_all(struct place *p)
{
    static const char *const paths[] = {"", "d", "d/f", "d/mode", "d/time", "gone", "gone/f", "l"};
    struct manifest_txn *t;
    struct err err;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct record r;
        uint64_t parent = 0;
        struct bytes path = bytes_of(paths[i]);
        assert_int_equal(manifest_begin(p->m, true, &t, &err), 0);
        assert_int_equal(manifest_lookup(t, path, &r, &parent, &err), 1);
        r.flags |= RECORD_COMMITTED;
        assert_int_equal(path.len ? manifest_put(t, parent, path_name(path), &r, &err)
                                  : manifest_put_root(t, &r, &err),
            0);
        assert_int_equal(manifest_commit(t, &err), 0);
    }
}

/* What is remembered: "PATH:type of what was committed ", by directory and name. */
static const char *drift_of(struct place *p)
{
    struct manifest_drift row = {0};
    struct manifest_txn *t;
    struct err err;
    p->heard[0] = '\0';
    assert_int_equal(manifest_begin(p->m, false, &t, &err), 0);
    while (manifest_drift_next(t, &row, &err) == 1) {
        char path[PATH_TOTAL_MAX + 1], line[PATH_TOTAL_MAX + 300];
        size_t len = 0;
        if (row.dir)
            assert_int_equal(manifest_dir_path(t, row.dir, path, &len, &err), 1);
        snprintf(line, sizeof line, "%.*s/%.*s:%d ", (int)len, path, (int)row.name_len, row.name,
            row.committed.type);
        strcat(p->heard, line);
    }
    manifest_abort(t);
    return p->heard;
}

static void fill_for_drift(struct place *p)
{
    p->o.keep_accepted = true;
    p->o.drift = WALK_DRIFT | WALK_DRIFT_OWNER | WALK_DRIFT_ACL;
    assert_int_equal(mkdirat(p->fd, "d", 0755), 0);
    assert_int_equal(mkdirat(p->fd, "gone", 0755), 0);
    assert_true(scratch_write(p->fd, "d/f", "hello"));
    assert_true(scratch_write(p->fd, "d/mode", "x"));
    assert_true(scratch_write(p->fd, "d/time", "x"));
    assert_true(scratch_write(p->fd, "gone/f", "x"));
    assert_int_equal(symlinkat("x", p->fd, "l"), 0);
    scratch_settle();
    walk_all(p);
    prove(p);
    assert_string_equal(drift_of(p), ""); /* nothing was committed */
    commit_all(p);
    walk_all(p);
    assert_string_equal(drift_of(p), "");
}

static void test_drift(void **state)
{
    struct place *p = *state;
    fill_for_drift(p);
    const struct timespec times[] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1000}};
    assert_true(scratch_write(p->fd, "d/f", "HELLO"));
    assert_int_equal(fchmodat(p->fd, "d/mode", 0600, 0), 0);
    assert_int_equal(utimensat(p->fd, "d/time", times, 0), 0);
    scratch_delete(p->fd, "gone");
    assert_int_equal(mkdirat(p->fd, "new", 0755), 0);
    assert_true(scratch_write(p->fd, "new/beneath", "is not told of"));
    assert_int_equal(unlinkat(p->fd, "l", 0), 0);
    assert_int_equal(symlinkat("y", p->fd, "l"), 0);
    scratch_settle();
    walk_all(p);
    assert_int_equal(p->counts.drift, 7); /* with the root's times */
    assert_string_equal(drift_of(p), "/:2 /gone:2 /l:3 /new:0 d/f:1 d/mode:1 d/time:1 ");
    assert_int_equal(record_at(p, "d/f").flags & RECORD_COMMITTED, 0);
    walk_all(p);
    assert_int_equal(p->counts.drift, 0); /* known */
    /* Changed once more: what was committed is remembered, not what was in between. */
    assert_true(scratch_write(p->fd, "d/mode", "longer than before"));
    assert_true(scratch_write(p->fd, "gone", "a file"));
    scratch_settle();
    walk_all(p);
    assert_string_equal(drift_of(p), "/:2 /gone:2 /l:3 /new:0 d/f:1 d/mode:1 d/time:1 ");
}

static void test_drift_that_is_undone(void **state)
{
    struct place *p = *state;
    fill_for_drift(p);
    struct record r = record_at(p, "d/f"), dir = record_at(p, "d");
    const struct timespec times[] = {{.tv_nsec = UTIME_OMIT}, {r.entry.mtime, r.entry.mtime_nsec}};
    const struct timespec dir_times[] = {
        {.tv_nsec = UTIME_OMIT}, {dir.entry.mtime, dir.entry.mtime_nsec}};
    assert_true(scratch_write(p->fd, "d/f", "HELLO"));
    assert_true(scratch_write(p->fd, "d/new", "x"));
    scratch_settle();
    walk_all(p);
    assert_string_equal(drift_of(p), "/d:2 d/f:1 d/new:0 ");
    assert_true(scratch_write(p->fd, "d/f", "hello"));
    assert_int_equal(utimensat(p->fd, "d/f", times, 0), 0);
    assert_int_equal(unlinkat(p->fd, "d/new", 0), 0);
    assert_int_equal(utimensat(p->fd, "d", dir_times, 0), 0);
    scratch_settle();
    walk_all(p);
    assert_string_equal(drift_of(p), "");
    assert_int_equal(record_at(p, "d/f").flags, RECORD_COMMITTED);
}

/* It is where its directory is, and goes with it. */
static void test_drift_moves_and_goes(void **state)
{
    struct place *p = *state;
    struct manifest_txn *t;
    struct entry was;
    struct err err;
    fill_for_drift(p);
    assert_true(scratch_write(p->fd, "d/f", "HELLO"));
    scratch_settle();
    walk_all(p);
    assert_string_equal(drift_of(p), "d/f:1 ");
    assert_int_equal(manifest_begin(p->m, true, &t, &err), 0);
    assert_int_equal(
        manifest_move(t, MANIFEST_ROOT, bytes_of("d"), MANIFEST_ROOT, bytes_of("e"), &err), 1);
    assert_int_equal(manifest_commit(t, &err), 0);
    assert_string_equal(drift_of(p), "e/f:1 ");
    assert_int_equal(manifest_begin(p->m, true, &t, &err), 0);
    assert_int_equal(manifest_drift_get(t, MANIFEST_ROOT, bytes_of("e"), &was, &err), 0);
    assert_int_equal(manifest_delete(t, MANIFEST_ROOT, bytes_of("e"), &err), 1);
    assert_int_equal(manifest_commit(t, &err), 0);
    assert_string_equal(drift_of(p), "");
}

/* What cannot be stored or is not mirrored is nobody's doing. */
static void test_drift_as_far_as_it_counts(void **state)
{
    struct entry a = {.type = ENTRY_FILE, .mode = 0644, .size = 3, .owner = bytes_of("web")};
    struct entry b = a;
    (void)state;
    assert_true(walk_drift_same(WALK_DRIFT | WALK_DRIFT_OWNER | WALK_DRIFT_ACL, &a, &b));
    b.owner = bytes_of("root");
    assert_true(walk_drift_same(WALK_DRIFT | WALK_DRIFT_ACL, &a, &b));
    assert_false(walk_drift_same(WALK_DRIFT | WALK_DRIFT_OWNER, &a, &b));
    b = a;
    b.acl = bytes_of("u::rw-,u:alice:r--,g::r--,m::r--,o::---");
    assert_true(walk_drift_same(WALK_DRIFT | WALK_DRIFT_OWNER, &a, &b));
    assert_false(walk_drift_same(WALK_DRIFT | WALK_DRIFT_ACL, &a, &b));
    b = a;
    a.has_digest = b.has_digest = true;
    b.digest.b[3] = 1;
    assert_false(walk_drift_same(WALK_DRIFT, &a, &b));
    b.has_digest = false;
    assert_true(walk_drift_same(WALK_DRIFT, &a, &b));
}

static void test_shallow(void **state)
{
    struct place *p = *state;
    assert_int_equal(mkdirat(p->fd, "d", 0755), 0);
    assert_int_equal(mkdirat(p->fd, "d/old", 0755), 0);
    walk_all(p);
    p->o.shallow = true;
    assert_true(scratch_write(p->fd, "d/old/f", "x"));
    assert_true(scratch_write(p->fd, "d/f", "x"));
    assert_true(scratch_write(p->fd, "elsewhere", "x"));
    assert_int_equal(mkdirat(p->fd, "d/new", 0755), 0);
    assert_int_equal(mkdirat(p->fd, "d/new/deep", 0755), 0);
    assert_true(scratch_write(p->fd, "d/new/deep/f", "x"));
    walk_top(p, "d");
    assert_non_null(strstr(p->heard, "~d "));
    assert_true(is_there(p, "d/f"));
    assert_true(is_there(p, "d/new/deep/f"));
    assert_false(is_there(p, "d/old/f"));
    assert_false(is_there(p, "elsewhere"));
    walk_top(p, "");
    assert_true(is_there(p, "elsewhere"));
    assert_false(is_there(p, "d/old/f"));
    /* Another directory under an old name is new. */
    assert_int_equal(renameat(p->fd, "d/new", p->fd, "d/x"), 0);
    assert_int_equal(renameat(p->fd, "d/old", p->fd, "d/new"), 0);
    walk_top(p, "d");
    assert_true(is_there(p, "d/x/deep/f"));
    assert_true(is_there(p, "d/new/f"));
    assert_false(is_there(p, "d/new/deep"));
    p->o.shallow = false;
    assert_as_new(p, false);
}

static void test_tops(void **state)
{
    struct place *p = *state;
    assert_int_equal(mkdirat(p->fd, "d", 0755), 0);
    assert_true(scratch_write(p->fd, "d/f", "x"));
    walk_all(p);
    /* A file, changed; new; gone. */
    assert_true(scratch_write(p->fd, "d/f", "longer"));
    assert_true(scratch_write(p->fd, "d/g", "x"));
    walk_top(p, "d/f");
    assert_string_equal(p->heard, "~d/f ");
    assert_int_equal(p->counts.entries, 1);
    walk_top(p, "d/g");
    assert_string_equal(p->heard, "+d/g ");
    assert_int_equal(unlinkat(p->fd, "d/g", 0), 0);
    walk_top(p, "d/g");
    assert_string_equal(p->heard, "-d/g ");
    walk_top(p, "d/never");
    assert_string_equal(p->heard, "");
    walk_top(p, "never/there");
    assert_string_equal(p->heard, "");
    /* A directory, gone. */
    scratch_delete(p->fd, "d");
    walk_top(p, "d");
    assert_string_equal(p->heard, "-d ");
    walk_top(p, "d/f");
    assert_string_equal(p->heard, "");
}

/* The directory above the top is gone as well, and a link stands in its place. */
static void test_top_beneath_what_changed(void **state)
{
    struct place *p = *state;
    assert_int_equal(mkdirat(p->fd, "d", 0755), 0);
    assert_int_equal(mkdirat(p->fd, "d/e", 0755), 0);
    assert_true(scratch_write(p->fd, "d/e/f", "x"));
    walk_all(p);
    assert_int_equal(renameat(p->fd, "d", p->fd, "moved"), 0);
    walk_top(p, "d/e/f");
    assert_non_null(strstr(p->heard, "-d "));
    assert_int_equal(symlinkat("moved", p->fd, "d"), 0);
    walk_all(p);
    assert_true(is_there(p, "moved/e/f"));
    assert_int_equal(unlinkat(p->fd, "d", 0), 0);
    assert_int_equal(renameat(p->fd, "moved", p->fd, "d"), 0);
    walk_all(p);
    assert_int_equal(renameat(p->fd, "d", p->fd, "moved"), 0);
    assert_int_equal(symlinkat("moved", p->fd, "d"), 0);
    walk_top(p, "d/e");
    assert_non_null(strstr(p->heard, "~d "));
    assert_int_equal(record_at(p, "d").entry.type, ENTRY_LINK);
    assert_false(is_there(p, "d/e"));
}

static void test_excluded(void **state)
{
    struct place *p = *state;
    assert_int_equal(filter_add(p->filter, false, bytes_of("cache/"), NULL), 0);
    assert_int_equal(filter_add(p->filter, false, bytes_of("/d/*.tmp"), NULL), 0);
    assert_int_equal(mkdirat(p->fd, "d", 0755), 0);
    assert_int_equal(mkdirat(p->fd, "d/cache", 0755), 0);
    assert_int_equal(mkdirat(p->fd, PATH_RESERVED "stage", 0755), 0);
    assert_true(scratch_write(p->fd, "d/cache/f", "x"));
    assert_true(scratch_write(p->fd, "d/x.tmp", "x"));
    assert_true(scratch_write(p->fd, "cache", "a file"));
    walk_all(p);
    assert_int_equal(p->counts.excluded, 2);
    assert_int_equal(sums_of(p->m).entries, 2);
    assert_true(is_there(p, "cache"));
    /* As a directory it is not mirrored any more. */
    assert_int_equal(unlinkat(p->fd, "cache", 0), 0);
    assert_int_equal(mkdirat(p->fd, "cache", 0755), 0);
    walk_all(p);
    assert_false(is_there(p, "cache"));
    assert_non_null(strstr(p->heard, "-cache "));
    walk_top(p, "d/cache");
    assert_string_equal(p->heard, "");
    walk_top(p, "d/cache/f");
    assert_string_equal(p->heard, "");
    assert_int_equal(sums_of(p->m).entries, 1);
}

static void test_special_files(void **state)
{
    struct place *p = *state;
    assert_true(scratch_write(p->fd, "f", "x"));
    walk_all(p);
    assert_int_equal(unlinkat(p->fd, "f", 0), 0);
    assert_int_equal(mkfifoat(p->fd, "f", 0600), 0);
    walk_all(p);
    assert_int_equal(p->counts.skipped, 1);
    assert_non_null(strstr(p->heard, "?f "));
    assert_non_null(strstr(p->heard, "-f "));
    assert_int_equal(sums_of(p->m).entries, 0);
}

/* The directory's descriptor no longer lists: as EIO would look. */
static void break_listing(struct place *p, struct bytes path, int fd)
{
    (void)p;
    if (!bytes_equal(path, bytes_of("d")))
        return;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(dup2(null, fd), fd);
    close(null);
}

static void test_unreadable_is_not_deleted(void **state)
{
    struct place *p = *state;
    assert_int_equal(mkdirat(p->fd, "d", 0755), 0);
    assert_int_equal(mkdirat(p->fd, "d/e", 0755), 0);
    assert_true(scratch_write(p->fd, "d/e/f", "x"));
    assert_true(scratch_write(p->fd, "z", "x"));
    walk_all(p);
    p->meddle = break_listing;
    assert_int_equal(unlinkat(p->fd, "d/e/f", 0), 0);
    assert_int_equal(unlinkat(p->fd, "z", 0), 0);
    walk_all(p);
    assert_non_null(strstr(p->heard, "!d "));
    assert_int_equal(p->counts.unreadable, 1);
    assert_true(is_there(p, "d/e/f"));
    assert_false(is_there(p, "z"));
    p->meddle = NULL;
    walk_all(p);
    assert_false(is_there(p, "d/e/f"));
}

/* Neither what is listed nor what is not is taken for deleted while nobody can tell. */
static void test_what_cannot_be_looked_at_stays(void **state)
{
    struct place *p = *state;
    assert_true(scratch_write(p->fd, "here", "1") && scratch_write(p->fd, "not here", "1"));
    walk_all(p);
    assert_int_equal(unlinkat(p->fd, "not here", 0), 0);
    stat_errno = EIO;
    walk_all(p);
    stat_errno = 0;
    assert_true(is_there(p, "here") && is_there(p, "not here"));
    assert_non_null(strstr(p->heard, "!here "));
    assert_non_null(strstr(p->heard, "!not here "));
    assert_int_equal(p->counts.unreadable, 2);
    walk_all(p);
    assert_true(is_there(p, "here") && !is_there(p, "not here"));
}

static void test_root_that_cannot_be_read(void **state)
{
    struct place *p = *state;
    struct err err = {0};
    assert_true(scratch_write(p->fd, "f", "x"));
    walk_all(p);
    /* A root that was removed is empty; that is for others to judge, but it is still read. */
    int file = openat(p->fd, "f", O_RDONLY | O_CLOEXEC);
    int keep = dup(p->fd);
    assert_int_equal(dup2(file, p->fd), p->fd);
    close(file);
    struct walk *w = new_walk(p, "");
    int rc;
    while ((rc = walk_step(w, 5, &err)) == WALK_MORE)
        ;
    walk_free(w);
    assert_int_equal(rc, -1);
    assert_true(strlen(err.text) > 0);
    assert_int_equal(dup2(keep, p->fd), p->fd);
    close(keep);
    assert_true(is_there(p, "f"));
}

static void test_mount_points(void **state)
{
    struct place *p = *state;
    struct stat here, proc;
    /* A root above a mount point that is there anyway. */
    if (stat("/proc", &proc) != 0 || stat("/", &here) != 0 || here.st_dev == proc.st_dev)
        skip();
    struct place q = *p;
    struct err err;
    assert_int_equal(root_open("/", &q.root, &err), 0);
    q.o.shallow = true;
    q.heard[0] = '\0';
    struct walk *w =
        walk_new(q.root, q.m, q.filter, q.names, bytes_of(""), &q.o, &(struct walk_hooks){0});
    int rc;
    while ((rc = walk_step(w, 0, &err)) == WALK_MORE && walk_counts(w)->entries == 0)
        ;
    walk_free(w);
    root_close(q.root);
    q.hooks.ctx = &q;
    assert_int_equal(rc, WALK_MORE);
    assert_int_equal(root_open("/", &q.root, &err), 0);
    w = walk_new(q.root, q.m, q.filter, q.names, bytes_of("proc"), &q.o, &q.hooks);
    while ((rc = walk_step(w, 5, &err)) == WALK_MORE)
        ;
    walk_free(w);
    root_close(q.root);
    assert_int_equal(rc, WALK_DONE);
    assert_string_equal(q.heard, "!proc ");
    assert_false(is_there(&q, "proc"));
}

/* Writes a file and its record, as a commit on the secondary does. */
static void commit_file(
    struct place *p, struct manifest_txn *t, uint64_t dir, const char *name, const char *text)
{
    struct err err;
    struct stat st;
    struct entry_store *store = mem_alloc(sizeof *store);
    int fd = openat(p->fd, "d", O_RDONLY | O_CLOEXEC);
    assert_true(scratch_write(fd, "new", text));
    assert_int_equal(renameat(fd, "new", fd, name), 0);
    assert_int_equal(fstatat(fd, name, &st, 0), 0);
    struct record r = {.flags = RECORD_COMMITTED, .validators = validators_of(&st)};
    assert_int_equal(entry_read(fd, name, &st, p->names, false, store, &r.entry, &err), 0);
    close(fd);
    r.entry.has_digest = true;
    digest_of(text, strlen(text), &r.entry.digest);
    assert_int_equal(manifest_put(t, dir, bytes_of(name), &r, &err), 0);
    free(store);
}

/* Replaces f, deletes g, adds a new name. False while the manifest does not have d yet. */
static bool commit_meanwhile(struct place *p, const char *text)
{
    struct manifest_txn *t;
    struct err err;
    struct record r;
    uint64_t parent = 0;
    assert_int_equal(manifest_begin(p->m, true, &t, &err), 0);
    assert_true(manifest_lookup(t, bytes_of("d/f"), &r, &parent, &err) >= 0);
    if (parent) {
        commit_file(p, t, parent, "f", text);
        commit_file(p, t, parent, text, text);
        assert_true(unlinkat(p->fd, "d/g", 0) == 0);
        assert_true(manifest_delete(t, parent, bytes_of("g"), &err) >= 0);
    }
    assert_int_equal(manifest_commit(t, &err), 0);
    return parent != 0;
}

static void test_commits_between_steps(void **state)
{
    struct place *p = *state;
    struct err err;
    p->o.keep_accepted = p->o.prove = true;
    assert_int_equal(mkdirat(p->fd, "d", 0755), 0);
    bool more = true;
    for (int at = 0; more; at++) {
        char text[32], late[40];
        snprintf(text, sizeof text, "version %d", at);
        snprintf(late, sizeof late, "d/%s", text);
        assert_true(scratch_write(p->fd, "d/f", "old"));
        assert_true(scratch_write(p->fd, "d/g", "old"));
        assert_true(scratch_write(p->fd, "d/h", "old"));
        walk_top(p, "d/g"); /* from the second time on, when d is known */
        assert_true(scratch_write(p->fd, "d/g", "not as recorded"));
        struct walk *w = new_walk(p, "");
        int rc = WALK_MORE;
        bool committed = false;
        for (int step = 0; rc == WALK_MORE; step++) {
            if (step == at)
                committed = commit_meanwhile(p, text);
            more = step >= at;
            rc = walk_step(w, 0, &err);
        }
        walk_free(w);
        if (rc != WALK_DONE)
            fail_msg("%s", err.text);
        if (committed) { /* the walk has not overwritten what is newer than what it saw */
            assert_int_equal(record_at(p, "d/f").entry.size, strlen(text));
            assert_int_equal(record_at(p, late).flags & RECORD_COMMITTED, RECORD_COMMITTED);
            assert_true(at == 0 || !is_there(p, "d/g"));
        }
        scratch_settle();
        walk_all(p);
        assert_as_new(p, true);
    }
}

/* Found as a directory, gone or something else when it is opened. */
static void test_directory_that_vanishes(void **state)
{
    struct place *p = *state;
    struct err err;
    for (int kind = 0; kind < 3; kind++) {
        scratch_delete(p->fd, "d");
        unlinkat(p->fd, "d", 0);
        assert_int_equal(mkdirat(p->fd, "d", 0755), 0);
        assert_int_equal(mkdirat(p->fd, "d/e", 0755), 0);
        struct walk *w = new_walk(p, "");
        int rc = WALK_MORE;
        while (rc == WALK_MORE && !strstr(p->heard, "d/e "))
            rc = walk_step(w, 0, &err);
        assert_int_equal(rc, WALK_MORE);
        assert_int_equal(unlinkat(p->fd, "d/e", AT_REMOVEDIR), 0);
        if (kind == 1)
            assert_int_equal(symlinkat("..", p->fd, "d/e"), 0);
        if (kind == 2) {
            assert_int_equal(unlinkat(p->fd, "d", AT_REMOVEDIR), 0);
            assert_int_equal(symlinkat(".", p->fd, "d"), 0);
        }
        while ((rc = walk_step(w, 0, &err)) == WALK_MORE)
            ;
        walk_free(w);
        assert_int_equal(rc, WALK_DONE);
        assert_int_equal(is_there(p, "d/e"), kind == 1);
        if (kind > 0)
            assert_int_equal(record_at(p, kind == 1 ? "d/e" : "d").entry.type, ENTRY_LINK);
    }
}

static void test_many_names(void **state)
{
    enum { COUNT = 5000 };
    struct place *p = *state;
    char name[32];
    p->hooks = (struct walk_hooks){0};
    assert_int_equal(mkdirat(p->fd, "d", 0755), 0);
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, "d/%d", i);
        if (i % 10 == 0) {
            assert_int_equal(mkdirat(p->fd, name, 0755), 0);
            strcat(name, "/f");
            assert_true(scratch_write(p->fd, name, ""));
        } else
            assert_true(scratch_write(p->fd, name, ""));
    }
    walk_all(p);
    assert_int_equal(p->counts.entries, COUNT + COUNT / 10 + 1);
    assert_int_equal(sums_of(p->m).entries, COUNT + COUNT / 10 + 1);
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, "d/%d", i);
        if (i % 3 != 0 && i % 10 == 0)
            scratch_delete(p->fd, name);
        else if (i % 3 != 0)
            assert_int_equal(unlinkat(p->fd, name, 0), 0);
    }
    walk_all(p);
    assert_as_new(p, false);
    scratch_delete(p->fd, "d");
    assert_int_equal(mkdirat(p->fd, "d", 0755), 0);
    walk_all(p);
    assert_int_equal(sums_of(p->m).entries, 1);
    assert_as_new(p, false);
}

/* A large file is read in pieces, and between steps nothing is locked. */
static void test_steps(void **state)
{
    enum { SIZE = 20 * 1024 * 1024 };
    struct place *p = *state;
    struct err err;
    char *content CLEANUP_FREE = mem_alloc(SIZE + 1);
    memset(content, 'c', SIZE);
    assert_true(scratch_write(p->fd, "large", content));
    assert_true(scratch_write(p->fd, "small", "x"));
    walk_all(p);
    scratch_settle();
    p->o.prove = true;
    struct walk *w = new_walk(p, "");
    int rc, steps = 0;
    while ((rc = walk_step(w, 0, &err)) == WALK_MORE) {
        struct manifest_txn *t;
        assert_int_equal(manifest_begin(p->m, true, &t, &err), 0);
        manifest_abort(t);
        steps++;
    }
    assert_int_equal(rc, WALK_DONE);
    assert_int_equal(walk_counts(w)->hashed, SIZE + 1);
    walk_free(w);
    assert_true(steps > 16);
    struct digest want;
    digest_of(content, SIZE, &want);
    struct record r = record_at(p, "large");
    assert_true(digest_equal(&r.entry.digest, &want));
    /* Given up in the middle. */
    p->o.checksum = true;
    w = new_walk(p, "");
    while (walk_step(w, 0, &err) == WALK_MORE && walk_counts(w)->hashed == 0)
        ;
    walk_free(w);
}

static void test_keep_special(void **state)
{
    struct place *p = *state;
    assert_true(scratch_write(p->fd, "f", "x"));
    assert_int_equal(fchmodat(p->fd, "f", 04755, 0), 0);
    walk_all(p);
    assert_int_equal(record_at(p, "f").entry.mode, 0755);
    p->o.keep_special = true;
    assert_int_equal(fchmodat(p->fd, "f", 04711, 0), 0);
    walk_all(p);
    assert_int_equal(record_at(p, "f").entry.mode, 04711);
}

/* --- random changes on disk: a walk makes what a new manifest would have --- */

static uint32_t dice(uint64_t *random, uint32_t sides)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*random >> 33) % sides;
}

static void random_path(uint64_t *random, char out[64])
{
    size_t n = 0;
    for (uint32_t depth = 1 + dice(random, 4); depth > 0; depth--) {
        out[n++] = (char)('a' + dice(random, 4));
        out[n++] = '/';
    }
    out[n - 1] = '\0';
}

/* Whatever of it is possible; the results are the disk's. */
static void change_disk(struct place *p, uint64_t *random)
{
    char a[64], b[64];
    random_path(random, a);
    random_path(random, b);
    switch (dice(random, 12)) {
    case 0:
        if (unlinkat(p->fd, a, 0) != 0)
            scratch_delete(p->fd, a);
        break;
    case 1:
    case 2: (void)renameat(p->fd, a, p->fd, b); break;
    case 3: (void)symlinkat(b, p->fd, a); break;
    case 4: (void)fchmodat(p->fd, a, 0700 + dice(random, 64), 0); break;
    case 5: (void)scratch_date(p->fd, a, dice(random, 1000), dice(random, 1000)); break;
    case 6: (void)renameat2(p->fd, a, p->fd, b, RENAME_EXCHANGE); break;
    case 7:
    case 8:
    case 9: (void)mkdirat(p->fd, a, 0755); break;
    default:
        if (faccessat(p->fd, a, F_OK, AT_SYMLINK_NOFOLLOW) != 0)
            (void)scratch_write(p->fd, a, b);
        else if (unlinkat(p->fd, a, 0) == 0)
            (void)scratch_write(p->fd, a, "again");
    }
}

static void test_random_changes(void **state)
{
    struct place *p = *state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        uint64_t random = seed;
        for (int round = 0; round < 10; round++) {
            for (uint32_t i = dice(&random, 40); i > 0; i--)
                change_disk(p, &random);
            p->o.prove = round % 2;
            walk_all(p);
            assert_as_new(p, false);
        }
        scratch_settle();
        p->o.prove = true;
        walk_all(p);
        assert_int_equal(sums_of(p->m).unproven, 0);
        assert_as_new(p, true);
    }
    assert_true(sums_of(p->m).entries > 0);
}

/* The same while the walk is on its way: the next one repairs whatever it missed. */
static void test_random_changes_under_the_walk(void **state)
{
    struct place *p = *state;
    struct err err;
    for (uint64_t seed = 100; seed < 130; seed++) {
        uint64_t random = seed;
        struct walk *w = new_walk(p, "");
        int rc;
        while ((rc = walk_step(w, 0, &err)) == WALK_MORE)
            if (dice(&random, 3) == 0)
                change_disk(p, &random);
        walk_free(w);
        if (rc != WALK_DONE)
            fail_msg("%s", err.text);
        for (int i = 0; i < 20; i++)
            change_disk(p, &random);
        scratch_settle();
        p->o.prove = true;
        walk_all(p);
        assert_as_new(p, true);
        p->o.prove = false;
    }
}

/* A second thread looks ahead wherever it can. */
static int set_up_ahead(void **state)
{
    int rc = set_up(state);
    struct place *p = *state;
    if (rc == 0) {
        p->hooks.enter = NULL;
        p->o.ahead = 1;
    }
    return rc;
}

static void make_wide(struct place *p, int dirs, int files)
{
    for (int d = 0; d < dirs; d++) {
        char *dir CLEANUP_FREE = mem_format("d%03d", d);
        assert_int_equal(mkdirat(p->fd, dir, 0755), 0);
        for (int f = 0; f < files; f++) {
            char *name CLEANUP_FREE = mem_format("d%03d/f%02d%s", d, f, f % 3 ? "" : ".tmp");
            int fd = openat(p->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
            assert_true(fd >= 0);
            close(fd);
        }
    }
}

/* What the second thread saw is judged as what the walk sees itself: exclusions, counts, deletions,
 * and nothing told twice. */
static void test_ahead(void **state)
{
    struct place *p = *state;
    struct err err;
    assert_int_equal(filter_add(p->filter, false, bytes_of("*.tmp"), &err), 0);
    make_wide(p, 60, 9);
    assert_int_equal(mkfifoat(p->fd, "d007/fifo", 0600), 0);
    walk_all(p);
    assert_int_equal(p->counts.directories, 60);
    assert_int_equal(p->counts.files, 60 * 6);
    assert_int_equal(p->counts.excluded, 60 * 3);
    assert_int_equal(p->counts.skipped, 1);
    scratch_settle();
    walk_all(p);
    walk_all(p);
    assert_string_equal(p->heard, "?d007/fifo ");
    assert_int_equal(p->counts.files, 60 * 6);
    assert_int_equal(unlinkat(p->fd, "d003/f01", 0), 0);
    assert_int_equal(unlinkat(p->fd, "d031/f01", 0), 0);
    walk_all(p);
    assert_false(is_there(p, "d003/f01") || is_there(p, "d031/f01"));
    assert_true(is_there(p, "d003/f02") && is_there(p, "d031/f02"));
    assert_as_new(p, true);
}

/* A walk that is given up leaves no thread and no descriptor behind. */
static void test_ahead_given_up(void **state)
{
    struct place *p = *state;
    struct err err;
    make_wide(p, 60, 3);
    for (int steps = 1; steps < 40; steps++) {
        struct walk *w = new_walk(p, "");
        for (int i = 0; i < steps; i++)
            assert_true(walk_step(w, 0, &err) >= 0);
        walk_free(w);
    }
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && fd < 40);
    close(fd);
}

/* A volume that is gone shows an empty directory: what is beneath is not taken for deleted. */
static void test_a_volume_that_is_not_mounted(void **state)
{
    struct place *p = *state;
    char *state_dir = scratch_new();
    int dir = open(state_dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(mkdirat(p->fd, "vol", 0755), 0);
    assert_true(scratch_write(p->fd, "vol/f", "x"));
    walk_top(p, "");
    p->o.mounts = mounts_load(dir);
    mounts_note(p->o.mounts, bytes_of("vol"));
    assert_int_equal(unlinkat(p->fd, "vol/f", 0), 0);
    walk_top(p, "");
    assert_string_equal(p->heard, "!vol ");
    walk_top(p, "vol");
    assert_string_equal(p->heard, "!vol ");
    mounts_forget_all(p->o.mounts);
    walk_top(p, "");
    assert_non_null(strstr(p->heard, "-vol/f"));
    mounts_free(p->o.mounts);
    close(dir);
    scratch_free(state_dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ahead, set_up_ahead, tear_down),
        cmocka_unit_test_setup_teardown(test_ahead_given_up, set_up_ahead, tear_down),
        cmocka_unit_test_setup_teardown(test_changes, set_up_ahead, tear_down),
        cmocka_unit_test_setup_teardown(test_longer_than_path_max, set_up_ahead, tear_down),
        cmocka_unit_test_setup_teardown(test_longer_than_total_max, set_up_ahead, tear_down),
        cmocka_unit_test_setup_teardown(test_racy, set_up_ahead, tear_down),
        cmocka_unit_test_setup_teardown(test_checksum, set_up_ahead, tear_down),
        cmocka_unit_test_setup_teardown(test_mount_points, set_up_ahead, tear_down),
        cmocka_unit_test_setup_teardown(test_random_changes, set_up_ahead, tear_down),
        cmocka_unit_test_setup_teardown(
            test_random_changes_under_the_walk, set_up_ahead, tear_down),
        cmocka_unit_test_setup_teardown(test_first_and_second_walk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_changes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_longer_than_path_max, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_longer_than_total_max, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_content_is_read_when_it_must_be, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_racy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_times_of_whole_seconds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_checksum, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lost_with_the_power, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_open_for_writing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_keep_accepted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_volume_that_is_not_mounted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_drift, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_drift_that_is_undone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_drift_moves_and_goes, set_up, tear_down),
        cmocka_unit_test(test_drift_as_far_as_it_counts),
        cmocka_unit_test_setup_teardown(test_shallow, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tops, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_top_beneath_what_changed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_excluded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_special_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unreadable_is_not_deleted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_looked_at_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_root_that_cannot_be_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mount_points, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_commits_between_steps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_directory_that_vanishes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_steps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_keep_special, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_random_changes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_random_changes_under_the_walk, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
