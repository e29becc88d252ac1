/* LMDB behind store.h: environment, transactions, growth of the map, and the mapping of LMDB's
 * codes. Knows nothing of what the tables hold. */
#include "tree/manifest/store.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "tree/manifest/sound.h"
#include "tree/manifest/store_files.h"

enum {
    READERS_MAX = 256,
    MAP_FIRST_MIB = 256,
    MAP_FREE_MIB = 64, /* more than any transaction of the manifest needs */
    GROW_WAIT_MS = 1000,
    CHECK_SECONDS = 120,
    FREE_LIST = 0,     /* LMDB's own table, always of this number */
    LEAVES_MAX = 2048, /* no page has as many */
};

static const char *const table_names[STORE_TABLES] = {"info", "entries", "dirs", "journal"};

struct store {
    MDB_env *env;
    MDB_dbi tables[STORE_TABLES];
    int lock; /* held as long as the environment is open */
    char *dir;
    atomic_bool damaged;
    pthread_mutex_t writer;  /* held by the write transaction */
    pthread_rwlock_t growth; /* read: by every transaction; write: while the map is replaced */
};

struct store_txn {
    struct store *store;
    MDB_txn *txn;
    bool write;
    MDB_cursor *cursors[STORE_TABLES]; /* of store_seek and store_next */
    MDB_cursor *points[STORE_TABLES];  /* writing: where the last key was looked for or put */
};

static bool rc_is_damage(int rc)
{
    return rc == MDB_INVALID || rc == MDB_CORRUPTED || rc == MDB_PANIC ||
           rc == MDB_VERSION_MISMATCH || rc == MDB_PAGE_NOTFOUND || rc == MDB_INCOMPATIBLE;
}

static int fail(struct store *s, int rc, const char *what, struct err *err)
{
    if (rc_is_damage(rc))
        store_mark_damaged(s);
    if (rc > 0)
        return err_sys(err, rc, "manifest in %s: %s", s->dir, what);
    enum err_code code = rc == MDB_MAP_FULL || rc == MDB_READERS_FULL || rc == MDB_MAP_RESIZED
                             ? ERR_TEMPORARY
                             : ERR_FAILED;
    return err_set(err, code, "manifest in %s: %s: %s", s->dir, what, mdb_strerror(rc));
}

void store_mark_damaged(struct store *s)
{
    atomic_store(&s->damaged, true);
}

static int open_tables(struct store *s)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->env, NULL, 0, &txn);
    if (rc != 0)
        return rc;
    for (int i = 0; i < STORE_TABLES && rc == 0; i++)
        rc = mdb_dbi_open(txn, table_names[i], MDB_CREATE, &s->tables[i]);
    if (rc == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return rc;
}

/* LMDB reads through a map of the file: where the file ends too soon that is a SIGBUS. */
static bool is_cut_off(struct store *s)
{
    MDB_envinfo info;
    MDB_stat st;
    struct stat file;
    mdb_filehandle_t fd;
    if (mdb_env_info(s->env, &info) != 0 || mdb_env_stat(s->env, &st) != 0 ||
        mdb_env_get_fd(s->env, &fd) != 0 || fstat(fd, &file) != 0)
        return true;
    return (uint64_t)file.st_size < (uint64_t)(info.me_last_pgno + 1) * st.ms_psize;
}

/* An LMDB code. */
static int open_environment(struct store *s)
{
    int dead;
    int rc = mdb_env_create(&s->env);
    if (rc != 0)
        return rc;
    if ((rc = mdb_env_set_maxdbs(s->env, STORE_TABLES)) != 0 ||
        (rc = mdb_env_set_maxreaders(s->env, READERS_MAX)) != 0 ||
        (rc = mdb_env_set_mapsize(s->env, (size_t)MAP_FIRST_MIB << 20)) != 0)
        return rc;
    /* A cache needs no fsync; NOTLS ties read transactions to themselves, not to threads. */
    rc =
        mdb_env_open(s->env, s->dir, MDB_NOSYNC | MDB_NOMETASYNC | MDB_NOTLS | MDB_NORDAHEAD, 0600);
    if (rc == 0 && is_cut_off(s))
        return MDB_CORRUPTED;
    if (rc == 0)
        rc = mdb_reader_check(s->env, &dead);
    return rc == 0 ? open_tables(s) : rc;
}

/* All of one table, to the last byte of each value. An LMDB code. */
static int read_table(MDB_txn *txn, MDB_dbi table, size_t most)
{
    MDB_cursor *cursor;
    MDB_val k, v;
    int rc = mdb_cursor_open(txn, table, &cursor);
    for (size_t n = 0; rc == 0 && n < most; n++) {
        rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
        if (rc == 0 && v.mv_size > 0)
            (void)*((volatile const char *)v.mv_data + v.mv_size - 1);
    }
    return rc == MDB_NOTFOUND ? 0 : MDB_CORRUPTED;
}

static void end_check(MDB_env *env, const char *assertion)
{
    (void)env;
    (void)assertion;
    _exit(1);
}

static int read_everything(const char *dir)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_envinfo info;
    MDB_dbi table;
    int rc = mdb_env_create(&env);
    if (rc == 0)
        rc = mdb_env_set_assert(env, end_check);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(env, STORE_TABLES);
    if (rc == 0)
        rc = mdb_env_open(env, dir, MDB_RDONLY | MDB_NOLOCK | MDB_NORDAHEAD, 0);
    if (rc == 0)
        rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
    if (rc == 0)
        rc = mdb_env_info(env, &info);
    size_t most = rc == 0 ? (info.me_last_pgno + 1) * LEAVES_MAX : 0;
    if (rc == 0)
        rc = read_table(txn, FREE_LIST, most);
    int found = 0;
    for (int i = 0; i < STORE_TABLES && rc == 0; i++) {
        rc = mdb_dbi_open(txn, table_names[i], 0, &table);
        found += rc == 0;
        rc = rc == 0 ? read_table(txn, table, most) : rc == MDB_NOTFOUND ? 0 : rc;
    }
    /* They are made all at once. */
    return rc == 0 && found > 0 && found < STORE_TABLES ? MDB_CORRUPTED : rc;
}

/* LMDB believes what its pages say, so a damaged one can make it crash: a process of its own reads
 * all of it first. A database that is not there yet is fine, and one that nothing has happened to
 * since it was closed. */
static bool is_damaged(const char *dir)
{
    char *path CLEANUP_FREE = mem_format("%s/data.mdb", dir);
    int status = 0;
    struct stat st;
    if (stat(path, &st) != 0 || sound_is(dir))
        return false;
    pid_t pid = fork();
    if (pid == 0) {
        static const int deadly[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM};
        const struct rlimit no_core = {0};
        for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
            signal(deadly[i], SIG_DFL);
        setrlimit(RLIMIT_CORE, &no_core);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close_range(STDERR_FILENO + 1, ~0u, 0); /* what others wait for the end of */
        alarm(CHECK_SECONDS);
        _exit(rc_is_damage(read_everything(dir)) ? 1 : 0);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return pid > 0 && status != 0;
}

static void free_store(struct store *s)
{
    if (s->env)
        mdb_env_close(s->env);
    if (s->lock >= 0)
        close(s->lock);
    pthread_mutex_destroy(&s->writer);
    pthread_rwlock_destroy(&s->growth);
    free(s->dir);
    free(s);
}

int store_open(const char *dir, bool anew, struct store **out, struct err *err)
{
    struct store *s = mem_alloc(sizeof *s);
    s->dir = mem_copy_string(dir);
    pthread_mutex_init(&s->writer, NULL);
    pthread_rwlock_init(&s->growth, NULL);
    s->lock = store_lock(dir, err);
    int result = s->lock < 0 ? -1 : 0;
    if (result == 0 && anew)
        result = store_discard(dir, err);
    else if (result == 0 && (store_has_links(dir) || is_damaged(dir)))
        result = 1;
    if (result == 0) {
        int rc = open_environment(s);
        if (rc == 0) {
            *out = s;
            return 0;
        }
        result = rc_is_damage(rc) ? 1 : fail(s, rc, "open", err);
    }
    if (result == 1)
        log_warn("the manifest in %s is damaged: the cache is rebuilt", dir);
    free_store(s);
    return result;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    /* The files are removed under the lock; a failure only means that the damage is met again. */
    if (atomic_load(&s->damaged)) {
        log_warn("the manifest in %s was found damaged: the cache is rebuilt", s->dir);
        (void)store_discard(s->dir, NULL);
    }
    mdb_env_close(TAKE_PTR(s->env));
    sound_note(s->dir); /* where it was discarded there is nothing to note */
    free_store(s);
}

int store_sync(struct store *s, struct err *err)
{
    int rc = mdb_env_sync(s->env, 1);
    return rc == 0 ? 0 : fail(s, rc, "sync", err);
}

int store_set_durable(struct store *s, struct err *err)
{
    int rc = mdb_env_set_flags(s->env, MDB_NOSYNC | MDB_NOMETASYNC, 0);
    return rc == 0 ? store_sync(s, err) : fail(s, rc, "make durable", err);
}

int store_copy(struct store *s, const char *dir, struct err *err)
{
    char *path CLEANUP_FREE = mem_format("%s/data.mdb", dir);
    int fd CLEANUP_FD = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_sys(err, errno, "create %s", path);
    pthread_rwlock_rdlock(&s->growth); /* the copy is a read transaction */
    int rc = mdb_env_copyfd2(s->env, fd, MDB_CP_COMPACT);
    pthread_rwlock_unlock(&s->growth);
    if (rc != 0)
        return err_sys(err, rc > 0 ? rc : EIO, "copy the manifest to %s", path);
    return fsync(fd) < 0 ? err_sys(err, errno, "sync %s", path) : 0;
}

static int lock_growth(struct store *s)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += GROW_WAIT_MS / 1000;
    return pthread_rwlock_timedwrlock(&s->growth, &until);
}

/* Doubles the map when less than half of it (or MAP_FREE_MIB) is untouched. LMDB asks that no
 * transaction is open then; where readers do not end in time, what is left must do. */
static int grow_if_needed(struct store *s, struct err *err)
{
    MDB_envinfo info;
    MDB_stat st;
    mdb_env_info(s->env, &info);
    mdb_env_stat(s->env, &st);
    size_t used = (info.me_last_pgno + 1) * (size_t)st.ms_psize;
    size_t want = (size_t)MAP_FREE_MIB << 20;
    if (want < info.me_mapsize / 2)
        want = info.me_mapsize / 2;
    if (used + want <= info.me_mapsize || lock_growth(s) != 0)
        return 0;
    size_t size = info.me_mapsize * 2;
    while (size < used + want)
        size *= 2;
    int rc = mdb_env_set_mapsize(s->env, size);
    pthread_rwlock_unlock(&s->growth);
    return rc == 0 ? 0 : fail(s, rc, "grow", err);
}

static void release(struct store *s, bool write)
{
    pthread_rwlock_unlock(&s->growth);
    if (write)
        pthread_mutex_unlock(&s->writer);
}

int store_begin(struct store *s, bool write, struct store_txn **out, struct err *err)
{
    MDB_txn *txn;
    if (write) {
        pthread_mutex_lock(&s->writer);
        if (grow_if_needed(s, err) != 0) {
            pthread_mutex_unlock(&s->writer);
            return -1;
        }
    }
    pthread_rwlock_rdlock(&s->growth);
    int rc = mdb_txn_begin(s->env, NULL, write ? 0 : MDB_RDONLY, &txn);
    if (rc != 0) {
        release(s, write);
        return fail(s, rc, "begin", err);
    }
    struct store_txn *t = mem_alloc(sizeof *t);
    *t = (struct store_txn){.store = s, .txn = txn, .write = write};
    *out = t;
    return 0;
}

static void close_cursors(struct store_txn *t)
{
    for (int i = 0; i < STORE_TABLES; i++) {
        if (t->cursors[i])
            mdb_cursor_close(t->cursors[i]);
        if (t->points[i])
            mdb_cursor_close(t->points[i]);
    }
}

int store_commit(struct store_txn *t, struct err *err)
{
    struct store *s = t->store;
    close_cursors(t);
    FAULT("commit-begins");
    int rc = mdb_txn_commit(t->txn);
    FAULT("committed");
    release(s, t->write);
    free(t);
    return rc == 0 ? 0 : fail(s, rc, "commit", err);
}

void store_abort(struct store_txn *t)
{
    if (!t)
        return;
    close_cursors(t);
    mdb_txn_abort(t->txn);
    release(t->store, t->write);
    free(t);
}

static MDB_val val_of(struct bytes b)
{
    return (MDB_val){b.len, (void *)b.data};
}

static struct bytes bytes_of_val(MDB_val v)
{
    return (struct bytes){v.mv_data, v.mv_size};
}

/* An LMDB code. What is written comes in order, mostly: a cursor that stands on the page already
 * does not come down to it from the root again. */
static int point(struct store_txn *t, enum store_table table, MDB_cursor **out)
{
    int rc = 0;
    if (!t->points[table])
        rc = mdb_cursor_open(t->txn, t->store->tables[table], &t->points[table]);
    *out = t->points[table];
    return rc;
}

int store_get(struct store_txn *t, enum store_table table, struct bytes key, struct bytes *value,
    struct err *err)
{
    MDB_val k = val_of(key), v;
    MDB_cursor *at;
    int rc = t->write ? point(t, table, &at) : 0;
    if (rc == 0)
        rc = t->write ? mdb_cursor_get(at, &k, &v, MDB_SET)
                      : mdb_get(t->txn, t->store->tables[table], &k, &v);
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc != 0)
        return fail(t->store, rc, "read", err);
    *value = bytes_of_val(v);
    return 1;
}

static int move_cursor(struct store_txn *t, enum store_table table, MDB_cursor_op op, MDB_val k,
    struct bytes *found, struct bytes *value, struct err *err)
{
    MDB_val v;
    int rc = 0;
    if (!t->cursors[table])
        rc = mdb_cursor_open(t->txn, t->store->tables[table], &t->cursors[table]);
    if (rc == 0)
        rc = mdb_cursor_get(t->cursors[table], &k, &v, op);
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc != 0)
        return fail(t->store, rc, "read", err);
    *found = bytes_of_val(k);
    *value = bytes_of_val(v);
    return 1;
}

int store_seek(struct store_txn *t, enum store_table table, struct bytes key, struct bytes *found,
    struct bytes *value, struct err *err)
{
    return move_cursor(t, table, MDB_SET_RANGE, val_of(key), found, value, err);
}

int store_next(struct store_txn *t, enum store_table table, struct bytes *found,
    struct bytes *value, struct err *err)
{
    return move_cursor(t, table, MDB_NEXT, (MDB_val){0}, found, value, err);
}

int store_put(struct store_txn *t, enum store_table table, struct bytes key, struct bytes value,
    struct err *err)
{
    MDB_val k = val_of(key), v = val_of(value);
    MDB_cursor *at;
    int rc = point(t, table, &at);
    if (rc == 0)
        rc = mdb_cursor_put(at, &k, &v, 0);
    return rc == 0 ? 0 : fail(t->store, rc, "write", err);
}

int store_delete(struct store_txn *t, enum store_table table, struct bytes key, struct err *err)
{
    MDB_val k = val_of(key);
    int rc = mdb_del(t->txn, t->store->tables[table], &k, NULL);
    if (rc == MDB_NOTFOUND)
        return 0;
    return rc == 0 ? 1 : fail(t->store, rc, "delete", err);
}

int store_clear(struct store_txn *t, enum store_table table, struct err *err)
{
    int rc = mdb_drop(t->txn, t->store->tables[table], 0);
    return rc == 0 ? 0 : fail(t->store, rc, "clear", err);
}
