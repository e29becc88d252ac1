/* The trash for what was ours; see kept.h. What becomes of it later is the keeper's. */
#include "secondary/trash/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "secondary/trash/aside.h"
#include "secondary/unit/grace.h"

bool kept_wanted(const struct replica *r)
{
    return r->keep_days > 0 && r->stage;
}

/* Said once until it works again: a full disk would fill the log, too. */
static void complain(struct replica *r, struct bytes path, const struct err *why)
{
    if (!r->keep_fails)
        log_warn("%s: %s is not kept, nor is what follows: %s", r->path,
            QUOTED(path.data, path.len), why->text);
    r->keep_fails = true;
}

static bool put(struct replica *r, enum kept_state state, const struct aside_thing *thing)
{
    struct bytes path = thing->path;
    char tail[24], where[ASIDE_NAME_MAX];
    struct err why;
    snprintf(tail, sizeof tail, "-%u%c", r->keep_days, (char)state);
    if (aside_put(r->stage, ASIDE_KEPT, tail, thing, where, &why) < 0) {
        complain(r, path, &why);
        return false;
    }
    r->keep_fails = false;
    log_debug("%s: %s is kept for %u days in %s", r->path, QUOTED(path.data, path.len),
        r->keep_days, where);
    return true;
}

bool kept_take(struct replica *r, int dirfd, const char *name, struct bytes path)
{
    struct stat st;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    bool shared = S_ISDIR(st.st_mode) || st.st_nlink > 1;
    return put(
        r, shared ? KEPT_SHARED : KEPT_DONE, &(struct aside_thing){dirfd, name, path, false});
}

bool kept_link(struct replica *r, int dirfd, const char *name, struct bytes path)
{
    return put(r, KEPT_SHARED, &(struct aside_thing){dirfd, name, path, true});
}

bool kept_take_unit(struct replica *r, const char *holder, struct bytes path)
{
    int stage = root_fd(r->stage->root);
    int dir CLEANUP_FD = openat(stage, holder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return dir >= 0 &&
           put(r, KEPT_UNIT, &(struct aside_thing){dir, &GRACE_CONTENT[1], path, false});
}
