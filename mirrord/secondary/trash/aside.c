/* Items of the trash; see aside.h. Knows nothing of why something is set aside. */
#include "secondary/trash/aside.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"

_Static_assert((int)ASIDES == (int)STAGE_ASIDES, "the stage has a place for each");

const char *aside_place(enum aside which)
{
    static const char *const places[ASIDES] = {"trash/foreign", "trash/kept"};
    return places[which];
}

static int make_directory(int dirfd, const char *name)
{
    return mkdirat(dirfd, name, 0700) == 0 || errno == EEXIST ? 0 : -1;
}

int aside_open(struct stage *s, enum aside which, bool make)
{
    const char *place = aside_place(which);
    int stage = root_fd(s->root);
    if (s->aside[which] >= 0)
        return s->aside[which];
    if (make && (make_directory(stage, "trash") < 0 || make_directory(stage, place) < 0))
        return -1;
    s->aside[which] = openat(stage, place, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return s->aside[which];
}

static void forget(struct stage *s, enum aside which)
{
    if (s->aside[which] >= 0)
        close(s->aside[which]);
    s->aside[which] = -1;
}

bool aside_parse(const char *name, struct aside_name *out)
{
    char session[17], state = 0;
    int end = 0;
    *out = (struct aside_name){.days = ASIDE_FOREIGN_DAYS};
    int n = sscanf(name, "%" SCNd64 "-%16[0-9a-f]-%" SCNx64 "%n-%u%c", &out->since, session,
        &out->order, &end, &out->days, &state);
    out->state = state;
    return n == 5 || (n == 3 && name[end] == '\0');
}

static int write_path(int item, struct bytes path, struct err *err)
{
    int fd CLEANUP_FD = openat(item, ASIDE_PATH, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    char *line CLEANUP_FREE = mem_alloc(path.len + 1);
    memcpy(line, path.data, path.len);
    line[path.len] = '\n';
    if (fd < 0 || io_write_full(fd, line, path.len + 1) < 0)
        return err_sys(err, errno, "write the trash's note");
    return 0;
}

static int fill(int item, const struct aside_thing *t, struct err *err)
{
    if (write_path(item, t->path, err) < 0)
        return -1;
    if (t->link && linkat(t->dirfd, t->name, item, ASIDE_CONTENT, 0) < 0)
        return err_sys(err, errno, "link into the trash");
    if (!t->link && renameat2(t->dirfd, t->name, item, ASIDE_CONTENT, RENAME_NOREPLACE) < 0)
        return err_sys(err, errno, "rename into the trash");
    return 0;
}

/* Somebody may have cleared the trash by hand: then its directory is made again. */
static int make_item(struct stage *s, enum aside which, const char *where)
{
    int dir = aside_open(s, which, true);
    if (dir >= 0 && mkdirat(dir, where, 0700) < 0 && errno == ENOENT) {
        forget(s, which);
        dir = aside_open(s, which, true);
        if (dir >= 0 && mkdirat(dir, where, 0700) < 0)
            dir = -1;
    }
    return dir < 0 ? -1 : openat(dir, where, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

int aside_put(struct stage *s, enum aside which, const char *tail, const struct aside_thing *thing,
    char where[ASIDE_NAME_MAX], struct err *err)
{
    snprintf(where, ASIDE_NAME_MAX, "%" PRId64 "-%s-%" PRIx64 "%s", (int64_t)time(NULL), s->session,
        s->counter++, tail);
    int item CLEANUP_FD = make_item(s, which, where);
    if (item < 0)
        return err_sys(err, errno, "create %s in the trash of %s", where, root_path(s->root));
    if (fill(item, thing, err) == 0)
        return 0;
    unlinkat(item, ASIDE_PATH, 0);
    unlinkat(s->aside[which], where, AT_REMOVEDIR);
    return -1;
}
