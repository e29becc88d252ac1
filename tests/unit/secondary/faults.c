/* Calls that fail, or end the process; see faults.h. */
#include "faults.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/err.h"
#include "peer.h"

struct manifest_txn;

struct faults *faults;

static int asked[2], done[2]; /* pipes to and from who meddles */

/* A receiver may not execute anything, so another process does. */
static void be_meddler(void)
{
    char c;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (read(asked[0], &c, 1) == 1)
        if (system(faults->meddle) != 0 || write(done[1], &c, 1) != 1)
            _exit(1);
    _exit(0);
}

static void meddle_now(void)
{
    char c = 0;
    if (write(asked[1], &c, 1) != 1 || read(done[0], &c, 1) != 1)
        abort();
    faults->meddle[0] = '\0';
}

int faults_init(void)
{
    faults = mmap(NULL, sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (faults == MAP_FAILED || pipe(asked) < 0 || pipe(done) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0)
        be_meddler();
    close(done[1]);
    return pid < 0 ? -1 : 0;
}

void faults_clear(void)
{
    memset(faults, 0, sizeof *faults);
}

int faults_peer_make(void **state)
{
    faults_clear();
    return peer_make(state);
}

int faults_peer_unmake(void **state)
{
    faults_clear();
    return peer_unmake(state);
}

static void tick(void)
{
    if (atomic_load(&faults->countdown) > 0 && atomic_fetch_sub(&faults->countdown, 1) == 1)
        raise(SIGKILL);
}

#define WRAPPED(type, name, parameters, arguments)                                                 \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        tick();                                                                                    \
        return __real_##name arguments;                                                            \
    }

WRAPPED(int, renameat, (int a, const char *b, int c, const char *d), (a, b, c, d))
WRAPPED(int, unlinkat, (int a, const char *b, int c), (a, b, c))
WRAPPED(int, mkdirat, (int a, const char *b, mode_t c), (a, b, c))
WRAPPED(int, fchmod, (int a, mode_t b), (a, b))
WRAPPED(int, futimens, (int a, const struct timespec b[2]), (a, b))
WRAPPED(int, fchown, (int a, uid_t b, gid_t c), (a, b, c))

int __real_linkat(int a, const char *b, int c, const char *d, int e);
int __wrap_linkat(int a, const char *b, int c, const char *d, int e);
int __wrap_linkat(int a, const char *b, int c, const char *d, int e)
{
    tick();
    errno = atomic_load(&faults->no_links);
    return errno ? -1 : __real_linkat(a, b, c, d, e);
}

int __real_manifest_commit(struct manifest_txn *t, struct err *err);
int __wrap_manifest_commit(struct manifest_txn *t, struct err *err);
int __wrap_manifest_commit(struct manifest_txn *t, struct err *err)
{
    tick();
    if (atomic_load(&faults->commits) > 0 && atomic_fetch_sub(&faults->commits, 1) == 1)
        raise(SIGKILL);
    return __real_manifest_commit(t, err);
}

int __real_renameat2(int a, const char *b, int c, const char *d, unsigned flags);
int __wrap_renameat2(int a, const char *b, int c, const char *d, unsigned flags);
int __wrap_renameat2(int a, const char *b, int c, const char *d, unsigned flags)
{
    tick();
    bool named = strcmp(d, faults->name) == 0;
    if ((flags & RENAME_EXCHANGE) && named) {
        if (faults->meddle[0] && !atomic_load(&faults->after))
            meddle_now();
        if (atomic_load(&faults->at_switch) == 1)
            raise(SIGKILL);
        errno = atomic_load(&faults->refuse);
        if (errno)
            return -1;
    }
    int result = __real_renameat2(a, b, c, d, flags);
    if (result == 0 && named && faults->meddle[0] && atomic_load(&faults->after))
        meddle_now();
    if ((flags & RENAME_EXCHANGE) && named && atomic_load(&faults->at_switch) == 2)
        raise(SIGKILL);
    return result;
}

enum { BOOT_ID = 36 };
ssize_t __real_io_pread_full(int fd, void *p, size_t n, uint64_t offset);
ssize_t __wrap_io_pread_full(int fd, void *p, size_t n, uint64_t offset);
ssize_t __wrap_io_pread_full(int fd, void *p, size_t n, uint64_t offset)
{
    ssize_t got = __real_io_pread_full(fd, p, n, offset);
    if (n != BOOT_ID)
        atomic_fetch_add(&faults->reads, 1);
    else if (got > 0 && atomic_load(&faults->rebooted))
        *(char *)p ^= 1;
    return got;
}
