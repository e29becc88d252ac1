/* The root of a site that is being opened: found, or made, or refused with the directory that is
 * missing above it; and whether it is another site's of this session. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "secondary/site/opening.h"

/* The uppermost directory of the path that is not there. */
static char *first_missing(const char *path)
{
    char *part = mem_copy_string(path);
    struct stat st;
    for (char *p = part + 1; (p = strchr(p, '/')) != NULL; *p++ = '/') {
        *p = '\0';
        if (lstat(part, &st) < 0)
            return part;
    }
    return part;
}

static int without_way(const struct replica *r, struct err *err)
{
    char *missing CLEANUP_FREE = first_missing(r->path);
    return err_set(err, ERR_FAILED,
        "cannot create %s: the directory %s is missing. Mount its volume, or type on that host: "
        "mkdir -p %.*s",
        r->path, missing, (int)(strrchr(r->path, '/') - r->path), r->path);
}

/* Or, in a dry run, finds out whether it could be made. */
static int make_root(struct replica *r, struct err *err)
{
    const struct outside *o = r->tools->outside;
    r->root_state = ROOT_CREATED;
    if (r->no_way)
        return without_way(r, err);
    if (r->flags & OPEN_DRY_RUN)
        return 0;
    if (o->make(o->ctx, &r->asked, false, err) == 0)
        return 0;
    return err->sys == ENOENT ? without_way(r, err) : -1;
}

/* Another site of this session in the same directory: the lock would not notice. */
static const struct replica *find_twin(const struct replica *r)
{
    for (struct set_item *i = set_first(r->tools->replicas); i; i = i->next) {
        const struct replica *other = i->value;
        if (other != r && other->root && strcmp(root_path(other->root), root_path(r->root)) == 0)
            return other;
    }
    return NULL;
}

int opening_root(struct replica *r, uint16_t *reason, struct err *err)
{
    struct stat st;
    *reason = REASON_NO_ROOT;
    if (lstat(r->path, &st) < 0 && errno == ENOENT) {
        if (make_root(r, err) < 0)
            return -1;
        if (r->flags & OPEN_DRY_RUN)
            return 0;
    }
    if (root_open(r->path, &r->root, err) < 0)
        return -1;
    const struct replica *twin = find_twin(r);
    if (!twin)
        return 0;
    *reason = REASON_LOCKED;
    return err_set(
        err, ERR_TEMPORARY, "%s is site %u of this session already", r->path, twin->site);
}
