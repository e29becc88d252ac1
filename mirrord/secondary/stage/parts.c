/* Names, finding and keeping of parts; see parts.h. What a part is used for is transfer.c's. */
#include "secondary/stage/parts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "tree/content/digest.h"

enum { KEY = 1 + 16 }; /* the letter and half of the path's digest: what parts of a path share */

static void key_of(struct bytes path, char out[KEY + 1])
{
    struct digest d;
    digest_plain(path.data, path.len, &d);
    out[0] = 'p';
    io_hex(d.b, KEY / 2, out + 1);
}

size_t parts_name(struct stage *s, struct bytes path, char out[STAGE_NAME_MAX])
{
    char key[KEY + 1];
    key_of(path, key);
    return (size_t)snprintf(out, STAGE_NAME_MAX, "%s-%s-%" PRIx64, key, s->session, s->counter++);
}

static void let_die(struct stage *s, const char *name)
{
    set_add(s->dead, name, strlen(name));
}

/* Which of two stays: the larger of one path, else the newer. */
static bool is_better(const struct stage_part *a, const struct stage_part *b)
{
    return strncmp(a->name, b->name, KEY) == 0 ? a->size > b->size : a->time > b->time;
}

/* The one that has to go for this: one of the same path, or the oldest when there are too many. */
static struct stage_part *rival(struct stage *s, const struct stage_part *p)
{
    struct stage_part *oldest = &s->parts[0];
    for (unsigned i = 0; i < s->part_count; i++) {
        if (strncmp(s->parts[i].name, p->name, KEY) == 0)
            return &s->parts[i];
        if (s->parts[i].time < oldest->time)
            oldest = &s->parts[i];
    }
    return s->part_count == STAGE_PARTS_MAX ? oldest : NULL;
}

static void take(struct stage *s, const struct stage_part *p)
{
    struct stage_part *other = rival(s, p);
    if (!other) {
        s->parts[s->part_count++] = *p;
    } else if (is_better(p, other)) {
        let_die(s, other->name);
        *other = *p;
    } else {
        let_die(s, p->name);
    }
}

static void consider(struct stage *s, const char *name)
{
    struct stage_part p = {0};
    struct stat st;
    if (name[0] != 'p' || strlen(name) <= KEY || name[KEY] != '-' ||
        strlen(name) >= sizeof p.name ||
        fstatat(root_fd(s->root), name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    strcpy(p.name, name);
    p.size = (uint64_t)st.st_size;
    p.time = st.st_ctim.tv_sec;
    bool young = time(NULL) - p.time <= PARTS_AGE_S;
    if (S_ISREG(st.st_mode) && young && p.size >= PARTS_MIN_SIZE)
        take(s, &p);
    else
        let_die(s, name);
}

void parts_find(struct stage *s)
{
    int fd = openat(root_fd(s->root), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;
    s->part_count = 0;
    while (dir && (e = readdir(dir)) != NULL)
        consider(s, e->d_name);
    if (dir)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
}

int parts_open(const struct stage *s, struct bytes path, struct stat *st)
{
    char key[KEY + 1];
    key_of(path, key);
    for (unsigned i = 0; i < s->part_count; i++) {
        if (strncmp(s->parts[i].name, key, KEY) != 0)
            continue;
        int fd = openat(root_fd(s->root), s->parts[i].name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0 && fstat(fd, st) == 0)
            return fd;
        if (fd >= 0)
            close(fd);
    }
    return -1;
}

bool parts_keep(struct stage *s, struct bytes path, struct bytes staged)
{
    struct stat st;
    char name[STAGE_NAME_MAX], own[PATH_NAME_MAX + 1];
    int dir = root_borrow_parent(s->root, staged, own);
    if (dir < 0 || fstatat(dir, own, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
        st.st_size < PARTS_MIN_SIZE)
        return false;
    if (own[0] == 'p')
        return true;
    parts_name(s, path, name);
    return renameat2(dir, own, root_fd(s->root), name, RENAME_NOREPLACE) == 0;
}

void parts_drop(struct stage *s, struct bytes path)
{
    char key[KEY + 1];
    key_of(path, key);
    for (unsigned i = 0; i < s->part_count;) {
        struct stage_part *p = &s->parts[i];
        if (path.len && strncmp(p->name, key, KEY) != 0) {
            i++;
            continue;
        }
        if (stage_unlink(s, root_fd(s->root), p->name) < 0 && errno != ENOENT)
            log_warn("cannot remove %s from the stage %s: %s", p->name, root_path(s->root),
                strerror(errno));
        *p = s->parts[--s->part_count];
    }
}
