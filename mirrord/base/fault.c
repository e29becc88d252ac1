/* Fault points in a build for tests; see fault.h. Part of no other build. */
#include "base/fault.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

enum { NAME_MAX_ = 160 };

static struct {
    pthread_mutex_t lock;
    bool read; /* the environment was */
    char name[NAME_MAX_];
    unsigned left;        /* passings until it happens; 0: never (again) */
    int error;            /* 0: it kills */
    int list;             /* -1: none */
    char slow[NAME_MAX_]; /* "": each loop */
    unsigned slow_ms;
} faults = {.lock = PTHREAD_MUTEX_INITIALIZER, .list = -1};

static int error_of(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } errors[] = {{"EACCES", EACCES}, {"EDQUOT", EDQUOT}, {"EIO", EIO}, {"EMLINK", EMLINK},
        {"ENOENT", ENOENT}, {"ENOMEM", ENOMEM}, {"ENOSPC", ENOSPC}, {"EPERM", EPERM},
        {"EROFS", EROFS}, {"EXDEV", EXDEV}};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (strcmp(errors[i].name, name) == 0)
            return errors[i].number;
    fprintf(stderr, "MIRRORD_FAULT: unknown error %s\n", name);
    abort();
}

static void read_slow(const char *slow)
{
    const char *colon = strchr(slow, ':');
    if (colon)
        snprintf(faults.slow, sizeof faults.slow, "%.*s", (int)(colon - slow), slow);
    faults.slow_ms = (unsigned)atoi(colon ? colon + 1 : slow);
}

static void read_environment(void)
{
    const char *slow = getenv("MIRRORD_SLOW");
    if (slow)
        read_slow(slow);
    const char *fault = getenv("MIRRORD_FAULT"), *list = getenv("MIRRORD_FAULT_LIST");
    faults.read = true;
    if (list)
        faults.list = open(list, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (!fault)
        return;
    snprintf(faults.name, sizeof faults.name, "%s", fault);
    char *error = strchr(faults.name, '=');
    if (error) {
        *error++ = '\0';
        faults.error = error_of(error);
    }
    faults.left = 1;
    char *colon = strrchr(faults.name, ':');
    if (colon && colon[1] >= '0' && colon[1] <= '9') {
        *colon = '\0';
        faults.left = (unsigned)atoi(colon + 1);
    }
}

/* The error with which the call is to fail, or 0. */
static int pass(const char *name)
{
    pthread_mutex_lock(&faults.lock);
    if (!faults.read)
        read_environment();
    char line[NAME_MAX_ + 1];
    int n = snprintf(line, sizeof line, "%s\n", name);
    if (faults.list >= 0 && write(faults.list, line, (size_t)n) != n)
        abort();
    bool now = faults.left > 0 && strcmp(name, faults.name) == 0 && --faults.left == 0;
    pthread_mutex_unlock(&faults.lock);
    if (now && !faults.error)
        kill(getpid(), SIGKILL);
    return now ? faults.error : 0;
}

bool fault_before(const char *file, const char *function, const char *call, int line)
{
    char name[NAME_MAX_];
    snprintf(name, sizeof name, "%s:%s:%s@%d<", file, function, call, line);
    int error = pass(name);
    if (error)
        errno = error;
    return error == 0;
}

void fault_after(const char *file, const char *function, const char *call, int line)
{
    char name[NAME_MAX_];
    int before = errno;
    snprintf(name, sizeof name, "%s:%s:%s@%d>", file, function, call, line);
    pass(name);
    errno = before;
}

void fault_slow(const char *file)
{
    enum { ONE_IN = 8 };
    pthread_mutex_lock(&faults.lock);
    if (!faults.read)
        read_environment();
    unsigned ms = faults.slow_ms;
    if (faults.slow[0])
        ms = strcmp(faults.slow, file) == 0 ? ms : 0;
    else if (ms)
        ms = random() % ONE_IN ? 0 : (unsigned)random() % ms;
    pthread_mutex_unlock(&faults.lock);
    if (ms)
        poll(NULL, 0, (int)ms); /* which a sandbox allows */
}

bool fault_creates(int flags, ...)
{
    return flags & O_CREAT;
}
