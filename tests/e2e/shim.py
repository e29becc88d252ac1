"""A library loaded in front of the C library of a far end, for what disks do now and then: calls
that are slow, or that fail. What it does is said by the environment; see the C text."""

import os
import shutil
import subprocess

from harness import MIRRORD, SANITIZED, Skip, write_text

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* SHIM_STAT_MS: every stat of a name takes so long. */
int statx(int dir, const char *name, int flags, unsigned mask, struct statx *st)
{
    static int (*real)(int, const char *, int, unsigned, struct statx *);
    const char *ms = getenv("SHIM_STAT_MS");
    if (!real)
        real = (int (*)(int, const char *, int, unsigned, struct statx *))dlsym(RTLD_NEXT, "statx");
    if (ms && name[0])
        nanosleep(&(struct timespec){.tv_nsec = atol(ms) * 1000000}, NULL);
    return real(dir, name, flags, mask, st);
}

/* SHIM_QUOTA: while this file exists, writing to a regular file fails with EDQUOT. */
ssize_t write(int fd, const void *p, size_t n)
{
    static ssize_t (*real)(int, const void *, size_t);
    const char *quota = getenv("SHIM_QUOTA");
    struct stat st;
    if (!real)
        real = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    if (quota && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && access(quota, F_OK) == 0) {
        errno = EDQUOT;
        return -1;
    }
    return real(fd, p, n);
}
"""


def build(env):
    """The library's path."""
    cc = shutil.which(os.environ.get("CC", "cc").split()[-1]) or shutil.which("gcc")
    if not cc:
        raise Skip("no C compiler")
    if SANITIZED:
        raise Skip("a sanitizer's runtime must be loaded first")
    source = write_text(env.path("shim.c"), SOURCE)
    library = env.path("shim.so")
    subprocess.run([cc, "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    return library


def command(env, host, library, **settings):
    """How this host's receivers are started with it."""
    words = " ".join(f"{k}='{v}'" for k, v in settings.items())
    return (f"exec env LD_PRELOAD='{library}' {words} '{MIRRORD}' \"$@\" "
            f"--state-dir '{env.path(f'state-{host}')}'")


def install(env, host, library, **settings):
    """From their next start on."""
    env.far_end(host, command(env, host, library, **settings))
