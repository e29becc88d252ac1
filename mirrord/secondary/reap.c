/*
 * Removing what is dead in the stage, in steps and without recursion: a directory met inside
 * another is moved up to the stage itself first, so that no tree is ever descended into. What is
 * set aside (trash) and what this session staged is left alone.
 */
#include "secondary/reap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"

enum { REAP_STRIDE = 32 }; /* removals between looks at the clock */

void reap_begin(struct stage *s)
{
    int fd = openat(root_fd(s->root), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->leftovers)
        closedir(s->leftovers);
    s->leftovers = fd < 0 ? NULL : fdopendir(fd);
    if (fd >= 0 && !s->leftovers)
        close(fd);
}

static bool is_leftover(const struct stage *s, const char *name)
{
    return (name[0] == 'n' || name[0] == 'd') &&
           strncmp(name + 1, s->session, strlen(s->session)) != 0;
}

/* Puts one thing of an earlier session into the queue. False at the listing's end. */
static bool next_leftover(struct stage *s)
{
    const struct dirent *e = s->leftovers ? readdir(s->leftovers) : NULL;
    if (e && is_leftover(s, e->d_name))
        set_add(s->dead, e->d_name, strlen(e->d_name));
    if (e)
        return true;
    if (s->leftovers)
        closedir(s->leftovers);
    s->leftovers = NULL;
    return false;
}

static void lift(struct stage *s, int dirfd, const char *name)
{
    fchmodat(dirfd, name, 0700, 0);
    if (stage_bury(s, dirfd, name) < 0)
        log_warn("cannot remove %s from the stage %s: %s", QUOTED(name, strlen(name)),
            root_path(s->root), strerror(errno));
}

/* Removes what is in a dead directory until the deadline. True when nothing is left to try. */
static bool empty_directory(struct stage *s, int fd, uint64_t deadline)
{
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return true;
    }
    const struct dirent *e;
    bool done = true;
    for (unsigned n = 1; (e = readdir(dir)) != NULL; n++) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (stage_unlink(s, fd, e->d_name) < 0)
            lift(s, fd, e->d_name);
        if (n % REAP_STRIDE == 0 && io_now_us() >= deadline) {
            done = false;
            break;
        }
    }
    closedir(dir);
    return done;
}

/* One name of the queue: gone, or some of what it holds. True when the name is finished with. */
static bool reap_one(struct stage *s, const char *name, uint64_t deadline)
{
    int stage = root_fd(s->root);
    if (stage_unlink(s, stage, name) == 0 || errno == ENOENT)
        return true;
    if (unlinkat(stage, name, AT_REMOVEDIR) == 0)
        return true;
    fchmodat(stage, name, 0700, 0);
    int fd = openat(stage, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && !empty_directory(s, fd, deadline))
        return false;
    if (unlinkat(stage, name, AT_REMOVEDIR) < 0)
        log_warn(
            "cannot remove %s from the stage %s: %s", name, root_path(s->root), strerror(errno));
    return true;
}

bool reap_some(struct stage *s, unsigned budget_ms)
{
    uint64_t deadline = io_now_us() + (uint64_t)budget_ms * 1000;
    do {
        struct set_item *first = set_first(s->dead);
        if (!first && !next_leftover(s))
            return false;
        if (first && reap_one(s, first->key, deadline))
            set_remove(s->dead, first);
    } while (io_now_us() < deadline);
    return true;
}
