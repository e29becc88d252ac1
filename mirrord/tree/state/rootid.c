/* Reading, comparing and keeping what a root is known by; see rootid.h. */
#include "tree/state/rootid.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"

#define ROOTID_FILE "root"

enum { ROOTID_VERSION = 1, ROOTID_TEXT_MAX = 128 };

int rootid_of(int root_fd, struct rootid *out, struct err *err)
{
    struct statx sx;
    if (statx(root_fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &sx) < 0)
        return err_sys(err, errno, "statx");
    out->inode = sx.stx_ino;
    out->birth = sx.stx_mask & STATX_BTIME
                     ? (uint64_t)sx.stx_btime.tv_sec * 1000000000 + sx.stx_btime.tv_nsec
                     : 0;
    return 0;
}

bool rootid_equal(const struct rootid *a, const struct rootid *b)
{
    return a->inode == b->inode && a->birth == b->birth;
}

/* "VERSION INODE BIRTH"; what another version wrote counts as nothing. */
int rootid_read(int state_fd, struct rootid *out, struct err *err)
{
    char *text CLEANUP_FREE = NULL;
    unsigned version = 0;
    struct rootid id;
    int r = io_slurp(state_fd, ROOTID_FILE, ROOTID_TEXT_MAX, &text, NULL, err);
    if (r != 0)
        return r < 0 ? -1 : 0;
    if (sscanf(text, "%u %" SCNu64 " %" SCNu64, &version, &id.inode, &id.birth) != 3 ||
        version != ROOTID_VERSION)
        return 0;
    *out = id;
    return 1;
}

int rootid_write(int state_fd, const struct rootid *id, struct err *err)
{
    char *line CLEANUP_FREE =
        mem_format("%d %" PRIu64 " %" PRIu64 "\n", ROOTID_VERSION, id->inode, id->birth);
    return io_publish(state_fd, ROOTID_FILE, line, strlen(line), err);
}
