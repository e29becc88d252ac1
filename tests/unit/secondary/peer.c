/* The scripted primary; see peer.h. */
#include "peer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "stream.h"
#include "tree/content/digest.h"
#include "tree/state/state.h"

enum { PATIENCE_MS = 30000, UNIT_GRACE = 60 };

void peer_setup(struct peer *p)
{
    *p = (struct peer){.fd = -1, .id = 7, .max_delete_percent = 100};
    snprintf(p->dir, sizeof p->dir, "/dev/shm/mirrord-test-XXXXXX");
    if (!mkdtemp(p->dir)) {
        const char *tmp = getenv("TMPDIR");
        snprintf(p->dir, sizeof p->dir, "%s/mirrord-test-XXXXXX", tmp ? tmp : "/tmp");
        assert_non_null(mkdtemp(p->dir));
    }
    snprintf(p->fence, sizeof p->fence, "%s/site", p->dir);
    snprintf(p->root, sizeof p->root, "%s/site/root", p->dir);
    snprintf(p->state, sizeof p->state, "%s/state", p->dir);
    assert_int_equal(mkdir(p->fence, 0755), 0);
}

static void remove_tree(const char *dir)
{
    pid_t pid = fork();
    if (pid == 0) {
        execlp("sh", "sh", "-c", "chmod -R u+rwX \"$0\"; rm -rf \"$0\"", dir, (char *)NULL);
        _exit(1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

void peer_cleanup(struct peer *p)
{
    if (p->pid)
        peer_kill(p);
    buf_free(&p->in);
    wire_free(&p->out);
    remove_tree(p->dir);
}

int peer_make(void **state)
{
    struct peer *p = mem_alloc(sizeof *p);
    peer_setup(p);
    *state = p;
    return 0;
}

int peer_unmake(void **state)
{
    peer_cleanup(*state);
    free(*state);
    return 0;
}

/* The fence of a root, and what a configuration would say beside it. */
struct gatekeeper {
    struct receive_fence root;
    const struct peer *p;
};

static int resolve(
    void *ctx, struct bytes name, struct bytes asked, struct receive_grant *out, struct err *err)
{
    const struct gatekeeper *g = ctx;
    if (g->root.resolve(g->root.ctx, name, asked, out, err) < 0)
        return -1;
    out->policy = g->p->policy;
    out->excludes = g->p->excludes;
    return 0;
}

static void each(void *ctx, void (*root)(void *to, const char *path, bool beneath), void *to)
{
    const struct gatekeeper *g = ctx;
    g->root.each(g->root.ctx, root, to);
}

static int reload(void *ctx, struct err *err)
{
    const struct gatekeeper *g = ctx;
    return g->p->reload_error ? err_set(err, ERR_USAGE, "%s", g->p->reload_error) : 0;
}

static bool hook(void *ctx, struct bytes name, enum receive_command which, struct receive_hook *out)
{
    const struct peer *p = ((struct gatekeeper *)ctx)->p;
    const char *command = which == RECEIVE_ON_SWITCH ? p->on_switch : p->on_commit;
    (void)name;
    if (!command)
        return false;
    *out = (struct receive_hook){mem_array(2, sizeof *out->argv), NULL, 60000};
    out->argv[0] = mem_format("%s/%s", p->dir, command);
    out->user = geteuid() == 0 ? mem_copy_string("root") : NULL;
    return true;
}

void peer_command(struct peer *p, bool on_switch, const char *body)
{
    const char *name = on_switch ? "on-switch" : "on-commit";
    char *path CLEANUP_FREE = mem_format("%s/%s", p->dir, name);
    char *text CLEANUP_FREE = mem_format("#!/bin/sh\ncd %s\n%s\n", p->dir, body);
    int fd CLEANUP_FD = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
    assert_int_equal(io_write_full(fd, text, strlen(text)), 0);
    *(on_switch ? &p->on_switch : &p->on_commit) = name;
    *(on_switch ? &p->policy.on_switch : &p->policy.hook) = true;
}

/* As the receiver before left it: one of `--root DIR` has the states of roots beneath that were
 * asked for before it began. */
static int know_root(const struct peer *p, struct err *err)
{
    int dir CLEANUP_FD = state_make_dir(p->state, p->root, err);
    return dir < 0 ? -1 : io_replace(dir, STATE_PATH_FILE, p->root, strlen(p->root), err);
}

static void serve(struct peer *p, int fd)
{
    struct gatekeeper keeper = {.p = p};
    const struct receive_fence fence = {
        .resolve = resolve, .each = each, .reload = reload, .hook = hook, .ctx = &keeper};
    struct err err;
    if (p->as_nobody && (setgid(PEER_NOBODY) < 0 || setuid(PEER_NOBODY) < 0))
        _exit(2);
    if (know_root(p, &err) < 0 || receive_fence_root(p->fence, &keeper.root, &err) < 0)
        _exit(2);
    struct receive_options o = {
        .keepalive_ms = 15000,
        .fence = &fence,
        .state_dir = p->state,
        .host = "testhost",
        .in = fd,
        .out = fd,
        .look_every_s = p->look_every_s,
        .reread_every_s = p->reread_every_s,
        .scan_rate = p->reread_every_s ? 1 << 30 : 0,
    };
    int result = receive_run(&o, &err);
    receive_fence_free(&keeper.root);
    _exit(result < 0 ? 1 : 0);
}

void peer_start(struct peer *p)
{
    int fds[2];
    assert_int_equal(stream_pair(fds), 0);
    buf_clear(&p->in);
    wire_reset(&p->out);
    p->taken = 0;
    p->batch = p->atom = 0;
    p->pid = fork();
    assert_true(p->pid >= 0);
    if (p->pid == 0) {
        close(fds[0]);
        serve(p, fds[1]);
    }
    close(fds[1]);
    p->fd = fds[0];
}

static int reap(struct peer *p)
{
    int status = 0;
    if (p->fd >= 0)
        close(TAKE_FD(p->fd));
    assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
    p->pid = 0;
    return status;
}

void peer_drop_root(struct peer *p)
{
    if (geteuid() != 0)
        return;
    assert_int_equal(mkdir(p->state, 0700), 0);
    assert_int_equal(chown(p->dir, PEER_NOBODY, PEER_NOBODY), 0);
    assert_int_equal(chown(p->fence, PEER_NOBODY, PEER_NOBODY), 0);
    assert_int_equal(chown(p->state, PEER_NOBODY, PEER_NOBODY), 0);
    p->as_nobody = true;
}

void peer_kill(struct peer *p)
{
    kill(p->pid, SIGKILL); /* its child dies with it */
    /* The stream ends when the child is gone, too. */
    char rest[4096];
    while (p->fd >= 0 && read(p->fd, rest, sizeof rest) > 0)
        continue;
    reap(p);
}

int peer_wait(struct peer *p)
{
    int status = reap(p);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

void peer_send(struct peer *p)
{
    assert_false(p->out.bad);
    assert_int_equal(io_write_full(p->fd, p->out.data, p->out.len), 0);
    wire_reset(&p->out);
}

/* 1 a frame, 0 the end of the stream. */
static int next_frame(struct peer *p, struct frame *f)
{
    buf_drain(&p->in, p->taken);
    p->taken = 0;
    for (;;) {
        int n = frame_next(buf_bytes(&p->in), buf_len(&p->in), f);
        assert_true(n >= 0);
        if (n > 0) {
            p->taken = (size_t)n;
            return 1;
        }
        struct pollfd poll_fd = {.fd = p->fd, .events = POLLIN};
        assert_int_equal(poll(&poll_fd, 1, PATIENCE_MS), 1);
        ssize_t got = read(p->fd, buf_room(&p->in, 65536), 65536);
        if (got <= 0)
            return 0;
        buf_fill(&p->in, (size_t)got);
    }
}

/* What the test does not ask for is counted. */
static bool note_drift(struct peer *p, const struct frame *f)
{
    struct msg_drift m;
    assert_true(msg_get_drift(f->payload, &m));
    p->drifts += m.kind != DRIFT_TIMES;
    return true;
}

struct bytes peer_expect(struct peer *p, uint8_t type)
{
    struct frame f = {0};
    do {
        assert_int_equal(next_frame(p, &f), 1);
        if (f.type == MSG_TRASH)
            assert_true(msg_get_trash(f.payload, &p->trash));
    } while (f.type == MSG_PROGRESS || (f.type == MSG_SPACE && type != MSG_SPACE) ||
             (f.type == MSG_PROVING && type != MSG_PROVING) ||
             (f.type == MSG_TRASH && type != MSG_TRASH) ||
             (f.type == MSG_DRIFT && type != MSG_DRIFT && note_drift(p, &f)));
    if (f.type != type && f.type == MSG_ERROR) {
        struct msg_error e;
        assert_true(msg_get_error(f.payload, &e));
        print_error("ERROR %u: %.*s\n", e.reason, (int)e.text.len, (const char *)e.text.data);
    }
    if (f.type != type && f.type == MSG_SITE_ERROR) {
        struct msg_site_error e;
        assert_true(msg_get_site_error(f.payload, &e));
        print_error("SITE_ERROR %u: %.*s\n", e.reason, (int)e.text.len, (const char *)e.text.data);
    }
    assert_string_equal(msg_name(f.type), msg_name(type));
    return f.payload;
}

void peer_expect_error(struct peer *p, uint16_t reason)
{
    struct msg_error m;
    struct frame f;
    assert_true(msg_get_error(peer_expect(p, MSG_ERROR), &m));
    assert_string_equal(msg_reason_name(m.reason), msg_reason_name(reason));
    assert_true(m.text.len > 0);
    assert_int_equal(next_frame(p, &f), 0);
    assert_int_equal(peer_wait(p), 1);
}

void peer_end(struct peer *p)
{
    struct frame f;
    msg_put_bye(&p->out);
    peer_send(p);
    while (next_frame(p, &f))
        assert_true(f.type == MSG_TRASH || f.type == MSG_SPACE || f.type == MSG_PROVING);
    assert_int_equal(peer_wait(p), 0);
}

void peer_hello(struct peer *p)
{
    uint16_t version = p->version ? p->version : MSG_VERSION;
    struct msg_hello m = {.magic = MSG_MAGIC,
        .oldest = MSG_VERSION_OLDEST,
        .newest = version,
        .session = 42,
        .host_id = {{p->id}},
        .software = bytes_of("test"),
        .host = bytes_of("primary")};
    msg_put_hello(&p->out, &m);
    peer_send(p);
    assert_true(msg_get_hello(peer_expect(p, MSG_HELLO), &m));
    assert_int_equal(m.magic, MSG_MAGIC);
    assert_int_equal(m.session, 42);
    assert_int_equal(m.newest, version);
    assert_int_equal(m.oldest, version);
}

void peer_send_open(struct peer *p, uint32_t site, const char *root)
{
    struct msg_open *m = mem_alloc(sizeof *m);
    m->site = site;
    m->root = bytes_of(root);
    m->flags = p->open_flags;
    m->session = p->session;
    m->epoch = p->epoch;
    m->epoch_id.b[0] = (uint8_t)(p->epoch ? p->id : 0);
    m->known = p->known;
    m->max_delete_percent = p->max_delete_percent;
    m->max_delete_count = p->max_delete_count;
    m->keep_days = p->keep_days;
    m->unit_grace = p->unit_grace < 0    ? 0
                    : p->unit_grace == 0 ? UNIT_GRACE
                                         : (uint32_t)p->unit_grace;
    if (p->exclude)
        m->rules[m->rule_count++].pattern = bytes_of(p->exclude);
    msg_put_open(&p->out, m);
    free(m);
    peer_send(p);
}

struct msg_opened peer_open(struct peer *p)
{
    struct msg_opened m;
    peer_start(p);
    peer_hello(p);
    peer_send_open(p, 1, p->root);
    assert_true(msg_get_opened(peer_expect(p, MSG_OPENED), &m));
    assert_int_equal(m.site, 1);
    return m;
}

uint32_t peer_batch(struct peer *p)
{
    msg_put_begin(&p->out, &(struct msg_begin){++p->batch, 1});
    return p->batch;
}

static uint32_t send_entry(struct peer *p, struct msg_entry *m, const char *path)
{
    m->batch = p->batch;
    m->atom = ++p->atom;
    m->path = bytes_of(path);
    msg_put_entry(&p->out, m);
    if (p->out.len > 65536)
        peer_send(p);
    return p->atom;
}

uint32_t peer_put(struct peer *p, const char *path, const struct entry *e, const void *content)
{
    struct msg_entry m = {.how = e->type == ENTRY_FILE ? HOW_INLINE : HOW_META, .entry = *e};
    if (e->type == ENTRY_FILE)
        m.content = (struct bytes){content, e->size};
    return send_entry(p, &m, path);
}

uint32_t peer_entry(
    struct peer *p, const char *path, const struct entry *e, uint8_t how, const char *source)
{
    struct msg_entry m = {.how = how, .entry = *e, .source = bytes_of(source)};
    return send_entry(p, &m, path);
}

uint32_t peer_delete(struct peer *p, const char *path)
{
    msg_put_delete(&p->out, &(struct msg_delete){p->batch, ++p->atom, bytes_of(path)});
    return p->atom;
}

uint32_t peer_move(struct peer *p, const char *from, const char *to)
{
    msg_put_move(&p->out, &(struct msg_move){p->batch, ++p->atom, bytes_of(from), bytes_of(to)});
    return p->atom;
}

uint32_t peer_unit(struct peer *p, const char *path)
{
    msg_put_unit(&p->out, &(struct msg_unit){p->batch, ++p->atom, bytes_of(path)});
    return p->atom;
}

void peer_drop(struct peer *p)
{
    msg_put_drop(&p->out, &(struct msg_drop){p->batch});
    peer_send(p);
}

void peer_data(struct peer *p, uint32_t atom, uint8_t kind, const void *data, size_t n)
{
    msg_put_data(&p->out, &(struct msg_data){.atom = atom, .kind = kind, .content = {data, n}});
    peer_send(p);
}

void peer_finish(struct peer *p, uint32_t atom, const struct entry *e)
{
    msg_put_finish(&p->out, &(struct msg_finish){atom, e->digest, e->size});
}

void peer_send_commit(struct peer *p)
{
    msg_put_commit(&p->out, &(struct msg_commit){p->batch});
    peer_send(p);
}

void peer_await_ack(struct peer *p, struct ack *out)
{
    struct msg_ack *m = mem_alloc(sizeof *m);
    *out = (struct ack){0};
    do {
        assert_true(msg_get_ack(peer_expect(p, MSG_ACK), m));
        assert_int_equal(m->batch, p->batch);
        out->flags = m->flags;
        for (size_t i = 0; i < m->count; i++) {
            assert_true(out->failures < PEER_FAILURES);
            out->atoms[out->failures] = m->failures[i].atom;
            out->reasons[out->failures++] = m->failures[i].reason;
            snprintf(out->text, sizeof out->text, "%.*s", (int)m->failures[i].text.len,
                (const char *)m->failures[i].text.data);
        }
    } while (!m->last);
    free(m);
}

void peer_commit(struct peer *p, struct ack *out)
{
    peer_send_commit(p);
    peer_await_ack(p, out);
}

void peer_commit_all(struct peer *p)
{
    struct ack *ack = mem_alloc(sizeof *ack);
    peer_commit(p, ack);
    if (ack->failures)
        print_error("atom %u: %s\n", ack->atoms[0], ack->text);
    assert_int_equal(ack->failures, 0);
    free(ack);
}

struct entry a_file(const void *content, size_t n, uint16_t mode)
{
    struct entry e = {.type = ENTRY_FILE,
        .has_digest = true,
        .mode = mode,
        .mtime = PEER_TIME,
        .mtime_nsec = 123456789,
        .size = n};
    digest_of(content, n, &e.digest);
    return e;
}

struct entry a_dir(uint16_t mode)
{
    return (struct entry){
        .type = ENTRY_DIR, .mode = mode, .mtime = PEER_TIME + 1, .mtime_nsec = 987654321};
}

struct entry a_link(const char *target)
{
    return (struct entry){
        .type = ENTRY_LINK, .mtime = PEER_TIME + 2, .mtime_nsec = 5, .target = bytes_of(target)};
}

char *on_root(struct peer *p, const char *path)
{
    static char names[4][8192];
    static unsigned turn;
    char *name = names[turn++ % 4];
    snprintf(name, sizeof names[0], "%s%s%s", p->root, *path ? "/" : "", path);
    return name;
}

void write_file(struct peer *p, const char *path, const void *content)
{
    int fd = open(on_root(p, path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(io_write_full(fd, content, strlen(content)), 0);
    assert_int_equal(close(fd), 0);
}

static void assert_times(const struct stat *st, const struct entry *e)
{
    assert_int_equal(st->st_mtim.tv_sec, e->mtime);
    assert_int_equal(st->st_mtim.tv_nsec, e->mtime_nsec);
    if (e->type != ENTRY_LINK)
        assert_int_equal(st->st_mode & 07777, e->mode);
}

void assert_file(struct peer *p, const char *path, const void *content, const struct entry *e)
{
    struct stat st;
    int fd = open(on_root(p, path), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        print_error("%s: %s\n", path, strerror(errno));
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_int_equal(st.st_size, e->size);
    char *read_back = mem_alloc(e->size + 1);
    assert_int_equal(io_pread_full(fd, read_back, e->size, 0), e->size);
    if (e->size)
        assert_memory_equal(read_back, content, e->size);
    free(read_back);
    close(fd);
    assert_times(&st, e);
}

void assert_dir(struct peer *p, const char *path, const struct entry *e)
{
    struct stat st;
    assert_int_equal(lstat(on_root(p, path), &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_times(&st, e);
}

void assert_link(struct peer *p, const char *path, const struct entry *e)
{
    char target[PATH_TARGET_MAX + 1];
    struct stat st;
    assert_int_equal(lstat(on_root(p, path), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    ssize_t n = readlink(on_root(p, path), target, sizeof target);
    assert_int_equal(n, e->target.len);
    assert_memory_equal(target, e->target.data, e->target.len);
    assert_times(&st, e);
}

void assert_absent(struct peer *p, const char *path)
{
    struct stat st;
    assert_int_equal(lstat(on_root(p, path), &st), -1);
    assert_true(errno == ENOENT || errno == ENOTDIR);
}

/* The stage's path; false where there is none. */
static bool find_stage(struct peer *p, char out[1024])
{
    const char *places[] = {p->fence, p->root};
    for (size_t i = 0; i < 2; i++) {
        DIR *dir = opendir(places[i]);
        const struct dirent *e;
        bool found = false;
        while (dir && !found && (e = readdir(dir)) != NULL)
            if (path_is_reserved(bytes_of(e->d_name))) {
                snprintf(out, 1024, "%s/%s", places[i], e->d_name);
                found = true;
            }
        if (dir)
            closedir(dir);
        if (found)
            return true;
    }
    return false;
}

unsigned aside_count(struct peer *p, const char *place, const char *path, char item[2048])
{
    char stage[1024], trash[1100];
    unsigned count = 0;
    item[0] = '\0';
    if (!find_stage(p, stage))
        return 0;
    snprintf(trash, sizeof trash, "%s/trash/%s", stage, place);
    DIR *dir = opendir(trash);
    const struct dirent *e;
    while (dir && (e = readdir(dir)) != NULL) {
        char note[4096];
        char *text = NULL;
        size_t len;
        struct err err;
        snprintf(note, sizeof note, "%s/%s/path", trash, e->d_name);
        if (e->d_name[0] == '.' || io_slurp(AT_FDCWD, note, 65536, &text, &len, &err) != 0)
            continue;
        snprintf(note, sizeof note, "%s/%s/content", trash, e->d_name);
        struct stat st;
        if (lstat(note, &st) == 0 &&
            (!path || (len == strlen(path) + 1 && strncmp(text, path, len - 1) == 0))) {
            count++;
            snprintf(item, 2048, "%s/%s", trash, e->d_name);
        }
        free(text);
    }
    if (dir)
        closedir(dir);
    return count;
}

unsigned foreign_count(struct peer *p, const char *path)
{
    char item[2048];
    return aside_count(p, "foreign", path, item);
}

static bool is_kept(const char *name)
{
    return name[0] == 'u' && strncmp(name, "u0-", 3) != 0;
}

/* In the stage: replaced units that are kept, or else what is staged, built or dead. */
static unsigned count_stage(struct peer *p, bool kept)
{
    char stage[1024];
    unsigned count = 0;
    if (!find_stage(p, stage))
        return 0;
    DIR *dir = opendir(stage);
    const struct dirent *e;
    while (dir && (e = readdir(dir)) != NULL)
        count += kept ? is_kept(e->d_name) : strchr("ndu", e->d_name[0]) && !is_kept(e->d_name);
    if (dir)
        closedir(dir);
    return count;
}

unsigned staged_count(struct peer *p)
{
    return count_stage(p, false);
}

unsigned kept_count(struct peer *p)
{
    return count_stage(p, true);
}
