/* See scan_model.h. */
#include "scan_model.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/set.h"
#include "primary/push/peer/peer.h"
#include "primary/scan/source.h"
#include "tree/content/digest.h"

enum { PATIENCE_MS = 60000, WHOLE = 1 << 30 };

struct thing {
    uint8_t type;
    uint16_t mode;
    int64_t mtime;
    uint32_t mtime_nsec;
    uint64_t size;
    struct digest digest; /* of the content, or of the link's target */
};

struct told { /* one call of the sink */
    TAILQ_ENTRY(told) order;
    char *path, *to; /* to: a move */
    unsigned flags;
    unsigned long number;
};
TAILQ_HEAD(told_list, told);

struct model {
    char top[64];
    char *root, *state;
    struct filter *filter;
    struct site *site;
    struct scan *scan;
    pthread_mutex_t lock; /* over the rest */
    struct told_list told;
    struct set *things;
    struct set *owed; /* path → how often, as a number in the pointer */
    unsigned moved, compared, all_owed;
    unsigned long tellings; /* so far */
};

/* --- the sink --- */

static void tell(struct model *m, struct bytes path, const char *to, unsigned flags)
{
    struct told *t = mem_alloc(sizeof *t);
    t->path = mem_copy_bytes(path.data, path.len);
    t->to = mem_copy_string(to);
    t->flags = flags;
    t->number = ++m->tellings;
    TAILQ_INSERT_TAIL(&m->told, t, order);
}

static void told_free(struct model *m, struct told *t)
{
    TAILQ_REMOVE(&m->told, t, order);
    free(t->path);
    free(t->to);
    free(t);
}

static void on_owe(void *ctx, struct site *s, struct bytes path, unsigned flags)
{
    struct model *m = ctx;
    assert_ptr_equal(s, m->site);
    pthread_mutex_lock(&m->lock);
    struct set_item *item = set_add(m->owed, path.data, path.len);
    item->value = (void *)((uintptr_t)item->value + 1);
    m->all_owed++;
    tell(m, path, NULL, flags);
    pthread_mutex_unlock(&m->lock);
}

/* What is owed beneath `from` is owed beneath `to`, behind the move. */
static void on_move(void *ctx, struct site *s, struct bytes from, struct bytes to)
{
    struct model *m = ctx;
    assert_ptr_equal(s, m->site);
    char *to_text CLEANUP_FREE = mem_copy_bytes(to.data, to.len);
    pthread_mutex_lock(&m->lock);
    m->moved++;
    struct told *end = TAILQ_LAST(&m->told, told_list), *next;
    tell(m, from, to_text, 0);
    for (struct told *t = TAILQ_FIRST(&m->told); end && t; t = next) {
        bool last = t == end;
        next = TAILQ_NEXT(t, order);
        if (!t->to && !(t->flags & WHOLE) && path_beneath(bytes_of(t->path), from)) {
            char *renamed CLEANUP_FREE = mem_format("%s%s", to_text, t->path + from.len);
            tell(m, bytes_of(renamed), NULL, t->flags);
            told_free(m, t);
        }
        if (last)
            break;
    }
    pthread_mutex_unlock(&m->lock);
}

static void on_compare(void *ctx, struct site *s)
{
    struct model *m = ctx;
    assert_ptr_equal(s, m->site);
    pthread_mutex_lock(&m->lock);
    m->compared++;
    tell(m, (struct bytes){0}, NULL, WHOLE);
    pthread_mutex_unlock(&m->lock);
}

static void on_changed(void *ctx, struct site *s)
{
    (void)ctx;
    (void)s;
}

/* --- the secondary's side --- */

static void forget_beneath(struct model *m, struct bytes top, bool itself)
{
    struct set_item *next;
    for (struct set_item *i = set_first(m->things); i; i = next) {
        next = i->next;
        struct bytes path = {i->key, i->len};
        if (path_beneath(path, top) && (itself || path.len != top.len)) {
            free(i->value);
            set_remove(m->things, i);
        }
    }
}

static void keep(struct model *m, struct bytes path, const struct thing *thing)
{
    if (thing->type != ENTRY_DIR)
        forget_beneath(m, path, false);
    struct set_item *item = set_add(m->things, path.data, path.len);
    free(item->value);
    item->value = mem_copy_bytes(thing, sizeof *thing);
}

static struct thing thing_of(const struct stat *st)
{
    struct thing t = {
        .type = S_ISDIR(st->st_mode)   ? ENTRY_DIR
                : S_ISLNK(st->st_mode) ? ENTRY_LINK
                                       : ENTRY_FILE,
        .mode = S_ISLNK(st->st_mode) ? 0 : st->st_mode & 07777,
        .mtime = st->st_mtim.tv_sec,
        .mtime_nsec = (uint32_t)st->st_mtim.tv_nsec,
        .size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0,
    };
    return t;
}

static struct manifest_txn *read_manifest(struct model *m)
{
    struct manifest_txn *t;
    struct err err;
    assert_int_equal(manifest_begin(m->site->manifest, false, &t, &err), 0);
    return t;
}

static bool in_manifest(struct manifest_txn *t, struct bytes path)
{
    struct record r;
    struct err err;
    uint64_t parent;
    int found = manifest_lookup(t, path, &r, &parent, &err);
    assert_true(found >= 0);
    return found;
}

/* 1 done, 0 not now. */
static int take_file(struct model *m, struct bytes path, unsigned flags, struct thing *thing)
{
    struct source *source = NULL;
    struct record r = {0};
    struct err err;
    uint8_t piece[4096];
    ssize_t n;
    int outcome = source_open(m->site->root, path, flags & OWE_OPEN, &source, &err);
    if (outcome != SOURCE_OK) {
        m->site->hooks.look(m->site->hooks.ctx, m->site, path);
        return 1;
    }
    while ((n = source_read(source, piece, sizeof piece, &err)) > 0)
        ;
    outcome = source_settle(source, &r);
    *thing = thing_of(source_stat(source));
    source_free(source);
    if (outcome != SOURCE_OK) {
        m->site->hooks.look(m->site->hooks.ctx, m->site, path);
        return 1;
    }
    thing->digest = r.entry.digest;
    m->site->hooks.seen(m->site->hooks.ctx, m->site, path, &r);
    keep(m, path, thing);
    return 1;
}

static void take_link(struct model *m, struct bytes path, const char *full, struct thing *thing)
{
    char target[4096];
    ssize_t n = readlink(full, target, sizeof target);
    if (n < 0)
        return;
    digest_of(target, (size_t)n, &thing->digest);
    keep(m, path, thing);
}

/* The newest state of a path. A deletion is believed only when the manifest says so too: else a
 * directory above was renamed and we shall hear of it. */
static int take(struct model *m, struct manifest_txn *manifest, struct bytes path, unsigned flags)
{
    struct stat st;
    char *full CLEANUP_FREE =
        mem_format("%s/%.*s", m->root, (int)path.len, path.len ? (const char *)path.data : "");
    if (lstat(full, &st) < 0) {
        if (in_manifest(manifest, path))
            return 0;
        forget_beneath(m, path, true);
        return 1;
    }
    struct thing thing = thing_of(&st);
    if (filter_excludes_deep(m->filter, path, S_ISDIR(st.st_mode)) ||
        !(S_ISDIR(st.st_mode) || S_ISREG(st.st_mode) || S_ISLNK(st.st_mode)))
        forget_beneath(m, path, true);
    else if (thing.type == ENTRY_DIR)
        keep(m, path, &thing);
    else if (thing.type == ENTRY_LINK)
        take_link(m, path, full, &thing);
    else
        return take_file(m, path, flags, &thing);
    return 1;
}

static void move(struct model *m, struct bytes from, struct bytes to)
{
    struct set *moved = set_new();
    struct set_item *next;
    forget_beneath(m, to, true);
    for (struct set_item *i = set_first(m->things); i; i = next) {
        next = i->next;
        if (!path_beneath((struct bytes){i->key, i->len}, from))
            continue;
        char *renamed CLEANUP_FREE =
            mem_format("%.*s%s", (int)to.len, (const char *)to.data, i->key + from.len);
        set_add(moved, renamed, strlen(renamed))->value = i->value;
        set_remove(m->things, i);
    }
    if (set_count(moved) == 0) /* a hint only: the secondary asks for the content */
        tell(m, to, NULL, OWE_SUBTREE);
    for (struct set_item *i = set_first(moved); i; i = i->next)
        set_add(m->things, i->key, i->len)->value = i->value;
    set_free(moved);
}

typedef void visit(struct model *m, struct bytes path, const struct record *r, void *ctx);

static void each_record(
    struct model *m, struct manifest_txn *t, uint64_t dir, const char *above, visit *f, void *ctx)
{
    struct bytes name;
    struct record r;
    struct err err;
    char after[256] = "";
    size_t len = 0;
    while (manifest_next(t, dir, (struct bytes){after, len}, &name, &r, &err) > 0) {
        memcpy(after, name.data, len = name.len);
        char *path CLEANUP_FREE = mem_format("%s%s%.*s", above, *above ? "/" : "", (int)len, after);
        uint64_t number = r.entry.type == ENTRY_DIR ? r.dir : 0;
        f(m, bytes_of(path), &r, ctx);
        if (number)
            each_record(m, t, number, path, f, ctx);
    }
}

static void each_in_manifest(struct model *m, visit *f, void *ctx)
{
    struct manifest_txn *t = read_manifest(m);
    each_record(m, t, MANIFEST_ROOT, "", f, ctx);
    manifest_abort(t);
}

static void owe_again(struct model *m, struct bytes path, const struct record *r, void *ctx)
{
    (void)r;
    if (path_beneath(path, *(struct bytes *)ctx))
        tell(m, path, NULL, 0);
}

static int obey(struct model *m, struct manifest_txn *manifest, struct told *t)
{
    struct bytes path = bytes_of(t->path);
    if (t->flags & WHOLE) {
        for (struct set_item *i = set_first(m->things); i; i = i->next)
            tell(m, (struct bytes){i->key, i->len}, NULL, 0);
        each_record(m, manifest, MANIFEST_ROOT, "", owe_again, &path);
        return 1;
    }
    if (t->to) {
        move(m, path, bytes_of(t->to));
        return 1;
    }
    if (t->flags & OWE_SUBTREE)
        each_record(m, manifest, MANIFEST_ROOT, "", owe_again, &path);
    return take(m, manifest, path, t->flags);
}

/* The scanner tells some things from within its transaction: whoever has the lock must not begin
 * one. What is told behind the one that is read here waits for the next step. */
size_t model_step(struct model *m)
{
    size_t left = 0;
    pthread_mutex_lock(&m->lock);
    unsigned long last = m->tellings;
    pthread_mutex_unlock(&m->lock);
    struct manifest_txn *manifest = read_manifest(m);
    pthread_mutex_lock(&m->lock);
    struct told *next;
    for (struct told *t = TAILQ_FIRST(&m->told); t && t->number <= last; t = next) {
        next = TAILQ_NEXT(t, order);
        if (obey(m, manifest, t))
            told_free(m, t);
    }
    struct told *t;
    TAILQ_FOREACH (t, &m->told, order)
        left++;
    pthread_mutex_unlock(&m->lock);
    manifest_abort(manifest);
    return left;
}

/* --- set-up --- */

struct model *model_new(const char *const *excluded)
{
    struct model *m = mem_alloc(sizeof *m);
    struct err err;
    signal(SIGIO, SIG_IGN); /* a broken lease */
    snprintf(m->top, sizeof m->top, "%s/mirrord-scan-XXXXXX",
        access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(m->top));
    m->root = mem_format("%s/root", m->top);
    m->state = mem_format("%s/state", m->top);
    assert_int_equal(mkdir(m->root, 0755), 0);
    m->filter = filter_new();
    for (; excluded && *excluded; excluded++)
        assert_int_equal(filter_add(m->filter, false, bytes_of(*excluded), &err), 0);
    pthread_mutex_init(&m->lock, NULL);
    TAILQ_INIT(&m->told);
    m->things = set_new();
    m->owed = set_new();
    return m;
}

void model_start(struct model *m)
{
    struct err err;
    struct site_options o = {
        .name = "test", .root = m->root, .state_dir = m->state, .filter = m->filter};
    struct scan_sink sink = {on_owe, on_move, on_compare, on_changed, m};
    struct scan_options so = {.scan_rate = 1 << 30, .reread_every_s = 1};
    if (site_open(&o, &m->site, &err) != 0)
        fail_msg("%s", err.text);
    if (scan_new(&so, &sink, &m->scan, &err) != 0)
        fail_msg("%s", err.text);
    scan_add(m->scan, m->site);
    uint64_t end = io_now_ms() + PATIENCE_MS;
    while (!atomic_load(&m->site->scanned)) {
        assert_true(io_now_ms() < end);
        usleep(500);
    }
    on_compare(m, m->site);
    while (model_step(m))
        ;
    m->compared = 0;
}

void model_free(struct model *m)
{
    scan_free(m->scan);
    site_unref(m->site);
    while (!TAILQ_EMPTY(&m->told))
        told_free(m, TAILQ_FIRST(&m->told));
    forget_beneath(m, (struct bytes){0}, true);
    set_free(m->things);
    set_free(m->owed);
    filter_free(m->filter);
    char *command CLEANUP_FREE = mem_format("chmod -R u+rwx %s; rm -rf %s", m->top, m->top);
    assert_int_equal(system(command), 0);
    free(m->root);
    free(m->state);
    free(m);
}

const char *model_root(const struct model *m)
{
    return m->root;
}

const char *model_top(const struct model *m)
{
    return m->top;
}

struct scan *model_scan(struct model *m)
{
    return m->scan;
}

struct site *model_site(struct model *m)
{
    return m->site;
}

unsigned model_moved(struct model *m)
{
    pthread_mutex_lock(&m->lock);
    unsigned n = m->moved;
    pthread_mutex_unlock(&m->lock);
    return n;
}

unsigned model_compared(struct model *m)
{
    pthread_mutex_lock(&m->lock);
    unsigned n = m->compared;
    pthread_mutex_unlock(&m->lock);
    return n;
}

unsigned model_owed(struct model *m, const char *path)
{
    pthread_mutex_lock(&m->lock);
    struct set_item *item = path ? set_find(m->owed, path, strlen(path)) : NULL;
    unsigned n = path ? item ? (unsigned)(uintptr_t)item->value : 0 : m->all_owed;
    pthread_mutex_unlock(&m->lock);
    return n;
}

void model_shell(struct model *m, const char *fmt, ...)
{
    va_list ap;
    char *command CLEANUP_FREE = NULL;
    va_start(ap, fmt);
    assert_true(vasprintf(&command, fmt, ap) >= 0);
    va_end(ap);
    char *all CLEANUP_FREE = mem_format("cd %s && { %s\n}", m->root, command);
    if (system(all) != 0)
        fail_msg("failed: %s", command);
}

/* --- the comparison --- */

static void read_disk(struct model *m, const char *dir, struct set *out)
{
    char *full CLEANUP_FREE = mem_format("%s/%s", m->root, dir);
    DIR *d = opendir(full);
    struct dirent *e;
    assert_non_null(d);
    while ((e = readdir(d))) {
        struct stat st;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        char *path CLEANUP_FREE = mem_format("%s%s%s", dir, *dir ? "/" : "", e->d_name);
        char *whole CLEANUP_FREE = mem_format("%s/%s", m->root, path);
        assert_int_equal(lstat(whole, &st), 0);
        if (filter_excludes(m->filter, bytes_of(path), S_ISDIR(st.st_mode)))
            continue;
        if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
            continue;
        set_add(out, path, strlen(path))->value = mem_copy_bytes(&st, sizeof st);
        if (S_ISDIR(st.st_mode))
            read_disk(m, path, out);
    }
    closedir(d);
}

static void digest_disk(struct model *m, const char *path, const struct stat *st, struct digest *d)
{
    char *full CLEANUP_FREE = mem_format("%s/%s", m->root, path);
    memset(d, 0, sizeof *d);
    if (S_ISREG(st->st_mode)) {
        struct err err;
        int fd CLEANUP_FD = open(full, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(digest_of_fd(fd, (uint64_t)st->st_size, d, &err), 0);
    } else if (S_ISLNK(st->st_mode)) {
        char target[4096];
        ssize_t n = readlink(full, target, sizeof target);
        assert_true(n > 0);
        digest_of(target, (size_t)n, d);
    }
}

static void check_record(struct model *m, struct bytes path, const struct record *r, void *ctx)
{
    struct set *disk = ctx;
    struct set_item *item = set_find(disk, path.data, path.len);
    (void)m;
    if (!item)
        fail_msg("the manifest has %s, the disk has not", (const char *)path.data);
    const struct stat *st = item->value;
    struct validators v = validators_of(st);
    struct thing t = thing_of(st);
    struct digest d;
    if (!S_ISDIR(st->st_mode)) {
        /* A link that comes or goes elsewhere changes it, and says nothing. */
        v.ctime = r->validators.ctime;
        v.ctime_nsec = r->validators.ctime_nsec;
    }
    if (!validators_equal(&v, &r->validators))
        fail_msg("validators of %s (type %d, %d links) are old: inode %lu/%lu, size %lu/%lu, mtime "
                 "%ld.%09u/%ld.%09u, ctime %ld.%09u/%ld.%09u",
            (const char *)path.data, t.type, (int)st->st_nlink, r->validators.inode, v.inode,
            r->validators.size, v.size, r->validators.mtime, r->validators.mtime_nsec, v.mtime,
            v.mtime_nsec, r->validators.ctime, r->validators.ctime_nsec, v.ctime, v.ctime_nsec);
    assert_int_equal(t.type, r->entry.type);
    assert_int_equal(t.mode, r->entry.mode);
    assert_int_equal(t.mtime, r->entry.mtime);
    digest_disk(m, path.data, st, &d);
    if (r->entry.has_digest && !digest_equal(&d, &r->entry.digest))
        fail_msg("the manifest's digest of %s is not its content's", (const char *)path.data);
}

static void count_record(struct model *m, struct bytes path, const struct record *r, void *ctx)
{
    (void)m;
    (void)path;
    (void)r;
    ++*(size_t *)ctx;
}

static void check_model(struct model *m, struct set *disk)
{
    for (struct set_item *i = set_first(disk); i; i = i->next) {
        struct set_item *item = set_find(m->things, i->key, i->len);
        if (!item)
            fail_msg("%s was never told", i->key);
        const struct thing *have = item->value;
        const struct stat *st = i->value;
        struct thing want = thing_of(st);
        digest_disk(m, i->key, st, &want.digest);
        if (have->type != want.type || have->mode != want.mode || have->size != want.size ||
            !digest_equal(&have->digest, &want.digest))
            fail_msg("%s is another one on the secondary (type %d/%d mode %o/%o size %lu/%lu)",
                i->key, have->type, want.type, have->mode, want.mode, (unsigned long)have->size,
                (unsigned long)want.size);
        if (have->mtime != want.mtime || have->mtime_nsec != want.mtime_nsec)
            fail_msg("the time of %s (type %d) was not told", i->key, want.type);
    }
    for (struct set_item *i = set_first(m->things); i; i = i->next)
        if (i->len && !set_find(disk, i->key, i->len))
            fail_msg("%s is still on the secondary", i->key);
}

static void note_doubt(struct model *m, struct bytes path, const struct record *r, void *ctx)
{
    (void)m;
    (void)path;
    *(bool *)ctx |= r->entry.has_digest && digest_is_doubt(&r->entry.digest);
}

static bool is_in_doubt(struct model *m)
{
    bool doubt = false;
    each_in_manifest(m, note_doubt, &doubt);
    return doubt;
}

/* What is read in the first round is proven by the second; a link's other names are found later. */
void model_settle(struct model *m)
{
    struct err err;
    uint64_t end = io_now_ms() + PATIENCE_MS;
    for (int round = 0; round < 2 || is_in_doubt(m); round++) {
        struct scan_flush *f = scan_flush_new(m->scan, m->site, NULL, 0, 0);
        int done;
        while ((done = scan_flush_poll(f, &err)) == SCAN_FLUSH_WAITING || model_step(m)) {
            if (io_now_ms() > end)
                fail_msg("it never settles");
            usleep(500);
        }
        if (done < 0)
            fail_msg("%s", err.text);
        scan_flush_free(f);
        while (model_step(m))
            assert_true(io_now_ms() < end);
    }
    struct set *disk = set_new();
    size_t records = 0;
    read_disk(m, "", disk);
    each_in_manifest(m, check_record, disk);
    each_in_manifest(m, count_record, &records);
    struct manifest_txn *manifest = read_manifest(m);
    for (struct set_item *i = set_first(disk); i; i = i->next)
        if (!in_manifest(manifest, (struct bytes){i->key, i->len}))
            fail_msg("the disk has %s, the manifest has not", i->key);
    manifest_abort(manifest);
    assert_int_equal(records, set_count(disk));
    check_model(m, disk);
    for (struct set_item *i = set_first(disk); i; i = i->next)
        free(i->value);
    set_free(disk);
}
