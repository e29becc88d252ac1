/* Content that is read again: what is found, what is not, the place over restarts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>

#include "base/io.h"
#include "scratch.h"
#include "tree/walk/reread.h"
#include "tree/walk/walk.h"

static const struct digest no_filter;

enum { FAST = 1 << 30, LARGE = 300 * 1024 };

struct place {
    char *path; /* holds tree/ and m/ */
    int fd;     /* of tree/ */
    struct root *root;
    struct manifest *m;
    pthread_mutex_t lock;
    char heard[4096]; /* "=path " for content, "~path " for validators */
};

static void on_differs(void *ctx, struct bytes path, bool content)
{
    struct place *p = ctx;
    char line[300];
    snprintf(
        line, sizeof line, "%c%.*s ", content ? '=' : '~', (int)path.len, (const char *)path.data);
    pthread_mutex_lock(&p->lock);
    if (!strstr(p->heard, line))
        strcat(p->heard, line);
    pthread_mutex_unlock(&p->lock);
}

static bool has_heard(struct place *p, const char *line)
{
    pthread_mutex_lock(&p->lock);
    bool heard = strstr(p->heard, line);
    pthread_mutex_unlock(&p->lock);
    return heard;
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

static void await(struct place *p, const char *line)
{
    uint64_t until = io_now_ms() + 20000;
    while (!has_heard(p, line) && io_now_ms() < until)
        nap();
    if (!has_heard(p, line))
        fail_msg("not heard: %s, but: %s", line, p->heard);
}

/* Walks until every file's content is known for good. */
static void learn(struct place *p)
{
    struct filter *f = filter_new();
    struct names *names = names_new(NULL);
    const struct walk_options o = {.prove = true};
    struct err err;
    for (int i = 0; i < 2; i++) {
        scratch_settle();
        struct walk *w = walk_new(p->root, p->m, f, names, (struct bytes){0}, &o, NULL);
        while (walk_step(w, 5, &err) == WALK_MORE)
            continue;
        walk_free(w);
    }
    names_free(names);
    filter_free(f);
}

static int set_up(void **state)
{
    struct place *p = mem_alloc(sizeof *p);
    struct err err;
    bool fresh;
    pthread_mutex_init(&p->lock, NULL);
    p->path = scratch_new();
    char *tree CLEANUP_FREE = mem_format("%s/tree", p->path);
    char *manifest CLEANUP_FREE = mem_format("%s/m", p->path);
    if (mkdir(tree, 0755) != 0 || mkdir(manifest, 0700) != 0 ||
        root_open(tree, &p->root, &err) != 0 ||
        manifest_open(manifest, &no_filter, &p->m, &fresh, &err) != 0)
        return -1;
    p->fd = root_fd(p->root);
    if (mkdirat(p->fd, "d", 0755) != 0 || !scratch_write(p->fd, "a", "content") ||
        !scratch_write(p->fd, "d/b", "content") || !scratch_write(p->fd, "d/c", "") ||
        !scratch_write(p->fd, "large", "content"))
        return -1;
    int fd = openat(p->fd, "large", O_WRONLY);
    if (ftruncate(fd, LARGE) != 0 || close(fd) != 0)
        return -1;
    learn(p);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    manifest_close(p->m);
    root_close(p->root);
    scratch_free(p->path);
    pthread_mutex_destroy(&p->lock);
    free(p);
    return 0;
}

/* The record's validators follow the file, its digest does not: as if the disk had done it. */
static void hide(struct place *p, const char *path)
{
    struct manifest_txn *t;
    struct record r;
    struct stat st;
    struct err err;
    uint64_t parent;
    assert_int_equal(fstatat(p->fd, path, &st, 0), 0);
    assert_int_equal(manifest_begin(p->m, true, &t, &err), 0);
    assert_int_equal(manifest_lookup(t, bytes_of(path), &r, &parent, &err), 1);
    assert_true(r.entry.has_digest && !(r.flags & RECORD_RACY));
    r.validators = validators_of(&st);
    assert_int_equal(manifest_put(t, parent, path_name(bytes_of(path)), &r, &err), 0);
    assert_int_equal(manifest_commit(t, &err), 0);
}

static void flip(struct place *p, const char *path, off_t at)
{
    int fd CLEANUP_FD = openat(p->fd, path, O_WRONLY);
    assert_int_equal(pwrite(fd, "!", 1, at), 1);
}

static struct reread_tree *add(struct place *p, struct reread *r)
{
    const struct reread_hooks hooks = {.differs = on_differs, .ctx = p};
    return reread_add(r, p->root, p->m, &hooks);
}

/* From the reading's thread: its digest is noted, as '+' and the path. */
static void on_proven(void *ctx, struct bytes path, const struct record *r)
{
    struct place *p = ctx;
    char line[300];
    assert_true(r->entry.has_digest && r->entry.type == ENTRY_FILE);
    snprintf(line, sizeof line, "+%.*s ", (int)path.len, (const char *)path.data);
    pthread_mutex_lock(&p->lock);
    if (!strstr(p->heard, line))
        strcat(p->heard, line);
    pthread_mutex_unlock(&p->lock);
}

/* The manifest knows this file by size and time only. */
static void forget_content(struct place *p, const char *path)
{
    struct manifest_txn *t;
    struct record r;
    struct err err;
    uint64_t parent;
    assert_int_equal(manifest_begin(p->m, true, &t, &err), 0);
    assert_int_equal(manifest_lookup(t, bytes_of(path), &r, &parent, &err), 1);
    r.entry.has_digest = false;
    assert_int_equal(manifest_put(t, parent, path_name(bytes_of(path)), &r, &err), 0);
    assert_int_equal(manifest_commit(t, &err), 0);
}

/* What has no digest is read, but not while somebody writes it, and not what has one. */
static void test_what_was_never_read_is_proven(void **state)
{
    struct place *p = *state;
    struct reread *r = reread_new(FAST, 1);
    const struct reread_hooks hooks = {.differs = on_differs, .proven = on_proven, .ctx = p};
    forget_content(p, "large");
    forget_content(p, "d/b");
    int fd = openat(p->fd, "d/b", O_WRONLY);
    struct reread_tree *t = reread_add(r, p->root, p->m, &hooks);
    await(p, "+large ");
    assert_false(has_heard(p, "+d/b "));
    close(fd);
    await(p, "+d/b ");
    assert_false(has_heard(p, "+a ") || has_heard(p, "+d/c "));
    assert_null(strpbrk(p->heard, "=~"));
    reread_remove(t);
    reread_free(r);
}

static void test_what_differs_is_found(void **state)
{
    struct place *p = *state;
    struct reread *r = reread_new(FAST, 1);
    flip(p, "a", 3);
    hide(p, "a");
    flip(p, "large", LARGE - 1); /* behind the first leaf */
    hide(p, "large");
    assert_true(scratch_write(p->fd, "d/b", "another file"));
    struct reread_tree *t = add(p, r);
    await(p, "=a ");
    await(p, "=large ");
    await(p, "~d/b ");
    assert_null(strstr(p->heard, "d/c"));
    /* And in the next pass what has happened since. */
    flip(p, "large", 0);
    learn(p);
    p->heard[0] = '\0';
    assert_int_equal(unlinkat(p->fd, "a", 0), 0);
    await(p, "~a ");
    assert_null(strstr(p->heard, "large"));
    reread_remove(t);
    reread_free(r);
}

static uint64_t number_at(struct place *p, int i)
{
    struct manifest_txn *t;
    struct bytes value = {0};
    struct err err;
    uint64_t n = 0;
    assert_int_equal(manifest_begin(p->m, false, &t, &err), 0);
    if (manifest_kept(t, "reread", &value, &err) == 1) {
        struct wire_reader w = wire_reader_of(value.data, value.len);
        while (i-- >= 0)
            n = wire_get_u64(&w);
    }
    manifest_abort(t);
    return n;
}

/* When it is due, and how far a pass has come, outlives the process. */
static void test_the_place_is_kept(void **state)
{
    struct place *p = *state;
    struct reread *r = reread_new(FAST, 0);
    struct reread_tree *t = add(p, r);
    for (int i = 0; i < 4000 && !number_at(p, 1); i++)
        nap();
    uint64_t due = number_at(p, 1);
    assert_true(due >= (uint64_t)time(NULL) - 60 && due <= (uint64_t)time(NULL) + 30 * 86400);
    assert_int_equal(number_at(p, 0), 0);
    reread_remove(t);
    t = add(p, r);
    reread_remove(t);
    reread_free(r);
    assert_int_equal(number_at(p, 1), due);
    /* Slow: the large file is never read to its end in this time, and the tree goes at once. */
    r = reread_new(64 * 1024, 1);
    t = add(p, r);
    for (int i = 0; i < 4000 && !number_at(p, 0); i++) {
        nap();
        if (i % 50 != 49)
            continue;
        uint64_t began = io_now_ms();
        reread_remove(t);
        assert_true(io_now_ms() - began < 1000);
        t = add(p, r);
    }
    reread_remove(t);
    reread_free(r);
    assert_true(number_at(p, 0) > 0);
    uint64_t began = number_at(p, 0);
    /* It goes on where it was: the pass is the same. */
    r = reread_new(1, 0);
    t = add(p, r);
    nap();
    reread_remove(t);
    reread_free(r);
    assert_int_equal(number_at(p, 0), began);
}

/* What is in the manifest, drift and the root's own record apart, comes once. */
static void test_all_records(void **state)
{
    struct place *p = *state;
    struct manifest_place at = {0};
    struct manifest_txn *t;
    struct record r;
    struct err err;
    assert_int_equal(manifest_begin(p->m, true, &t, &err), 0);
    assert_int_equal(manifest_drift_put(t, MANIFEST_ROOT, bytes_of("zzz"), NULL, &err), 0);
    assert_int_equal(manifest_drift_put(t, MANIFEST_NO_DIR, (struct bytes){0}, NULL, &err), 0);
    assert_int_equal(manifest_commit(t, &err), 0);
    assert_int_equal(manifest_begin(p->m, false, &t, &err), 0);
    int files = 0, dirs = 0, rc;
    while ((rc = manifest_next_of_all(t, &at, &r, &err)) == 1)
        ++*(r.entry.type == ENTRY_FILE ? &files : &dirs);
    manifest_abort(t);
    assert_int_equal(rc, 0);
    assert_int_equal(files, 4);
    assert_int_equal(dirs, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_was_never_read_is_proven, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_differs_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_place_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_all_records, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
