/* What the receiver's parent does for a child that may have been taken over: no more than it says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off: cmocka.h needs the four above */
#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "secondary/confine/asks.h"
#include "secondary/confine/child.h"
#include "secondary/confine/grounds.h"
#include "secondary/confine/outside.h"
#include "secondary/confine/parent.h"
#include "secondary/hook/hook.h"
#include "secondary/site/marker.h"
#include "tree/state/epochs.h"
#include "tree/state/state.h"

static char *dir, *root;
static int descriptors; /* that come at once */
static struct receive_fence fence;
static struct receive_options options;

static int setup(void **state)
{
    char name[] = "/dev/shm/mirrord-outside-XXXXXX";
    struct err err;
    (void)state;
    dir = mem_copy_string(mkdtemp(name));
    root = mem_format("%s/root", dir);
    options = (struct receive_options){
        .fence = &fence, .state_dir = mem_format("%s/state", dir), .host = "here"};
    return receive_fence_root(root, &fence, &err);
}

static int teardown(void **state)
{
    char *command CLEANUP_FREE = mem_format("rm -rf %s", dir);
    (void)state;
    int bad = system(command);
    receive_fence_free(&fence);
    free((char *)options.state_dir);
    free(root);
    free(dir);
    return bad;
}

/* The parent's end in this process, a child's questions in another one: its exit code. */
static int ask_from_a_child(int (*ask)(const struct outside *parent, int socket), struct err *err)
{
    int sockets[2];
    struct sandbox *box = sandbox_new();
    struct outside_direct direct = {
        .options = &options, .grounds = grounds_prepare(&options, box), .names = names_new(NULL)};
    struct outside outside = outside_direct(&direct);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(sockets[0]);
        struct outside parent = child_outside(&sockets[1]);
        int result = ask(&parent, sockets[1]);
        struct err why;
        err_set(&why, ERR_FAILED, "%d", result);
        child_report(sockets[1], result ? -1 : 0, &why);
        _exit(0);
    }
    close(sockets[1]);
    int result = parent_serve(sockets[0], pid, &outside, -1, err);
    close(sockets[0]);
    grounds_free(direct.grounds);
    names_free(direct.names);
    sandbox_free(box);
    return result;
}

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return __LINE__;                                                                       \
    } while (0)

static int run(int (*ask)(const struct outside *parent, int socket))
{
    struct err err = {0};
    int result = ask_from_a_child(ask, &err);
    if (result < 0)
        fail_msg("line %s", err.text);
    return result;
}

/* --- links and directories --- */

static const struct timespec stamp = {1000000000, 5};

static int set_links(const struct outside *o, int socket)
{
    struct stat st;
    (void)socket;
    int fd = open(dir, O_RDONLY | O_DIRECTORY);
    CHECK(symlinkat("target", fd, "link") == 0 && mkdirat(fd, "sub", 0) == 0);
    CHECK(close(openat(fd, "file", O_WRONLY | O_CREAT, 0600)) == 0);
    CHECK(o->set_link(o->ctx, fd, "link", (uid_t)-1, (gid_t)-1, &stamp) == 0);
    CHECK(fstatat(fd, "link", &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_mtim.tv_sec == stamp.tv_sec &&
          st.st_mtim.tv_nsec == stamp.tv_nsec);
    CHECK(o->loosen(o->ctx, fd, "sub") == 0);
    CHECK(fstatat(fd, "sub", &st, 0) == 0 && (st.st_mode & 07777) == 0700);
    return 0;
}

static void links_and_closed_directories(void **state)
{
    (void)state;
    run(set_links);
}

static int set_other_things(const struct outside *o, int socket)
{
    static const char *const names[] = {"file", "sub", "none", "", ".", "..", "sub/link", "/etc"};
    (void)socket;
    int fd = open(dir, O_RDONLY | O_DIRECTORY), named = open(dir, O_PATH | O_DIRECTORY);
    CHECK(mkdirat(fd, "sub", 0700) == 0 && symlinkat("target", fd, "sub/link") == 0);
    CHECK(close(openat(fd, "file", O_WRONLY | O_CREAT, 0600)) == 0);
    CHECK(symlinkat("target", fd, "link") == 0 && symlinkat("sub", fd, "way") == 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        CHECK(o->set_link(o->ctx, fd, names[i], 1, 1, &stamp) == -1);
    CHECK(o->set_link(o->ctx, named, "link", 1, 1, &stamp) == -1 && errno == EINVAL);
    CHECK(o->set_link(o->ctx, -1, "link", 1, 1, &stamp) == -1);
    CHECK(o->loosen(o->ctx, fd, "file") == -1 && o->loosen(o->ctx, fd, "way") == -1);
    CHECK(o->loosen(o->ctx, fd, "..") == -1 && o->loosen(o->ctx, named, "sub") == -1);
    return 0;
}

static void nothing_but_links_and_directories(void **state)
{
    (void)state;
    run(set_other_things);
}

/* --- places --- */

static const struct outside_site the_root = {{"", 0}, {"", 0}};

static int use_root(const struct outside *o, int socket)
{
    struct outside_place p;
    struct outside_site far = {{"", 0}, bytes_of("/etc")};
    struct err err;
    struct stat st;
    (void)socket;
    CHECK(o->place(o->ctx, &far, false, &p, &err) == -1 && err.code == ERR_REFUSED);
    CHECK(o->make(o->ctx, &far, false, &err) == -1 && o->make(o->ctx, &far, true, &err) == -1);
    CHECK(o->place(o->ctx, &the_root, false, &p, &err) == 0 && !p.barred &&
          strcmp(p.root, root) == 0);
    char *stage CLEANUP_FREE = mem_format("%s/%s", dir, p.stage);
    CHECK(p.stage[0] && stat(stage, &st) == 0 && (st.st_mode & 07777) == 0700);
    CHECK(o->make(o->ctx, &the_root, false, &err) == 0);
    CHECK(stat(root, &st) == 0 && (st.st_mode & 07777) == 0755);
    CHECK(o->make(o->ctx, &the_root, true, &err) == 0 && stat(root, &st) < 0);
    CHECK(o->place(o->ctx, &the_root, false, &p, &err) == 0 && !p.barred);
    CHECK(o->make(o->ctx, &the_root, false, &err) == 0 && stat(root, &st) == 0);
    char *inside CLEANUP_FREE = mem_format("%s/upload", root);
    CHECK(mkdir(inside, 0755) == 0);
    CHECK(o->make(o->ctx, &the_root, true, &err) == -1 && stat(inside, &st) == 0);
    CHECK(rmdir(inside) == 0 && rmdir(root) == 0);
    CHECK(
        o->place(o->ctx, &the_root, false, &p, &err) == 0 && p.barred); /* that inode is no more */
    CHECK(mkdir(root, 0755) == 0);
    CHECK(o->place(o->ctx, &the_root, false, &p, &err) == 0 && p.barred); /* another one */
    return 0;
}

/* As a glob has it: dir/fixed/NAME/in. */
static int resolve_in_glob(
    void *ctx, struct bytes name, struct bytes asked, struct receive_grant *out, struct err *err)
{
    (void)ctx;
    (void)asked;
    (void)err;
    *out = (struct receive_grant){.fixed = strlen(dir) + strlen("/fixed")};
    out->root = mem_format("%s/fixed/%.*s/in/deep", dir, (int)name.len, (const char *)name.data);
    return 0;
}

static bool place_makes(const struct outside *o, const char *name, bool make, const char *made)
{
    const struct outside_site s = {bytes_of(name), {"", 0}};
    struct outside_place p;
    struct err err;
    char *path CLEANUP_FREE = mem_format("%s/%s", dir, made);
    bool placed = o->place(o->ctx, &s, make, &p, &err) == 0;
    free(p.root);
    return placed && access(path, F_OK) == 0;
}

static bool has_way(const struct outside *o, const char *name)
{
    const struct outside_site s = {bytes_of(name), {"", 0}};
    struct outside_place p;
    struct err err;
    assert_int_equal(o->place(o->ctx, &s, false, &p, &err), 0);
    free(p.root);
    return !p.no_way;
}

/* Only beneath the fixed part, which is there, and never through a link. Who only looks is told
 * whether it would be. */
static void the_way_to_a_root_is_made(void **state)
{
    const struct receive_fence glob = {.resolve = resolve_in_glob};
    struct receive_options globs = {.fence = &glob, .state_dir = options.state_dir};
    struct outside_direct direct = {.options = &globs};
    struct outside o = outside_direct(&direct);
    struct stat st;
    (void)state;
    char *fixed CLEANUP_FREE = mem_format("%s/fixed", dir), *in CLEANUP_FREE = NULL,
                *link CLEANUP_FREE = mem_format("%s/link", fixed);
    assert_false(place_makes(&o, "a", true, "fixed")); /* a volume that is not mounted */
    assert_false(has_way(&o, "a"));
    assert_int_equal(mkdir(fixed, 0755), 0);
    assert_false(place_makes(&o, "a", false, "fixed/a"));
    assert_true(has_way(&o, "a"));
    assert_true(place_makes(&o, "a", true, "fixed/a/in"));
    assert_false(place_makes(&o, "a", true, "fixed/a/in/deep")); /* the root is made later */
    in = mem_format("%s/a/in", fixed);
    assert_int_equal(stat(in, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    assert_int_equal(symlink(options.state_dir, link), 0);
    assert_false(place_makes(&o, "link", true, "fixed/link/in"));
    /* What was filled before is not made again. */
    char *root_b CLEANUP_FREE = mem_format("%s/b/in/deep", fixed);
    struct err err;
    int filled CLEANUP_FD = state_make_dir(options.state_dir, root_b, &err);
    int marker CLEANUP_FD = openat(filled, MARKER_FILE, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(marker >= 0);
    assert_false(place_makes(&o, "b", true, "fixed/b"));
    assert_false(has_way(&o, "b"));
    assert_true(has_way(&o, "a"));
}

static unsigned count_reserved(void)
{
    char *command CLEANUP_FREE = mem_format("exit $(ls -A %s | grep -c '^.mirrord-')", dir);
    return (unsigned)WEXITSTATUS(system(command));
}

static void the_root_is_made_where_the_sandbox_has_it(void **state)
{
    (void)state;
    run(use_root);
    assert_int_equal(count_reserved(), 0);
}

static void what_a_killed_receiver_made_ready_goes(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            grounds_prepare(&options, sandbox_new());
            _exit(0);
        }
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(count_reserved(), 2);
    }
    struct sandbox *box = sandbox_new();
    grounds_free(grounds_prepare(&options, box));
    sandbox_free(box);
    assert_int_equal(count_reserved(), 0);
}

/* In the state directory a child may write what it likes: the parent of the next one follows no
 * link there, neither to a file that it writes nor to a directory that it lets that child have. */
static void what_a_child_left_leads_nowhere(void **state)
{
    struct err err;
    struct stat st;
    (void)state;
    char *victim CLEANUP_FREE = mem_format("%s/victim", dir), *outside CLEANUP_FREE = NULL;
    assert_int_equal(close(open(victim, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)), 0);
    assert_int_equal(truncate(victim, 7), 0);
    int own CLEANUP_FD = state_make_dir(options.state_dir, root, &err);
    assert_int_equal(symlinkat(victim, own, "ready"), 0);
    assert_int_equal(symlinkat(victim, own, "ready.new"), 0);
    assert_int_equal(symlinkat(victim, own, "lock"), 0);
    struct sandbox *box = sandbox_new();
    grounds_free(grounds_prepare(&options, box));
    sandbox_free(box);
    assert_int_equal(stat(victim, &st), 0);
    assert_int_equal(st.st_size, 7);
    struct state *s = NULL;
    struct digest nobody = {0};
    assert_int_equal(state_open(options.state_dir, root, &nobody, 0, &s, &err), -1);
    assert_int_equal(stat(victim, &st) || st.st_size != 7, 0);
    char *path CLEANUP_FREE = state_root_dir(options.state_dir, root);
    char *aside CLEANUP_FREE = mem_format("%s.aside", path);
    outside = mem_format("%s/outside", dir);
    assert_int_equal(rename(path, aside) | mkdir(outside, 0700) | symlink(outside, path), 0);
    assert_int_equal(state_make_dir(options.state_dir, root, &err), -1);
    assert_int_equal(state_open_dir(options.state_dir, root, &err), -1);
    assert_int_equal(state_open(options.state_dir, root, &nobody, 0, &s, &err), -1);
}

/* Where all beneath a directory may be asked for, its links are whoever's. */
static int lead_out(const struct outside *o, int socket)
{
    struct outside_site s = {{"", 0}, {NULL, 0}}, deep = s;
    struct epoch now, e = {.counter = 9, .id = {{1}}, .primary = "web1"};
    struct outside_place p;
    struct err err;
    struct stat st;
    (void)socket;
    char *other CLEANUP_FREE = mem_format("%s/other", dir);
    char *way CLEANUP_FREE = mem_format("%s/way", root),
              *in CLEANUP_FREE = mem_format("%s/way/in", root);
    char *made CLEANUP_FREE = mem_format("%s/other/in", dir);
    CHECK(o->make(o->ctx, &the_root, false, &err) == 0);
    CHECK(mkdir(other, 0755) == 0 && symlink(other, way) == 0);
    s.asked = bytes_of(way);
    deep.asked = bytes_of(in);
    CHECK(o->epoch(o->ctx, &s, false, -1, &e, &now, &err) == -1 && err.code == ERR_REFUSED);
    CHECK(o->epoch(o->ctx, &s, true, -1, &e, &now, &err) == -1);
    CHECK(o->make(o->ctx, &deep, false, &err) == -1 && stat(made, &st) < 0);
    CHECK(unlink(way) == 0 && mkdir(way, 0755) == 0);
    CHECK(o->make(o->ctx, &deep, false, &err) == 0 && stat(in, &st) == 0);
    CHECK(o->place(o->ctx, &deep, false, &p, &err) == 0 && p.barred);
    CHECK(o->make(o->ctx, &deep, true, &err) == 0 && stat(in, &st) < 0);
    return 0;
}

static void links_do_not_lead_out(void **state)
{
    struct epoch now;
    struct err err;
    (void)state;
    run(lead_out);
    char *other CLEANUP_FREE = mem_format("%s/other", dir);
    assert_int_equal(epoch_of(options.state_dir, other, &now, &err), 0);
    assert_int_equal(now.counter, 0);
}

/* --- epochs and marks --- */

static int present(const struct outside *o, int socket)
{
    struct epoch now, e = {.counter = 5, .id = {{1}}, .primary = "web1"};
    struct err err;
    (void)socket;
    CHECK(mkdir(root, 0755) == 0);
    CHECK(o->epoch(o->ctx, &the_root, false, -1, &e, &now, &err) == 0);
    CHECK(now.counter == 5 && now.role == ROLE_SECONDARY && strcmp(now.primary, "web1") == 0);
    e.counter = 4;
    CHECK(o->epoch(o->ctx, &the_root, false, -1, &e, &now, &err) == 1);
    CHECK(err.code == ERR_REFUSED && now.counter == 5);
    e.counter = 5;
    CHECK(o->epoch(o->ctx, &the_root, true, -1, &e, &now, &err) == 0);
    CHECK(now.counter == 6 && now.role == ROLE_PRIMARY && strcmp(now.primary, "here") == 0);
    return 0;
}

static void epochs_only_rise(void **state)
{
    struct epoch now;
    struct err err;
    (void)state;
    run(present);
    assert_int_equal(epoch_of(options.state_dir, root, &now, &err), 0);
    assert_int_equal(now.counter, 6);
}

/* Whoever holds the lock hands it over; another file's is none. */
static int raise_locked(const struct outside *o, int socket)
{
    struct epoch now, e = {.counter = 7, .id = {{1}}};
    struct err err;
    (void)socket;
    CHECK(mkdir(root, 0755) == 0);
    CHECK(o->epoch(o->ctx, &the_root, false, -1, &e, &now, &err) == 0);
    int state = epochs_open(options.state_dir, root, false, &err);
    int lock = epoch_lock(state, &err), other = open(dir, O_RDONLY | O_DIRECTORY);
    CHECK(lock >= 0 && other >= 0);
    CHECK(o->epoch(o->ctx, &the_root, true, other, &e, &now, &err) == -1);
    CHECK(o->epoch(o->ctx, &the_root, true, lock, &e, &now, &err) == 0 && now.counter == 8);
    return 0;
}

/* In the child's sandbox: it reads and locks the epoch that the parent writes. */
static int writes_the_epoch(struct sandbox *box)
{
    struct err err;
    struct epoch now, forged = {.counter = 99, .id = {{1}}, .role = ROLE_PRIMARY};
    CHECK(sandbox_enter(box, SANDBOX_LANDLOCK, &(struct sandbox_alarm){0}, &err) == 0);
    int epochs = epochs_open(options.state_dir, root, false, &err);
    CHECK(epochs >= 0 && epoch_read(epochs, &now, &err) == 0 && now.counter == 3);
    int lock = epoch_lock(epochs, &err);
    CHECK(lock >= 0 && close(lock) == 0);
    CHECK(epoch_write(epochs, &forged, &err) == -1 && err.sys == EACCES);
    CHECK(unlinkat(epochs, "epoch", 0) == -1 && errno == EACCES);
    CHECK(openat(epochs, "epoch", O_WRONLY) == -1 && errno == EACCES);
    CHECK(openat(epochs, "new", O_WRONLY | O_CREAT, 0600) == -1 && errno == EACCES);
    int state = state_open_dir(options.state_dir, root, &err);
    CHECK(state >= 0 && mkdirat(state, "own", 0700) == 0);
    CHECK(renameat(state, "own", epochs, "own") == -1);
    return 0;
}

static void a_child_cannot_write_epochs(void **state)
{
    struct err err;
    struct epoch e = {.counter = 3, .id = {{1}}, .role = ROLE_SECONDARY, .primary = "web1"};
    int status = 0;
    (void)state;
    if (syscall(444 /* landlock_create_ruleset */, NULL, 0, 1) < 2)
        skip();
    assert_int_equal(mkdir(root, 0755), 0);
    int dir_fd CLEANUP_FD = epochs_open(options.state_dir, root, true, &err);
    assert_int_equal(epoch_write(dir_fd, &e, &err), 0);
    struct sandbox *box = sandbox_new();
    struct grounds *grounds = grounds_prepare(&options, box);
    pid_t pid = fork();
    if (pid == 0)
        _exit(writes_the_epoch(box) ? 1 : 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    grounds_free(grounds);
    sandbox_free(box);
}

static void the_epoch_is_raised_under_a_lock(void **state)
{
    (void)state;
    run(raise_locked);
}

static int mark(const struct outside *o, int socket)
{
    struct mark m = {.state = MARK_CLEAN, .boot = "boot"};
    struct err err;
    (void)socket;
    CHECK(o->marks.write(o->marks.ctx, "../..", &m, &err) < 0);
    CHECK(o->marks.write(o->marks.ctx, ".", &m, &err) < 0);
    CHECK(o->marks.write(o->marks.ctx, "", &m, &err) < 0);
    CHECK(o->marks.write(o->marks.ctx, "none", &m, &err) < 0 && err.sys == EINVAL);
    return 0;
}

static void marks_stay_in_the_state_directory(void **state)
{
    (void)state;
    run(mark);
}

static int look_up(const struct outside *o, int socket)
{
    unsigned id = 7;
    char name[256];
    (void)socket;
    CHECK(o->names.id_of(o->names.ctx, false, "root", &id) == 1 && id == 0);
    CHECK(o->names.name_of(o->names.ctx, true, 0, name) == 1 && strcmp(name, "root") == 0);
    CHECK(o->names.id_of(o->names.ctx, false, "nobody of this name", &id) == 0);
    return 0;
}

static void names_are_looked_up(void **state)
{
    (void)state;
    run(look_up);
}

/* --- nonsense --- */

static int send_nonsense(const struct outside *o, int socket)
{
    (void)o;
    return send(socket, "\xff\xff", 2, 0) == 2 && recv(socket, (char[8]){0}, 8, 0) > 0;
}

static size_t count_open(void)
{
    size_t n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* More descriptors than the one that may come, with a packet that is good. */
static int send_descriptors(const struct outside *o, int socket)
{
    int fds[3] = {0, 0, 0};
    struct ask q = {.kind = ASK_LOOSEN, .name = bytes_of("sub")};
    uint8_t raw[ASK_PACKET_MAX];
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof fds)];
    } room = {0};
    struct iovec part = {raw, ask_encode(&q, raw)};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &room};
    m.msg_controllen = CMSG_SPACE((size_t)descriptors * sizeof *fds);
    (void)o;
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN((size_t)descriptors * sizeof *fds);
    memcpy(CMSG_DATA(c), fds, (size_t)descriptors * sizeof *fds);
    return sendmsg(socket, &m, 0) < 0 || recv(socket, raw, sizeof raw, 0) > 0;
}

static void descriptors_do_not_pile_up(void **state)
{
    struct err err;
    (void)state;
    for (descriptors = 2; descriptors <= 3; descriptors++) {
        size_t before = count_open();
        assert_int_equal(ask_from_a_child(send_descriptors, &err), -1);
        assert_non_null(strstr(err.text, "without a word"));
        assert_int_equal(count_open(), before);
    }
}

static int refused(const struct outside *o, int socket)
{
    (void)o;
    child_refused(socket, SYS_execve);
    return 0;
}

static void nonsense_ends_it(void **state)
{
    struct err err;
    (void)state;
    assert_int_equal(ask_from_a_child(send_nonsense, &err), -1);
    assert_non_null(strstr(err.text, "without a word"));
}

static void a_refused_call_is_named(void **state)
{
    struct err err;
    (void)state;
    char *name CLEANUP_FREE = sandbox_call_name(SYS_execve);
    assert_int_equal(ask_from_a_child(refused, &err), -1);
    assert_non_null(strstr(err.text, "made the system call"));
    assert_non_null(strstr(err.text, name));
}

/* --- commands after a commit --- */

static bool give_hook(
    void *ctx, struct bytes name, enum receive_command which, struct receive_hook *out)
{
    (void)ctx;
    if (name.len || which != RECEIVE_ON_COMMIT)
        return false;
    *out = (struct receive_hook){mem_array(2, sizeof *out->argv), NULL, 1000};
    out->argv[0] = mem_copy_string("/bin/false");
    return true;
}

/* It says which paths of a site changed, and nothing else; nothing is run for other sites. */
static void forged_changes(void **state)
{
    struct err err;
    struct hook_state now;
    (void)state;
    assert_int_equal(mkdir(root, 0755), 0);
    int made CLEANUP_FD = state_make_dir(options.state_dir, root, &err);
    assert_true(made >= 0);
    fence.hook = give_hook;
    struct outside_direct direct = {
        .options = &options, .names = names_new(NULL), .hooks = hooks_new(options.state_dir)};
    struct outside o = outside_direct(&direct);
    struct outside_site other = {bytes_of("other"), {"", 0}};
    assert_false(o.hook(o.ctx, &the_root, (struct bytes){"+../etc/passwd", 15}));
    assert_false(o.hook(o.ctx, &the_root, (struct bytes){"+open end", 9}));
    assert_false(hooks_pending(direct.hooks));
    assert_true(o.hook(o.ctx, &other, (struct bytes){"+a", 3}));
    assert_false(hooks_pending(direct.hooks));
    assert_true(o.hook(o.ctx, &the_root, (struct bytes){"+a", 3}));
    assert_int_equal(o.hook_state(o.ctx, &the_root, false, &now), 0);
    assert_true(now.pending && now.failing.count == 0);
    hooks_free(direct.hooks);
    names_free(direct.names);
}

static int looks_at_the_root(const struct outside *o, int socket)
{
    char *aside CLEANUP_FREE = mem_format("%s.aside", root);
    (void)socket;
    CHECK(o->in_place(o->ctx, root) == 0);
    CHECK(rename(root, aside) == 0 && o->in_place(o->ctx, root) == -1);
    CHECK(mkdir(root, 0755) == 0 && o->in_place(o->ctx, root) == -1);
    CHECK(rmdir(root) == 0 && symlink(aside, root) == 0 && o->in_place(o->ctx, root) == -1);
    CHECK(unlink(root) == 0 && rename(aside, root) == 0 && o->in_place(o->ctx, root) == 0);
    CHECK(o->in_place(o->ctx, "/etc") == -1);
    return 0;
}

static void the_parent_sees_what_took_a_roots_place(void **state)
{
    (void)state;
    assert_int_equal(mkdir(root, 0755), 0);
    assert_int_equal(run(looks_at_the_root), 0);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(links_and_closed_directories),
        T(nothing_but_links_and_directories),
        T(the_way_to_a_root_is_made),
        T(the_root_is_made_where_the_sandbox_has_it),
        T(what_a_killed_receiver_made_ready_goes),
        T(what_a_child_left_leads_nowhere),
        T(links_do_not_lead_out),
        T(epochs_only_rise),
        T(the_epoch_is_raised_under_a_lock),
        T(a_child_cannot_write_epochs),
        T(marks_stay_in_the_state_directory),
        T(names_are_looked_up),
        T(nonsense_ends_it),
        T(descriptors_do_not_pile_up),
        T(a_refused_call_is_named),
        T(forged_changes),
        T(the_parent_sees_what_took_a_roots_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
