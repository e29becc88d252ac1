/* Landlock, capabilities and limits; see sandbox.h. The list of system calls is in syscalls.c, the
 * mount namespace in enclosure.c. */
#include "secondary/confine/sandbox.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "secondary/confine/enclosure.h"

/* From <linux/landlock.h>: the header that is there may be older than the kernel that is. */
enum {
    CREATE_RULESET_VERSION = 1,
    RULE_PATH_BENEATH = 1,
    SYSTEM_CREATE_RULESET = 444,
    SYSTEM_ADD_RULE = 445,
    SYSTEM_RESTRICT_SELF = 446,
};
enum {
    FS_EXECUTE = 1 << 0,
    FS_WRITE_FILE = 1 << 1,
    FS_READ_FILE = 1 << 2,
    FS_READ_DIR = 1 << 3,
    FS_REMOVE_DIR = 1 << 4,
    FS_REMOVE_FILE = 1 << 5,
    FS_MAKE_CHAR = 1 << 6,
    FS_MAKE_DIR = 1 << 7,
    FS_MAKE_REG = 1 << 8,
    FS_MAKE_SOCK = 1 << 9,
    FS_MAKE_FIFO = 1 << 10,
    FS_MAKE_BLOCK = 1 << 11,
    FS_MAKE_SYM = 1 << 12,
    FS_REFER = 1 << 13,     /* ABI 2 */
    FS_TRUNCATE = 1 << 14,  /* ABI 3 */
    FS_IOCTL_DEV = 1 << 15, /* ABI 5 */
    NET_TCP = 3,            /* ABI 4: bind, connect */
    SCOPED_ALL = 3,         /* ABI 6: abstract sockets, signals */
};

/* No EXECUTE and no IOCTL_DEV. What is no file, directory or link cannot be made (the list of
 * system calls has no mknod, no bind), but what a user put there is moved aside. */
enum {
    TREE_ACCESS = FS_WRITE_FILE | FS_READ_FILE | FS_READ_DIR | FS_REMOVE_DIR | FS_REMOVE_FILE |
                  FS_MAKE_CHAR | FS_MAKE_DIR | FS_MAKE_REG | FS_MAKE_SOCK | FS_MAKE_FIFO |
                  FS_MAKE_BLOCK | FS_MAKE_SYM | FS_REFER | FS_TRUNCATE,
    ABI_NEEDED = 2, /* the first would refuse every rename to another directory */
};

struct ruleset_attr {
    uint64_t fs, net, scoped;
};

struct path_attr {
    uint64_t access;
    int32_t fd;
} __attribute__((packed));

struct sandbox {
    int abi;     /* 0: no Landlock that serves */
    int ruleset; /* -1 */
    bool calls;  /* there is a list of them */
    struct ruleset_attr handled;
    struct enclosure *enclosure; /* NULL */
    bool encloses;
    char *lacks;
};

static void restrict_handled(struct ruleset_attr *a, int abi)
{
    unsigned newer = (abi < 3 ? FS_TRUNCATE : 0) | (abi < 5 ? FS_IOCTL_DEV : 0);
    a->fs = (uint64_t)((2 * FS_IOCTL_DEV - 1) & ~newer);
    a->net = abi < 4 ? 0 : NET_TCP;
    a->scoped = abi < 6 ? 0 : SCOPED_ALL;
}

/* A build for tests can be told to do without a layer. */
static unsigned layers_here(void)
{
#ifdef MIRRORD_FAULTS
    const char *wanted = getenv("MIRRORD_SANDBOX");
    if (wanted)
        return (unsigned)atoi(wanted);
#endif
    return SANDBOX_ALL;
}

struct sandbox *sandbox_new(void)
{
    struct sandbox *s = mem_alloc(sizeof *s);
    s->ruleset = -1;
    s->calls = syscalls_known() && (layers_here() & SANDBOX_CALLS);
    if (geteuid() == 0 && (layers_here() & SANDBOX_MOUNTS))
        s->enclosure = enclosure_new();
    long abi = syscall(SYSTEM_CREATE_RULESET, NULL, 0, CREATE_RULESET_VERSION);
    if (abi < ABI_NEEDED || !(layers_here() & SANDBOX_LANDLOCK))
        return s;
    restrict_handled(&s->handled, (int)abi);
    s->ruleset = (int)syscall(SYSTEM_CREATE_RULESET, &s->handled, sizeof s->handled, 0);
    s->abi = s->ruleset < 0 ? 0 : (int)abi;
    return s;
}

void sandbox_free(struct sandbox *s)
{
    if (s->ruleset >= 0)
        close(s->ruleset);
    if (s->enclosure)
        enclosure_free(s->enclosure);
    free(s->lacks);
    free(s);
}

void sandbox_allow(struct sandbox *s, int fd, enum sandbox_access access)
{
    struct path_attr rule = {.fd = fd};
    rule.access = (access == SANDBOX_TREE ? TREE_ACCESS : FS_READ_FILE) & s->handled.fs;
    if (s->abi && syscall(SYSTEM_ADD_RULE, s->ruleset, RULE_PATH_BENEATH, &rule, 0) < 0)
        log_warn("a directory cannot be put into the sandbox: %s", strerror(errno));
}

struct enclosure *sandbox_enclosure(const struct sandbox *s)
{
    return s->enclosure;
}

bool sandbox_encloses(const struct sandbox *s)
{
    return s->encloses;
}

static void add_lack(struct sandbox *s, const char *what, const char *why)
{
    char *before CLEANUP_FREE = s->lacks;
    s->lacks = before ? mem_format("%s, nor by %s (%s)", before, what, why)
                      : mem_format("%s (%s)", what, why);
}

unsigned sandbox_lacking(const struct sandbox *s)
{
    return (s->abi ? 0 : SANDBOX_LANDLOCK) | (s->calls ? 0 : SANDBOX_CALLS) |
           (s->enclosure && enclosure_lacks(s->enclosure) ? SANDBOX_MOUNTS : 0);
}

const char *sandbox_lacks(struct sandbox *s)
{
    unsigned lacking = sandbox_lacking(s);
    free(TAKE_PTR(s->lacks));
    if (lacking & SANDBOX_LANDLOCK)
        add_lack(s, "Landlock", "a kernel from 5.19 on has it, if it is switched on");
    if (lacking & SANDBOX_CALLS)
        add_lack(s, "a list of system calls", "this build has none");
    if (lacking & SANDBOX_MOUNTS)
        add_lack(s, "a mount namespace", enclosure_lacks(s->enclosure));
    return s->lacks;
}

/* What root needs to be any owner; a receiver that is somebody else has none of them. */
enum {
    KEPT = 1 << CAP_CHOWN          /* a file is given to its owner */
           | 1 << CAP_FOWNER       /* mode, times and ACLs of another owner's file; hard links */
           | 1 << CAP_DAC_OVERRIDE /* into directories and files that are closed to others */
           | 1 << CAP_FSETID       /* setgid of a directory whose group is not root's */
           | 1 << CAP_LEASE,       /* asking whether another owner's file is being written */
};

static int drop_capabilities(struct err *err)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
    if (syscall(SYS_capget, &head, data) < 0)
        return err_sys(err, errno, "capget");
    uint32_t kept = data[0].permitted & KEPT;
    memset(data, 0, sizeof data);
    data[0].permitted = data[0].effective = kept;
    return syscall(SYS_capset, &head, data) < 0 ? err_sys(err, errno, "capset") : 0;
}

/* NPROC is left alone: it counts what the user's other processes have, too. */
static int set_limits(struct err *err)
{
    const struct rlimit none = {0};
    struct rlimit files;
    if (setrlimit(RLIMIT_CORE, &none) < 0)
        return err_sys(err, errno, "setrlimit");
    if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur == files.rlim_max)
        return 0;
    files.rlim_cur = files.rlim_max; /* many sites keep many files open */
    if (setrlimit(RLIMIT_NOFILE, &files) < 0)
        log_debug("cannot raise the limit of open files: %s", strerror(errno));
    return 0;
}

static int enter_mounts(struct sandbox *s, struct err *err)
{
    int result = s->enclosure ? enclosure_enter(s->enclosure, err) : ENCLOSURE_NONE;
    s->encloses = result == 0;
    return result < 0 ? err_prefix(err, "mount namespace") : 0;
}

static int enter_landlock(struct sandbox *s, struct err *err)
{
    if (s->abi && syscall(SYSTEM_RESTRICT_SELF, s->ruleset, 0) < 0)
        return err_sys(err, errno, "Landlock");
    return 0;
}

static int enter(
    struct sandbox *s, unsigned layers, const struct sandbox_alarm *alarm, struct err *err)
{
    if ((layers & SANDBOX_LIMITS) && set_limits(err) < 0)
        return -1;
    if ((layers & SANDBOX_MOUNTS) && enter_mounts(s, err) < 0)
        return -1;
    if ((layers & SANDBOX_CAPABILITIES) && drop_capabilities(err) < 0)
        return -1;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_sys(err, errno, "no_new_privs");
    if ((layers & SANDBOX_LANDLOCK) && enter_landlock(s, err) < 0)
        return -1;
    return s->calls && (layers & SANDBOX_CALLS) ? syscalls_restrict(alarm, err) : 0;
}

int sandbox_enter(
    struct sandbox *s, unsigned layers, const struct sandbox_alarm *alarm, struct err *err)
{
    int bad = enter(s, layers & layers_here(), alarm, err);
    if (s->ruleset >= 0)
        close(s->ruleset);
    s->ruleset = -1;
    return bad ? err_prefix(err, "sandbox") : 0;
}
