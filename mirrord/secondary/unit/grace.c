/* The directories of units in the stage; see grace.h. What is in them is not its business. */
#include "secondary/unit/grace.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/trash/foreign.h"

#define PATH_FILE "path"

/* From shortly before the exchange on: behind it the inode of what is to be live. */
#define SWITCHED "switched-"

static int write_path(int dirfd, struct bytes path, struct err *err)
{
    int fd CLEANUP_FD = openat(dirfd, PATH_FILE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || io_write_full(fd, path.data, path.len) < 0)
        return err_sys(err, errno, "write the note of a unit in the stage");
    return 0;
}

int grace_make(struct stage *s, struct bytes unit, char name[STAGE_NAME_MAX], struct err *err)
{
    snprintf(name, STAGE_NAME_MAX, "u0-%s-%" PRIx64, s->session, s->counter++);
    if (mkdirat(root_fd(s->root), name, 0700) < 0)
        return err_sys(err, errno, "create a place for the unit in the stage");
    int dir CLEANUP_FD =
        openat(root_fd(s->root), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir >= 0 && write_path(dir, unit, err) == 0)
        return 0;
    if (dir < 0)
        err_sys(err, errno, "open the unit's place in the stage");
    stage_bury(s, root_fd(s->root), name);
    return -1;
}

static void hold(struct stage *s, const char *name, struct bytes unit, uint64_t due)
{
    struct grace_unit *u = mem_alloc(sizeof *u);
    *u = (struct grace_unit){{mem_copy_bytes(unit.data, unit.len), unit.len}, due};
    set_add(s->held, name, strlen(name))->value = u;
}

void grace_keep(struct stage *s, const char *name, struct bytes unit, unsigned seconds)
{
    char kept[STAGE_NAME_MAX];
    uint64_t due = (uint64_t)time(NULL) + seconds;
    snprintf(kept, sizeof kept, "u%" PRIx64 "-%s-%" PRIx64, due, s->session, s->counter++);
    int stage = root_fd(s->root);
    if (renameat2(stage, name, stage, kept, RENAME_NOREPLACE) == 0) {
        hold(s, kept, unit, due);
        root_forget(s->root);
    } else if (errno != ENOENT)
        log_warn("rename %s in the stage: %s", name, strerror(errno));
}

static int open_holder(struct stage *s, const char *name)
{
    return openat(root_fd(s->root), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

void grace_discard(struct stage *s, const char *name, struct bytes unit)
{
    if (!set_find(s->held, name, strlen(name)))
        hold(s, name, unit, 0);
}

void grace_switching(struct stage *s, const char *name, uint64_t inode)
{
    char note[STAGE_NAME_MAX];
    int dir CLEANUP_FD = open_holder(s, name);
    snprintf(note, sizeof note, SWITCHED "%" PRIx64, inode);
    if (dir >= 0 && renameat(dir, PATH_FILE, dir, note) < 0 && errno != ENOENT)
        log_warn("rename the note of %s in the stage: %s", name, strerror(errno));
}

/* Another name of this shape is none of ours. */
static bool read_due(const char *name, uint64_t *due)
{
    char *end;
    if (name[0] != 'u')
        return false;
    *due = strtoull(name + 1, &end, 16);
    return end > name + 1 && *end == '-';
}

/* The note's name and, behind an exchange that may have happened, the inode that it was about. */
static bool find_note(int holder, char name[PATH_NAME_MAX + 1], bool *switched, uint64_t *inode)
{
    int fd = openat(holder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;
    bool found = false;
    if (fd >= 0 && !dir)
        close(fd);
    while (dir && !found && (e = readdir(dir)) != NULL) {
        *switched = strncmp(e->d_name, SWITCHED, strlen(SWITCHED)) == 0;
        found = *switched || strcmp(e->d_name, PATH_FILE) == 0;
        if (found)
            snprintf(name, PATH_NAME_MAX + 1, "%s", e->d_name);
    }
    if (dir)
        closedir(dir);
    *inode = found && *switched ? strtoull(name + strlen(SWITCHED), NULL, 16) : 0;
    return found;
}

/* The journal that should have told what is foreign in it was lost: what is not the unit that was
 * built here may have been live. */
static void set_aside(struct stage *s, int dir, struct bytes path, uint64_t built)
{
    const char *content = &GRACE_CONTENT[1];
    struct stat st;
    struct err why;
    if (fstatat(dir, content, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino != built &&
        foreign_keep(s, dir, content, path, &why) < 0)
        log_error("%s: %s", QUOTED(path.data, path.len), why.text);
}

static void load_one(struct stage *s, const char *name, uint64_t due)
{
    char note[PATH_NAME_MAX + 1];
    char *text CLEANUP_FREE = NULL;
    size_t len = 0;
    bool switched;
    uint64_t built;
    struct err why;
    int dir CLEANUP_FD = open_holder(s, name);
    if (dir < 0)
        return;
    if (!find_note(dir, note, &switched, &built) ||
        io_slurp(dir, note, PATH_TOTAL_MAX, &text, &len, &why) != 0 || len == 0 ||
        !path_valid((struct bytes){text, len})) {
        stage_bury(s, root_fd(s->root), name);
        return;
    }
    if (switched && due == 0)
        set_aside(s, dir, (struct bytes){text, len}, built);
    hold(s, name, (struct bytes){text, len}, due);
}

void grace_load(struct stage *s)
{
    int fd = openat(root_fd(s->root), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;
    uint64_t due;
    if (fd >= 0 && !dir)
        close(fd);
    while (dir && (e = readdir(dir)) != NULL)
        if (read_due(e->d_name, &due) && !set_find(s->held, e->d_name, strlen(e->d_name)))
            load_one(s, e->d_name, due);
    if (dir)
        closedir(dir);
}

bool grace_place(const char *name, struct bytes unit, struct bytes path,
    char out[PATH_TOTAL_MAX + 1], struct bytes *place)
{
    size_t rest = path.len - unit.len;
    size_t head = strlen(name) + strlen(GRACE_CONTENT);
    if (head + rest > PATH_TOTAL_MAX)
        return false;
    snprintf(out, PATH_TOTAL_MAX + 1, "%s" GRACE_CONTENT, name);
    memcpy(out + head, (const char *)path.data + unit.len, rest);
    *place = (struct bytes){out, head + rest};
    return true;
}

static bool has_inode(struct stage *s, const char *holder, const struct grace_unit *u,
    struct bytes path, uint64_t inode)
{
    char whole[PATH_TOTAL_MAX + 1], name[PATH_NAME_MAX + 1];
    struct bytes place;
    struct stat st;
    if (!path_beneath(path, u->path) || !grace_place(holder, u->path, path, whole, &place))
        return false;
    int dir = root_borrow_parent(s->root, place, name);
    return dir >= 0 && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == inode;
}

unsigned grace_links(struct stage *s, struct bytes path, uint64_t inode)
{
    unsigned links = 0;
    for (struct set_item *i = s ? set_first(s->held) : NULL; i; i = i->next)
        links += has_inode(s, i->key, i->value, path, inode);
    return links;
}
