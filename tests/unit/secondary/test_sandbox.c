/*
 * Each layer of the sandbox alone: a process enters it and tries what a receiver that was taken
 * over would. What Landlock is to refuse must fail with an error, what is not on the list of system
 * calls must end the process and be told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off: cmocka.h needs the four above */
#include <cmocka.h>
/* clang-format on */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/mem.h"
#include "secondary/confine/asks.h"
#include "secondary/confine/enclosure.h"
#include "secondary/confine/child.h"
#include "secondary/confine/sandbox.h"

static char *dir, *in, *also, *out; /* allowed: in, also */

static char *at(const char *where, const char *name)
{
    return mem_format("%s/%s", where, name);
}

static void put(const char *where, const char *name)
{
    char *path CLEANUP_FREE = at(where, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    assert_true(fd >= 0 && write(fd, "#!/bin/sh\n", 10) == 10);
    close(fd);
}

static int setup(void **state)
{
    char name[] = "/dev/shm/mirrord-sandbox-XXXXXX";
    (void)state;
    dir = mem_copy_string(mkdtemp(name));
    in = at(dir, "in");
    also = at(dir, "also");
    out = at(dir, "out");
    assert_int_equal(mkdir(in, 0755) | mkdir(also, 0755) | mkdir(out, 0755), 0);
    put(in, "file");
    put(out, "file");
    return chdir(dir);
}

static int teardown(void **state)
{
    char *command CLEANUP_FREE = mem_format("rm -rf %s", dir);
    (void)state;
    int bad = chdir("/") | system(command);
    free(in);
    free(also);
    free(out);
    free(dir);
    return bad;
}

static void allow(struct sandbox *s, const char *path)
{
    int fd CLEANUP_FD = open(path, O_PATH | O_CLOEXEC);
    assert_true(fd >= 0);
    sandbox_allow(s, fd, SANDBOX_TREE);
}

/* By two ways, the second through a link; "out" is not shown. */
static void show_what_is_allowed(struct enclosure *e)
{
    char *link CLEANUP_FREE = at(dir, "way/in");
    enclosure_show(e, in);
    enclosure_link(e, link, in);
}

enum { WENT = 0, CANNOT_ENTER = 200 };

/* As systemd has it, and this machine may not. */
static void share_mounts(void)
{
    if (geteuid() == 0 && unshare(CLONE_NEWNS) == 0)
        mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL);
}

/* Runs it in these layers. What it returns is its errno, 0 where it went; -SIGNAL; the call that
 * was told of is in *told, or -1. */
static int try(unsigned layers, int (*attempt)(void), int *told)
{
    int sockets[2], status = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct err err;
        if (layers & SANDBOX_MOUNTS)
            share_mounts();
        struct sandbox *s = sandbox_new();
        const struct sandbox_alarm alarm = {child_refused, sockets[1]};
        allow(s, in);
        allow(s, also);
        if (sandbox_enclosure(s))
            show_what_is_allowed(sandbox_enclosure(s));
        if (sandbox_enter(s, layers, &alarm, &err) < 0)
            _exit(CANNOT_ENTER);
        _exit(attempt() == 0 ? WENT : errno);
    }
    close(sockets[1]);
    uint8_t raw[ASK_PACKET_MAX];
    struct ask word;
    ssize_t n = recv(sockets[0], raw, sizeof raw, 0);
    *told = n > 0 && ask_decode((struct bytes){raw, (size_t)n}, &word) && word.kind == ASK_REFUSED
                ? (int)word.number
                : -1;
    close(sockets[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int closing(int fd)
{
    if (fd >= 0)
        close(fd);
    return fd < 0 ? -1 : 0;
}

#define ATTEMPT(name, expression)                                                                  \
    static int name(void)                                                                          \
    {                                                                                              \
        return (expression);                                                                       \
    }

/* --- files --- */

ATTEMPT(reads_inside, closing(open("in/file", O_RDONLY)))
ATTEMPT(lists_inside, closing(open("in", O_RDONLY | O_DIRECTORY)))
ATTEMPT(makes_inside,
    closing(open("in/new", O_WRONLY | O_CREAT, 0600)) | mkdir("in/d", 0700) | symlink("x", "in/l"))
ATTEMPT(links_between, link("in/file", "also/file") | rename("also/file", "in/again"))
ATTEMPT(exchanges_between, mkdir("in/e", 0700) | mkdir("also/d", 0700) |
                               renameat2(AT_FDCWD, "in/e", AT_FDCWD, "also/d", RENAME_EXCHANGE))
ATTEMPT(removes_inside, unlink("in/file"))

ATTEMPT(reads_outside, closing(open("out/file", O_RDONLY)))
ATTEMPT(reads_through_a_link, symlink("../out/file", "in/way") ?: closing(open("in/way", O_RDONLY)))
ATTEMPT(climbs_out, closing(open("in/../out/file", O_RDONLY)))
ATTEMPT(reads_the_password_file, closing(open("/etc/passwd", O_RDONLY)))
ATTEMPT(lists_outside, closing(open("out", O_RDONLY | O_DIRECTORY)))
ATTEMPT(writes_outside, closing(open("out/file", O_WRONLY)))
ATTEMPT(truncates_outside, truncate("out/file", 0))
ATTEMPT(makes_outside, closing(open("out/new", O_WRONLY | O_CREAT, 0600)))
ATTEMPT(makes_a_directory_outside, mkdir("out/d", 0700))
ATTEMPT(makes_a_link_outside, symlink("x", "out/l"))
ATTEMPT(removes_outside, unlink("out/file"))
ATTEMPT(moves_out, rename("in/file", "out/moved"))
ATTEMPT(moves_in, rename("out/file", "in/moved"))
ATTEMPT(links_in, link("out/file", "in/linked"))
ATTEMPT(links_out, link("in/file", "out/linked"))
ATTEMPT(executes_inside, execl("in/file", "file", (char *)NULL))
ATTEMPT(signals_its_parent, kill(getppid(), 0))

static int connects(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(9)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&a, sizeof a);
}

static int binds(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    return bind(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&a, sizeof a);
}

/* What Landlock does not govern is not open to be changed: O_PATH changes nothing. */
static int changes_through_a_name_only(void)
{
    int fd = open("out/file", O_PATH);
    struct timespec now[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};
    if (fchmod(fd, 0777) == 0 || fchown(fd, 0, 0) == 0 || futimens(fd, now) == 0 ||
        fsetxattr(fd, "user.x", "y", 1, 0) == 0)
        return 0;
    return -1;
}

static int abi(void)
{
    return (int)syscall(444, NULL, 0, 1);
}

static void landlock_refuses_what_is_outside(void **state)
{
    static const struct {
        const char *what;
        int (*attempt)(void);
        int error, abi; /* from this one on */
    } cases[] = {
        {"reads inside", reads_inside, 0, 0},
        {"lists inside", lists_inside, 0, 0},
        {"makes inside", makes_inside, 0, 0},
        {"links between", links_between, 0, 0},
        {"exchanges between", exchanges_between, 0, 0},
        {"reads outside", reads_outside, EACCES, 0},
        {"reads through a link", reads_through_a_link, EACCES, 0},
        {"climbs out", climbs_out, EACCES, 0},
        {"/etc/passwd", reads_the_password_file, EACCES, 0},
        {"lists outside", lists_outside, EACCES, 0},
        {"writes outside", writes_outside, EACCES, 0},
        {"truncates outside", truncates_outside, EACCES, 3},
        {"makes outside", makes_outside, EACCES, 0},
        {"makes a directory outside", makes_a_directory_outside, EACCES, 0},
        {"makes a link outside", makes_a_link_outside, EACCES, 0},
        {"removes outside", removes_outside, EACCES, 0},
        {"moves out", moves_out, EACCES, 0},
        {"moves in", moves_in, EACCES, 0},
        {"links in", links_in, EXDEV, 0},
        {"links out", links_out, EACCES, 0},
        {"executes inside", executes_inside, EACCES, 0},
        {"connects", connects, EACCES, 4},
        {"binds", binds, EACCES, 4},
        {"signals its parent", signals_its_parent, EPERM, 6},
        {"changes through a name", changes_through_a_name_only, EBADF, 0},
        {"removes inside", removes_inside, 0, 0},
    };
    int told;
    (void)state;
    if (abi() < 2) {
        print_message("no Landlock here\n");
        skip();
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int got =
            abi() < cases[i].abi ? cases[i].error : try(SANDBOX_LANDLOCK, cases[i].attempt, &told);
        if (got != cases[i].error)
            fail_msg("%s: %d, expected %d", cases[i].what, got, cases[i].error);
    }
}

/* --- system calls --- */

static const struct timespec now[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};

ATTEMPT(chmods, (int)syscall(SYS_fchmodat, AT_FDCWD, "out/file", 0777))
ATTEMPT(chmods_with_flags, (int)syscall(452, AT_FDCWD, "out/file", 0777, 0))
ATTEMPT(chmods_what_is_open, (int)syscall(452, open("out/file", O_PATH), "", 0777, AT_EMPTY_PATH))
ATTEMPT(chowns, fchownat(AT_FDCWD, "out/file", 0, 0, 0))
ATTEMPT(chowns_what_is_open, fchownat(open("out/file", O_PATH), "", 0, 0, AT_EMPTY_PATH))
ATTEMPT(sets_times, utimensat(AT_FDCWD, "out/file", now, 0))
ATTEMPT(sets_times_of_what_is_open, utimensat(open("out/file", O_PATH), "", now, AT_EMPTY_PATH))
ATTEMPT(sets_attributes, setxattr("out/file", "user.x", "y", 1, 0))
ATTEMPT(sets_attributes_of_a_link, lsetxattr("out/file", "user.x", "y", 1, 0))
ATTEMPT(removes_attributes, removexattr("out/file", "user.x"))
ATTEMPT(sets_attributes_at, (int)syscall(463, AT_FDCWD, "out/file", 0, "user.x", NULL, 0))
ATTEMPT(executes, execl("/bin/true", "true", (char *)NULL))
ATTEMPT(executes_what_is_open, (int)syscall(SYS_execveat, 0, "", NULL, NULL, AT_EMPTY_PATH))
ATTEMPT(makes_a_socket, closing(socket(AF_UNIX, SOCK_STREAM, 0)))
ATTEMPT(traces, (int)ptrace(PTRACE_ATTACH, getppid(), NULL, NULL))
ATTEMPT(reads_memory, (int)process_vm_readv(getppid(), NULL, 0, NULL, 0, 0))
ATTEMPT(mounts, mount("none", "in", "tmpfs", 0, NULL))
ATTEMPT(changes_its_root, chroot("in"))
ATTEMPT(leaves_its_namespaces, unshare(CLONE_NEWUSER))
ATTEMPT(forks_a_namespace, (int)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0))
ATTEMPT(makes_a_device, mknod("in/null", S_IFCHR | 0666, makedev(1, 3)))
ATTEMPT(makes_a_fifo, mkfifo("in/fifo", 0600))
ATTEMPT(signals_others, kill(1, 0))
ATTEMPT(signals_others_by_thread, (int)syscall(SYS_tgkill, 1, 1, 0))
ATTEMPT(opens_by_handle, (int)syscall(SYS_open_by_handle_at, AT_FDCWD, NULL, 0))
ATTEMPT(makes_a_ring, (int)syscall(SYS_io_uring_setup, 1, NULL))
ATTEMPT(loads_a_program, (int)syscall(SYS_bpf, 0, NULL, 0))
/* Not by setuid(3), which asks each thread: a sanitizer has one that is not confined. */
ATTEMPT(becomes_another, (int)syscall(SYS_setuid, 65534))
ATTEMPT(limits_others, (int)syscall(SYS_prlimit64, 1, RLIMIT_CORE, NULL, NULL))
ATTEMPT(catches_the_alarm, signal(SIGSYS, SIG_IGN) == SIG_ERR ? -1 : 0)
/* The kernel takes the number from the lower half. */
ATTEMPT(catches_the_alarm_by_another_number,
    (int)syscall(SYS_rt_sigaction, UINT64_C(1) << 32 | SIGSYS, NULL, NULL, sizeof(uint64_t)))
ATTEMPT(outlives_its_parent, prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0))
ATTEMPT(names_a_process_to_signal, fcntl(0, F_SETOWN, 1))
ATTEMPT(controls_a_terminal, (int)syscall(SYS_ioctl, 0, 0x5412 /* TIOCSTI */, "x"))
ATTEMPT(executes_data,
    mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)

static void calls_that_are_not_listed_end_it(void **state)
{
    static const struct {
        int (*attempt)(void);
        int call;
    } cases[] = {
        {chmods, SYS_fchmodat},
        {chmods_with_flags, 452},
        {chmods_what_is_open, 452},
        {chowns, SYS_fchownat},
        {chowns_what_is_open, SYS_fchownat},
        {sets_times, SYS_utimensat},
        {sets_times_of_what_is_open, SYS_utimensat},
        {sets_attributes, SYS_setxattr},
        {sets_attributes_of_a_link, SYS_lsetxattr},
        {removes_attributes, SYS_removexattr},
        {sets_attributes_at, 463},
        {executes, SYS_execve},
        {executes_what_is_open, SYS_execveat},
        {makes_a_socket, SYS_socket},
        {traces, SYS_ptrace},
        {reads_memory, SYS_process_vm_readv},
        {mounts, SYS_mount},
        {changes_its_root, SYS_chroot},
        {leaves_its_namespaces, SYS_unshare},
        {forks_a_namespace, SYS_clone},
        {makes_a_device, -1},
        {makes_a_fifo, -1},
        {signals_others, SYS_kill},
        {signals_others_by_thread, SYS_tgkill},
        {opens_by_handle, SYS_open_by_handle_at},
        {makes_a_ring, SYS_io_uring_setup},
        {loads_a_program, SYS_bpf},
        {becomes_another, SYS_setuid},
        {limits_others, SYS_prlimit64},
        {catches_the_alarm, SYS_rt_sigaction},
        {catches_the_alarm_by_another_number, SYS_rt_sigaction},
        {outlives_its_parent, SYS_prctl},
        {names_a_process_to_signal, SYS_fcntl},
        {controls_a_terminal, SYS_ioctl},
        {executes_data, SYS_mmap},
    };
    (void)state;
    if (!syscalls_known())
        skip();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int told;
        int got = try(SANDBOX_CALLS, cases[i].attempt, &told);
        if (got != 1 || told < 0 || (cases[i].call >= 0 && told != cases[i].call))
            fail_msg("call %d: ended with %d, told of %d", cases[i].call, got, told);
    }
}

static int does_its_work(void)
{
    char *file CLEANUP_FREE = at(in, "file"), *again CLEANUP_FREE = at(in, "again");
    int fd = open(file, O_RDWR);
    struct stat st;
    char *data = malloc(1 << 20);
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    if (fd < 0 || fchmod(fd, 0640) || fchown(fd, getuid(), getgid()) || futimens(fd, now) ||
        fstat(fd, &st) || !data || fdatasync(fd) || flock(fd, LOCK_SH) || rename(file, again) ||
        waitpid(pid, NULL, 0) != pid)
        return -1;
    errno = 0;
    bool older = syscall(SYS_clone3, NULL, 0) == -1 && errno == ENOSYS;
    bool signals = signal(SIGTERM, SIG_IGN) != SIG_ERR &&
                   signal(SIGRTMAX - 1, SIG_IGN) != SIG_ERR &&
                   prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
    return signals && older == syscalls_known() ? 0 : -1;
}

static void a_receiver_works_in_all_layers(void **state)
{
    int told;
    (void)state;
    assert_int_equal(try(SANDBOX_ALL, does_its_work, &told), WENT);
    assert_int_equal(told, -1);
}

static void calls_have_names(void **state)
{
    (void)state;
    char *name CLEANUP_FREE = sandbox_call_name(SYS_ptrace);
    assert_string_equal(name, syscalls_known() ? "ptrace" : "101");
}

/* --- mounts --- */

/* The current directory is the root directory now. */
static int in_dir(const char *name, int (*attempt)(const char *path))
{
    char *path CLEANUP_FREE = at(dir, name);
    return attempt(path);
}

static int looks_at(const char *path)
{
    struct stat st;
    return lstat(path, &st);
}

static int makes(const char *path)
{
    return mkdir(path, 0700);
}

static int opens(const char *path)
{
    return closing(open(path, O_PATH));
}

ATTEMPT(sees_what_is_shown, in_dir("in/file", looks_at))
ATTEMPT(goes_by_the_link, in_dir("way/in/file", opens))
ATTEMPT(makes_in_what_is_shown, in_dir("in/made", makes))
ATTEMPT(sees_what_is_not, in_dir("out/file", looks_at))
ATTEMPT(opens_what_is_not, in_dir("out", opens))
ATTEMPT(makes_beside, in_dir("made", makes))
ATTEMPT(sees_the_password_file, looks_at("/etc/passwd"))
ATTEMPT(sees_other_processes, looks_at("/proc/1"))
ATTEMPT(sees_its_own_files, looks_at("/proc/self/fd/2"))
ATTEMPT(knows_the_boot, closing(open("/proc/sys/kernel/random/boot_id", O_RDONLY)))

static int climbs_from_what_it_has_open(void)
{
    char *file CLEANUP_FREE = at(dir, "in");
    int fd = open(file, O_RDONLY | O_DIRECTORY);
    struct stat st;
    return fd < 0 ? 0 : fstatat(fd, "../out/file", &st, 0);
}

/* As tree/entry.c asks for attributes on older kernels. */
static int goes_through_a_descriptor(void)
{
    int fd = open(in, O_RDONLY | O_DIRECTORY);
    char *path CLEANUP_FREE = mem_format("/proc/self/fd/%d/file", fd);
    return looks_at(path);
}

static int renames_and_exchanges(void)
{
    char *a CLEANUP_FREE = at(in, "a"), *b CLEANUP_FREE = at(in, "sub/b");
    char *sub CLEANUP_FREE = at(in, "sub"), *c CLEANUP_FREE = at(in, "c");
    return mkdir(sub, 0700) ?: mkdir(a, 0700) ?: rename(a, b) ?: mkdir(c, 0700)
               ?: renameat2(AT_FDCWD, b, AT_FDCWD, c, RENAME_EXCHANGE);
}

static void nothing_is_there_but_what_is_shown(void **state)
{
    static const struct {
        const char *what;
        int (*attempt)(void);
        int error;
    } cases[] = {
        {"what is shown", sees_what_is_shown, 0},
        {"by the link", goes_by_the_link, 0},
        {"made in it", makes_in_what_is_shown, 0},
        {"renamed in it", renames_and_exchanges, 0},
        {"its own files", sees_its_own_files, 0},
        {"through a descriptor", goes_through_a_descriptor, 0},
        {"the boot's id", knows_the_boot, 0},
        {"beside it", sees_what_is_not, ENOENT},
        {"opened beside it", opens_what_is_not, ENOENT},
        {"made beside it", makes_beside, EROFS},
        {"climbs", climbs_from_what_it_has_open, ENOENT},
        {"/etc/passwd", sees_the_password_file, ENOENT},
        {"other processes", sees_other_processes, ENOENT},
    };
    int told;
    (void)state;
    struct enclosure *e = enclosure_new();
    bool none = geteuid() != 0 || enclosure_lacks(e);
    enclosure_free(e);
    if (none)
        skip();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int got = try(SANDBOX_MOUNTS, cases[i].attempt, &told);
        if (got != cases[i].error)
            fail_msg("%s: %d, expected %d", cases[i].what, got, cases[i].error);
    }
}

/* Many directories are shown as the one above them; one after another, as they come. */
static int sees_all_of_many(void)
{
    struct err err;
    share_mounts();
    struct enclosure *e = enclosure_new();
    for (int i = 0; i < 300; i++) {
        char *path CLEANUP_FREE = mem_format("%s/many/%d", dir, i);
        enclosure_show(e, path);
    }
    int result = enclosure_enter(e, &err);
    enclosure_free(e);
    if (result)
        return -1;
    return in_dir("many/299/file", looks_at) ?: in_dir("in", looks_at) == 0 ? -1 : 0;
}

static void many_are_one(void **state)
{
    int told;
    (void)state;
    if (geteuid() != 0 || try(SANDBOX_MOUNTS, sees_what_is_shown, &told) != 0)
        skip();
    char *many CLEANUP_FREE = at(dir, "many");
    assert_int_equal(mkdir(many, 0700), 0);
    for (int i = 0; i < 300; i++) {
        char *path CLEANUP_FREE = mem_format("%s/%d", many, i);
        assert_int_equal(mkdir(path, 0700), 0);
        put(path, "file");
    }
    assert_int_equal(try(0, sees_all_of_many, &told), WENT);
}

static int enters(void)
{
    struct err err;
    struct enclosure *e = enclosure_new();
    enclosure_show(e, in);
    int result = enclosure_enter(e, &err);
    if (result == ENCLOSURE_NONE && !enclosure_lacks(e))
        result = -1;
    enclosure_free(e);
    return result;
}

/* What the host mounts and unmounts in what is shown. */
static int sees_what_is_mounted_later(void)
{
    int sockets[2], status = -1;
    char byte = 0;
    char *sub CLEANUP_FREE = at(in, "sub"), *file CLEANUP_FREE = at(sub, "file");
    share_mounts();
    if (mkdir(sub, 0700) < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        bool good = enters() == 0 && looks_at(file) < 0 && write(sockets[1], "", 1) == 1 &&
                    read(sockets[1], &byte, 1) == 1 && looks_at(file) == 0 &&
                    rename(sub, file) < 0 && write(sockets[1], "", 1) == 1 &&
                    read(sockets[1], &byte, 1) == 1 && looks_at(file) < 0;
        _exit(good ? 0 : 1);
    }
    close(sockets[1]);
    bool good = read(sockets[0], &byte, 1) == 1 && mount("none", sub, "tmpfs", 0, NULL) == 0;
    put(sub, "file");
    good = good && write(sockets[0], "", 1) == 1 && read(sockets[0], &byte, 1) == 1 &&
           umount2(sub, 0) == 0 && write(sockets[0], "", 1) == 1;
    close(sockets[0]);
    errno = EPROTO;
    return waitpid(pid, &status, 0) == pid && good && status == 0 ? 0 : -1;
}

/* Else it would not be seen, and a rename could take the host's mount away. */
static int does_without_where_mounts_are_private(void)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -1;
    errno = EPROTO;
    return enters() == ENCLOSURE_NONE && in_dir("out/file", looks_at) == 0 ? 0 : -1;
}

static void mounts_are_the_hosts(void **state)
{
    int told;
    (void)state;
    if (geteuid() != 0 || try(SANDBOX_MOUNTS, sees_what_is_shown, &told) != 0)
        skip();
    assert_int_equal(try(0, sees_what_is_mounted_later, &told), WENT);
    assert_int_equal(try(0, does_without_where_mounts_are_private, &told), WENT);
}

/* Its root directory is no mount point, as in a chroot: pivot_root refuses. */
static int goes_on_without(void)
{
    struct err err;
    share_mounts();
    if (chroot(dir) < 0 || chdir("/in") < 0)
        return 0;
    struct enclosure *e = enclosure_new();
    enclosure_show(e, "/in");
    int result = enclosure_enter(e, &err);
    bool said = enclosure_lacks(e) != NULL;
    enclosure_free(e);
    errno = EPROTO;
    return result == ENCLOSURE_NONE && said && looks_at("/out/file") == 0 && looks_at("file") == 0
               ? 0
               : -1;
}

static void where_there_is_none_it_is_said(void **state)
{
    int told;
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(try(0, goes_on_without, &told), WENT);
    struct enclosure *e = enclosure_new();
    enclosure_show(e, "/");
    assert_non_null(enclosure_lacks(e));
    enclosure_free(e);
}

/* --- capabilities and limits --- */

ATTEMPT(gives_away, chown("in/file", 65534, 65534))
ATTEMPT(reads_what_is_closed, chmod("in/file", 0) ?: chown("in/file", 65534, 65534)
                                  ?: closing(open("in/file", O_RDONLY)))

static void root_keeps_what_owners_need(void **state)
{
    int told;
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(try(SANDBOX_CAPABILITIES, gives_away, &told), WENT);
    assert_int_equal(try(SANDBOX_CAPABILITIES, reads_what_is_closed, &told), WENT);
    assert_int_equal(try(SANDBOX_CAPABILITIES, mounts, &told), EPERM);
    assert_int_equal(try(SANDBOX_CAPABILITIES, makes_a_device, &told), EPERM);
    assert_int_equal(try(SANDBOX_CAPABILITIES, becomes_another, &told), EPERM);
    assert_int_equal(try(SANDBOX_CAPABILITIES, changes_its_root, &told), EPERM);
}

static int has_limits(void)
{
    struct rlimit core, files;
    getrlimit(RLIMIT_CORE, &core);
    getrlimit(RLIMIT_NOFILE, &files);
    return core.rlim_max == 0 && files.rlim_cur == files.rlim_max &&
                   prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1
               ? 0
               : -1;
}

static void no_core_and_no_new_privileges(void **state)
{
    int told;
    (void)state;
    assert_int_equal(try(SANDBOX_LIMITS, has_limits, &told), WENT);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(landlock_refuses_what_is_outside),
        T(calls_that_are_not_listed_end_it),
        T(a_receiver_works_in_all_layers),
        T(calls_have_names),
        T(nothing_is_there_but_what_is_shown),
        T(many_are_one),
        T(mounts_are_the_hosts),
        T(where_there_is_none_it_is_said),
        T(root_keeps_what_owners_need),
        T(no_core_and_no_new_privileges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
