/* Reading and writing a root's marker; see marker.h. Knows neither the stage nor the session. */
#include "secondary/marker.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"

#define MARKER_FILE "marker"

enum { MARKER_VERSION = 1, MARKER_TEXT_MAX = 512 };

struct place {
    uint64_t inode, birth;
};

/* "VERSION ID INODE BIRTH STAGE"; BIRTH in nanoseconds, 0 where the filesystem keeps none. */
static bool parse(const char *text, struct place *at, struct marker *out)
{
    struct marker m;
    unsigned version;
    if (sscanf(text, "%u %32[0-9a-f] %" SCNu64 " %" SCNu64 " %255[^/ \n]", &version, m.id,
            &at->inode, &at->birth, m.stage) != 5)
        return false;
    if (version != MARKER_VERSION || strlen(m.id) != MARKER_ID ||
        !path_is_reserved(bytes_of(m.stage)))
        return false;
    *out = m;
    return true;
}

static int identity(int root_fd, uint64_t *inode, uint64_t *birth, struct err *err)
{
    struct statx sx;
    if (statx(root_fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &sx) < 0)
        return err_sys(err, errno, "statx");
    *inode = sx.stx_ino;
    *birth = sx.stx_mask & STATX_BTIME
                 ? (uint64_t)sx.stx_btime.tv_sec * 1000000000 + sx.stx_btime.tv_nsec
                 : 0;
    return 0;
}

int marker_read(int root_fd, int state_fd, struct marker *out, struct err *err)
{
    uint64_t inode = 0, birth = 0;
    if (identity(root_fd, &inode, &birth, err) < 0)
        return -1;
    char *file CLEANUP_FREE = NULL;
    struct place at;
    struct marker m;
    int r = io_slurp(state_fd, MARKER_FILE, MARKER_TEXT_MAX, &file, NULL, err);
    if (r != 0)
        return r < 0 ? -1 : 0;
    if (!parse(file, &at, &m))
        return err_set(err, ERR_FAILED,
            "the file " MARKER_FILE
            " in this root's state directory is damaged: remove it, look at "
            "what would change with mirrord resync -n, and take the root over with --adopt");
    if (at.inode != inode || at.birth != birth)
        return 0; /* of another directory that was at this path */
    *out = m;
    return 1;
}

static void new_id(char id[MARKER_ID + 1])
{
    uint8_t random[MARKER_ID / 2];
    io_random(random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(id + 2 * i, 3, "%02x", random[i]);
}

int marker_write(int root_fd, int state_fd, struct marker *m, struct err *err)
{
    uint64_t inode = 0, birth = 0;
    if (!m->id[0])
        new_id(m->id);
    if (identity(root_fd, &inode, &birth, err) < 0)
        return -1;
    char *line CLEANUP_FREE = mem_format(
        "%d %s %" PRIu64 " %" PRIu64 " %s\n", MARKER_VERSION, m->id, inode, birth, m->stage);
    return io_publish(state_fd, MARKER_FILE, line, strlen(line), err);
}
