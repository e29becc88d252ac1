/* Reading and writing a root's marker; see marker.h. Knows neither the stage nor the session. */
#include "secondary/site/marker.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "tree/state/rootid.h"

enum { MARKER_VERSION = 1, MARKER_TEXT_MAX = 512 };

/* "VERSION ID INODE BIRTH STAGE"; BIRTH in nanoseconds, 0 where the filesystem keeps none. */
static bool parse(const char *text, struct rootid *at, struct marker *out)
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

int marker_read(int root_fd, int state_fd, struct marker *out, struct err *err)
{
    struct rootid id;
    if (rootid_of(root_fd, &id, err) < 0)
        return -1;
    char *file CLEANUP_FREE = NULL;
    struct rootid at;
    struct marker m;
    int r = io_slurp(state_fd, MARKER_FILE, MARKER_TEXT_MAX, &file, NULL, err);
    if (r != 0)
        return r < 0 ? -1 : 0;
    if (!parse(file, &at, &m))
        return err_set(err, ERR_FAILED,
            "the file " MARKER_FILE
            " in this root's state directory is damaged: remove it, look at "
            "what would change with mirrord resync -n, and take the root over with --adopt");
    if (!rootid_equal(&at, &id))
        return MARKER_OTHER;
    *out = m;
    return 1;
}

static void new_id(char id[MARKER_ID + 1])
{
    uint8_t random[MARKER_ID / 2];
    io_random(random, sizeof random);
    io_hex(random, sizeof random, id);
}

int marker_write(int root_fd, int state_fd, struct marker *m, struct err *err)
{
    struct rootid id;
    if (!m->id[0])
        new_id(m->id);
    if (rootid_of(root_fd, &id, err) < 0)
        return -1;
    char *line CLEANUP_FREE = mem_format(
        "%d %s %" PRIu64 " %" PRIu64 " %s\n", MARKER_VERSION, m->id, id.inode, id.birth, m->stage);
    return io_publish(state_fd, MARKER_FILE, line, strlen(line), err);
}
