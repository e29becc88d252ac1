/*
 * The system calls of a receiver; see sandbox.h. The only file that includes libseccomp. Any other
 * call ends the process, and the parent says its name. Only clone3 answers "not there" instead: its
 * flags are out of a filter's sight, and the C library then takes clone.
 *
 * A build with a sanitizer makes calls of its own and has no list (meson says so).
 */
#include "secondary/confine/sandbox.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "base/mem.h"

#ifndef MIRRORD_SECCOMP

bool syscalls_known(void)
{
    return false;
}

int syscalls_restrict(const struct sandbox_alarm *alarm, struct err *err)
{
    (void)alarm;
    (void)err;
    return 0;
}

char *sandbox_call_name(int call)
{
    return mem_format("%d", call);
}

#else

#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>

/* A signal handler has nothing but globals. */
static struct sandbox_alarm alarm_;

/* clang-format off: a line for each would be a page of its own */
static const int allowed[] = {
    /* the session and its waiting */
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(recvfrom),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(sendmsg),
    SCMP_SYS(signalfd4),
    SCMP_SYS(nanosleep),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(getrandom),
    SCMP_SYS(close),
    SCMP_SYS(close_range),
    SCMP_SYS(dup),
    SCMP_SYS(lseek),
    SCMP_SYS(umask),
    SCMP_SYS(getsockopt),
    /* files; Landlock says which */
    SCMP_SYS(open),
    SCMP_SYS(openat),
    SCMP_SYS(openat2),
    SCMP_SYS(getdents64),
    SCMP_SYS(stat),
    SCMP_SYS(lstat),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(statx),
    SCMP_SYS(statfs),
    SCMP_SYS(fstatfs),
    SCMP_SYS(access),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(getcwd),
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(preadv),
    SCMP_SYS(preadv2),
    SCMP_SYS(pwritev),
    SCMP_SYS(copy_file_range),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fallocate),
    SCMP_SYS(fadvise64),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(syncfs),
    SCMP_SYS(sync_file_range),
    SCMP_SYS(msync),
    SCMP_SYS(flock),
    SCMP_SYS(mkdir),
    SCMP_SYS(mkdirat),
    SCMP_SYS(rmdir),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(rename),
    SCMP_SYS(renameat),
    SCMP_SYS(renameat2),
    SCMP_SYS(linkat),
    SCMP_SYS(symlinkat),
    /* metadata, which Landlock does not govern: these change it through a descriptor that was
     * opened for reading or writing, and none is here that goes by a path */
    SCMP_SYS(fchmod),
    SCMP_SYS(fchown),
    SCMP_SYS(fsetxattr),
    SCMP_SYS(fremovexattr),
    SCMP_SYS(fgetxattr),
    SCMP_SYS(lgetxattr),
    SCMP_SYS(flistxattr),
    /* memory and threads */
    SCMP_SYS(brk),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(futex),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(gettid),
    SCMP_SYS(getpid),
    SCMP_SYS(getppid),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(capget),
    SCMP_SYS(sysinfo),
    SCMP_SYS(uname),
    SCMP_SYS(membarrier),
    SCMP_SYS(set_tid_address),
    SCMP_SYS(arch_prctl),
    /* signals of its own, and a process that reads a database before it is believed */
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigtimedwait),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(alarm),
    SCMP_SYS(setitimer),
    SCMP_SYS(wait4),
    SCMP_SYS(waitid),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(pause),
};
/* clang-format on */

static const int descriptor_commands[] = {F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL,
    F_SETFL, F_GETLK, F_SETLK, F_SETLKW, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW, F_GETLEASE,
    F_SETLEASE}; /* no F_SETOWN: it would name a process to be signalled */

enum {
    SYSTEM_GETXATTRAT = 464, /* younger than the library: tree/entry.c */
    NEW_NAMESPACES = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |
                     CLONE_NEWNET | CLONE_NEWCGROUP,
};

static int allow_one(scmp_filter_ctx c, int call, struct scmp_arg_cmp test)
{
    return seccomp_rule_add_array(c, SCMP_ACT_ALLOW, call, 1, &test);
}

/* Calls of which only some are needed. */
static int allow_some(scmp_filter_ctx c)
{
    int rc = 0;
    for (size_t i = 0; !rc && i < sizeof descriptor_commands / sizeof *descriptor_commands; i++)
        rc = allow_one(
            c, SCMP_SYS(fcntl), SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)descriptor_commands[i]));
    const struct {
        int call;
        struct scmp_arg_cmp test;
    } some[] = {
        {SCMP_SYS(utimensat), SCMP_A1(SCMP_CMP_EQ, 0)}, /* futimens */
        {SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, FICLONE)},
        {SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, TCGETS)}, /* isatty */
        {SCMP_SYS(mmap), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)},
        {SCMP_SYS(mprotect), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)},
        {SCMP_SYS(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, NEW_NAMESPACES, 0)},
        {SCMP_SYS(prlimit64), SCMP_A0(SCMP_CMP_EQ, 0)},
        {SCMP_SYS(ioprio_set), SCMP_A1(SCMP_CMP_EQ, 0)}, /* of this thread */
        /* the handler below stays: the kernel reads half of what a filter sees, so that there must
           be nothing in the other half */
        {SCMP_SYS(rt_sigaction), SCMP_A0(SCMP_CMP_LT, SIGSYS)},
        {SCMP_SYS(rt_sigaction), SCMP_A0(SCMP_CMP_MASKED_EQ, ~UINT64_C(31), 32)},
        /* abort, and the fault points of a build for tests */
        {SCMP_SYS(tgkill), SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid())},
        {SCMP_SYS(kill), SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid())},
    };
    for (size_t i = 0; !rc && i < sizeof some / sizeof *some; i++)
        rc = allow_one(c, some[i].call, some[i].test);
    if (!rc) /* of a process that it forks; its own stays */
        rc = seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 2,
            SCMP_A0(SCMP_CMP_EQ, PR_SET_PDEATHSIG),
            SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, SIGKILL));
    return rc;
}

static int fill(scmp_filter_ctx c)
{
    int rc = seccomp_attr_set(c, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree, not a list */
    for (size_t i = 0; !rc && i < sizeof allowed / sizeof *allowed; i++)
        rc = seccomp_rule_add(c, SCMP_ACT_ALLOW, allowed[i], 0);
    if (!rc)
        rc = seccomp_rule_add(c, SCMP_ACT_ALLOW, SYSTEM_GETXATTRAT, 0);
    if (!rc)
        rc = seccomp_rule_add(c, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    return rc ? rc : allow_some(c);
}

static void tell(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    if (alarm_.refused)
        alarm_.refused(alarm_.socket, info->si_syscall);
    _exit(1);
}

bool syscalls_known(void)
{
    return true;
}

int syscalls_restrict(const struct sandbox_alarm *alarm, struct err *err)
{
    struct sigaction action = {.sa_sigaction = tell, .sa_flags = SA_SIGINFO};
    sigset_t set;
    alarm_ = *alarm;
    sigemptyset(&set);
    sigaddset(&set, SIGSYS);
    if (sigaction(SIGSYS, &action, NULL) < 0 || sigprocmask(SIG_UNBLOCK, &set, NULL) < 0)
        return err_sys(err, errno, "the list of system calls");
    scmp_filter_ctx c = seccomp_init(SCMP_ACT_TRAP);
    int rc = c ? fill(c) : -ENOMEM;
    if (!rc)
        rc = seccomp_load(c);
    seccomp_release(c);
    return rc ? err_sys(err, -rc, "the list of system calls") : 0;
}

char *sandbox_call_name(int call)
{
    char *found CLEANUP_FREE = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, call);
    return found ? mem_copy_string(found) : mem_format("%d", call);
}

#endif
