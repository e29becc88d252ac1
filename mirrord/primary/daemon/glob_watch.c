/* Directories that globs depend on, watched; see glob_watch.h. */
#include "primary/daemon/glob_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "protocol/path.h"

enum {
    SOON_MS = 100,      /* who makes a site makes several directories */
    APART_MS = 300,     /* between two expansions */
    CALM_MS = 60000,    /* without an event, which a network filesystem may not tell of */
    BLIND_MS = 3000,    /* where not all can be watched */
    NEVER_MS = 3600000, /* there is no glob */
    /* No IN_DONT_FOLLOW: what the pattern goes through may be a link. One directory may be both. */
    WAY_MASK = IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_MASK_ADD,
    MASK = WAY_MASK | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO,
};

struct glob_watch {
    int inotify, mounts; /* below 0: not to be had */
    char **globs;
    size_t count;
    int *watched; /* descriptors, sorted */
    size_t watched_count;
    int *next; /* those of the watching that is under way */
    size_t next_count;
    bool blind, said; /* not all is watched; that was said */
    uint64_t due_ms, last_ms;
};

static void be_blind(struct glob_watch *w, const char *sysctl)
{
    if (!w->said)
        log_warn(
            "not all directories in which sites may come up can be watched, they are looked at "
            "every %d seconds: raise the sysctl fs.inotify.%s",
            BLIND_MS / 1000, sysctl);
    w->blind = w->said = true;
}

struct glob_watch *glob_watch_new(void)
{
    struct glob_watch *w = mem_alloc(sizeof *w);
    w->inotify = -1;
    w->mounts = open("/proc/self/mounts", O_RDONLY | O_CLOEXEC);
    return w;
}

static void clear_globs(struct glob_watch *w)
{
    for (size_t i = 0; i < w->count; i++)
        free(w->globs[i]);
    free(TAKE_PTR(w->globs));
    w->count = 0;
}

void glob_watch_free(struct glob_watch *w)
{
    if (!w)
        return;
    if (w->inotify >= 0)
        close(w->inotify);
    if (w->mounts >= 0)
        close(w->mounts);
    clear_globs(w);
    free(w->watched);
    free(w);
}

/* --- what to watch --- */

/* False: there is no such directory (or it cannot be watched). */
static bool add(struct glob_watch *w, const char *dir, unsigned mask)
{
    int wd = inotify_add_watch(w->inotify, *dir ? dir : "/", mask);
    if (wd < 0 && errno == ENOSPC)
        be_blind(w, "max_user_watches");
    if (wd < 0)
        return false;
    w->next = mem_resize(w->next, w->next_count + 1, sizeof *w->next);
    w->next[w->next_count++] = wd;
    return true;
}

/* This directory, or the nearest one above it that is there; and each on the way, which may be
 * renamed. */
static void add_way(struct glob_watch *w, const char *dir)
{
    char *part CLEANUP_FREE = mem_copy_string(dir);
    size_t there = 0; /* of the part that is */
    if (!add(w, "", WAY_MASK))
        return;
    for (char *p = part; *p; *p = *p ? *p : '/') {
        p += strcspn(p + 1, "/") + 1;
        bool last = !*p;
        *p = '\0';
        if (!add(w, part, WAY_MASK))
            break;
        there = (size_t)(p - part);
        if (last)
            break;
    }
    part[there] = '\0';
    add(w, part, MASK);
}

/* What is behind the '*', at each place where it matches: all but the last component, whose coming
 * the one above it tells of. */
static void add_matches(struct glob_watch *w, const char *pattern, const char *rest)
{
    glob_t found;
    char *any CLEANUP_FREE = mem_copy_bytes(pattern, (size_t)(rest - pattern));
    int rc = glob(any, GLOB_NOESCAPE | GLOB_ONLYDIR, NULL, &found);
    for (size_t i = 0; rc == 0 && i < found.gl_pathc; i++) {
        char *path CLEANUP_FREE = mem_format("%s%s", found.gl_pathv[i], rest);
        char *p = path + strlen(found.gl_pathv[i]);
        do {
            *p = '\0';
            if (!add(w, path, MASK))
                break;
            *p = '/';
        } while ((p = strchr(p + 1, '/')));
    }
    globfree(&found);
}

static void add_glob(struct glob_watch *w, const char *pattern)
{
    const char *star = strchr(pattern, '*');
    if (!star || pattern[0] != '/')
        return;
    char *fixed CLEANUP_FREE = mem_copy_bytes(pattern, (size_t)(star - pattern));
    *strrchr(fixed, '/') = '\0';
    add_way(w, fixed);
    const char *rest = strchr(star, '/');
    if (rest)
        add_matches(w, pattern, rest);
}

static int compare(const void *a, const void *b)
{
    const int *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Instances are scarce: there is one while there are globs. */
static bool have_instance(struct glob_watch *w)
{
    if (w->count == 0 && w->inotify >= 0) {
        close(w->inotify);
        w->inotify = -1;
        w->watched_count = 0;
    }
    if (w->count && w->inotify < 0)
        w->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    w->blind = w->count && w->inotify < 0;
    if (w->blind)
        be_blind(w, "max_user_instances");
    return w->inotify >= 0;
}

static void watch(struct glob_watch *w)
{
    if (!have_instance(w))
        return;
    for (size_t i = 0; i < w->count; i++)
        add_glob(w, w->globs[i]);
    if (w->next_count)
        qsort(w->next, w->next_count, sizeof *w->next, compare);
    for (size_t i = 0; i < w->watched_count; i++)
        if (!w->next_count ||
            !bsearch(&w->watched[i], w->next, w->next_count, sizeof *w->next, compare))
            inotify_rm_watch(w->inotify, w->watched[i]);
    free(w->watched);
    w->watched = TAKE_PTR(w->next);
    w->watched_count = w->next_count;
    w->next_count = 0;
    w->said = w->blind;
}

/* --- when to look --- */

static void look_soon(struct glob_watch *w)
{
    uint64_t now = io_now_ms(), due = now + SOON_MS;
    if (due < w->last_ms + APART_MS)
        due = w->last_ms + APART_MS;
    if (due < w->due_ms)
        w->due_ms = due;
}

void glob_watch_set(struct glob_watch *w, const char *const *globs, size_t count)
{
    bool same = count == w->count;
    for (size_t i = 0; same && i < count; i++)
        same = strcmp(globs[i], w->globs[i]) == 0;
    if (same)
        return;
    clear_globs(w);
    w->globs = mem_array(count, sizeof *w->globs);
    for (size_t i = 0; i < count; i++)
        w->globs[i] = mem_copy_string(globs[i]);
    w->count = count;
    w->due_ms = 0;
}

void glob_watch_fds(const struct glob_watch *w, struct pollfd fds[GLOB_WATCH_FDS])
{
    fds[0] = (struct pollfd){.fd = w->inotify, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = w->count ? w->mounts : -1, .events = POLLPRI};
}

/* Directories and what moved; files come and go in many a directory that holds sites, and a
 * receiver has its stages there. */
static bool matters(const struct inotify_event *e)
{
    if (e->mask & (IN_Q_OVERFLOW | IN_UNMOUNT | IN_DELETE_SELF | IN_MOVE_SELF))
        return true;
    return (e->mask & IN_ISDIR) && !(e->len && path_is_reserved(bytes_of(e->name)));
}

static bool read_events(struct glob_watch *w)
{
    char raw[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
    bool any = false;
    ssize_t n;
    while (w->inotify >= 0 && (n = read(w->inotify, raw, sizeof raw)) > 0)
        for (const char *p = raw; p < raw + n;) {
            const struct inotify_event *e = (const void *)p;
            any |= matters(e);
            p += sizeof *e + e->len;
        }
    return any;
}

void glob_watch_read(struct glob_watch *w, const struct pollfd fds[GLOB_WATCH_FDS])
{
    bool any = fds[0].revents && read_events(w);
    if (any || fds[1].revents)
        look_soon(w);
}

bool glob_watch_due(struct glob_watch *w, unsigned *wait)
{
    uint64_t now = io_now_ms();
    if (w->count == 0 && w->inotify < 0) {
        *wait = NEVER_MS;
        return false;
    }
    if (now < w->due_ms) {
        *wait = (unsigned)(w->due_ms - now);
        return false;
    }
    watch(w);
    *wait = w->blind ? BLIND_MS : CALM_MS;
    w->last_ms = now;
    w->due_ms = now + *wait;
    return true;
}
