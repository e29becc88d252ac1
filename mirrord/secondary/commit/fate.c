/*
 * What becomes of what is at a step's path: whether it is mirrord's, whether anything is lost with
 * it, and how it goes; see commit_impl.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "secondary/commit/commit_impl.h"
#include "secondary/trash/foreign.h"
#include "secondary/trash/kept.h"
#include "tree/content/digest.h"
#include "tree/walk/writer.h"

enum { MATCH_MAX = 4 << 20 }; /* bytes; a millisecond's reading */

void install_loosen(struct commit *c, int dirfd)
{
    struct stat st;
    if (c->mighty || fstat(dirfd, &st) < 0 || (st.st_mode & COMMIT_DIR_WORK) == COMMIT_DIR_WORK)
        return;
    if (fchmod(dirfd, (st.st_mode & 07777) | COMMIT_DIR_WORK) < 0)
        log_debug("chmod u+wx: %s", strerror(errno));
}

void install_loosen_at(struct commit *c, int dirfd, const char *name)
{
    if (c->mighty)
        return;
    int fd CLEANUP_FD = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0)
        install_loosen(c, fd);
}

/* A change of a file's ctime alone (a backup by hard links, a chmod here) does not make it
 * somebody else's: what is in it is still what was put there. */
bool install_is_ours(const struct step_old *old, const struct stat *live)
{
    struct validators v = validators_of(live);
    return old->known && old->committed && v.inode == old->validators.inode &&
           v.size == old->validators.size && v.mtime == old->validators.mtime &&
           v.mtime_nsec == old->validators.mtime_nsec;
}

static bool brings_content(const struct step *s)
{
    return s->kind == STEP_ENTRY && s->entry.type == ENTRY_FILE && s->entry.has_digest;
}

static bool is_same_link(const struct step *s, int dirfd, const char *name)
{
    char target[PATH_TARGET_MAX + 1];
    if (s->kind != STEP_ENTRY || s->entry.type != ENTRY_LINK)
        return false;
    ssize_t n = readlinkat(dirfd, name, target, sizeof target);
    return n >= 0 && bytes_equal((struct bytes){target, (size_t)n}, s->entry.target);
}

enum fate install_fate(const struct step *s, int dirfd, const char *name, const struct stat *live)
{
    struct validators v = validators_of(live);
    if (S_ISDIR(live->st_mode))
        return s->way == WAY_CLEAN ? FATE_OURS : FATE_FOREIGN;
    if (brings_content(s) && s->old.known && s->old.has_digest &&
        validators_equal(&v, &s->old.validators) && digest_equal(&s->old.digest, &s->entry.digest))
        return FATE_DEAD;
    if (is_same_link(s, dirfd, name))
        return FATE_DEAD;
    return install_is_ours(&s->old, live) ? FATE_OURS : FATE_FOREIGN;
}

int install_remove(struct commit *c, int dirfd, const char *name, struct bytes path, enum fate fate,
    struct err *err)
{
    struct stage *stage = c->r->stage;
    install_loosen_at(c, dirfd, name);
    if (fate == FATE_FOREIGN)
        return foreign_keep(stage, dirfd, name, path, err);
    if (fate == FATE_OURS && kept_wanted(c->r) && kept_take(c->r, dirfd, name, path))
        return 0;
    if (stage_bury(stage, dirfd, name) < 0)
        return err_sys(err, errno, "remove");
    return 0;
}

/* Read under the writer probe, and only what is quickly read. */
bool install_is_matched(const struct step *s, int dirfd, const char *name)
{
    struct stat st, now;
    struct digest digest;
    struct err ignored;
    if (!brings_content(s) || s->entry.size > MATCH_MAX)
        return false;
    int fd CLEANUP_FD = root_open_name(dirfd, name);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1 ||
        (uint64_t)st.st_size != s->entry.size || writer_probe(fd) != 0)
        return false;
    return digest_of_fd(fd, s->entry.size, &digest, &ignored) == 0 &&
           digest_equal(&digest, &s->entry.digest) && writer_probe(fd) == 0 &&
           fstat(fd, &now) == 0 && now.st_size == st.st_size;
}
