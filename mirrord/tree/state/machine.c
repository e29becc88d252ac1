/* The machine's id beside the host's; see machine.h. */
#include "tree/state/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "protocol/entry.h"
#include "tree/state/state.h"

#define MACHINE_FILE "machine-id"

enum { ID_MAX = 128 };

/* NULL: it has none. The caller frees. */
static char *current(void)
{
    struct err ignored;
    char *id = NULL;
    if (io_slurp(AT_FDCWD, "/etc/machine-id", ID_MAX, &id, NULL, &ignored) != 0)
        return NULL;
    id[strcspn(id, "\n")] = '\0';
    if (strlen(id) == 2 * sizeof(struct digest))
        return id;
    free(id); /* "uninitialized", or empty */
    return NULL;
}

static int open_state(const char *state_dir, struct err *err)
{
    if (io_make_path(state_dir, 0700, err) < 0)
        return -1;
    int fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? err_sys(err, errno, "open %s", state_dir) : fd;
}

int machine_check(const char *state_dir, struct err *err)
{
    char *now CLEANUP_FREE = current(), *kept CLEANUP_FREE = NULL;
    int dir CLEANUP_FD = now ? open_state(state_dir, err) : -1;
    if (!now)
        return 0;
    int r = dir < 0 ? -1 : io_slurp(dir, MACHINE_FILE, ID_MAX, &kept, NULL, err);
    if (r == 1)
        return io_publish(dir, MACHINE_FILE, now, strlen(now), err);
    if (r < 0 || strncmp(kept, now, strlen(now)) == 0)
        return r;
    return err_set(err, ERR_REFUSED,
        "the state in %s is another machine's: nothing is sent. If this one is a clone, type: "
        "mirrord identity --new; if it is the same one with a new machine-id: mirrord identity "
        "--keep",
        state_dir);
}

int machine_keep(const char *state_dir, struct err *err)
{
    char *now CLEANUP_FREE = current();
    int dir CLEANUP_FD = open_state(state_dir, err);
    if (dir < 0)
        return -1;
    return now ? io_publish(dir, MACHINE_FILE, now, strlen(now), err) : 0;
}

int machine_new(const char *state_dir, struct err *err)
{
    struct digest id;
    int dir CLEANUP_FD = open_state(state_dir, err);
    if (dir < 0)
        return -1;
    if (unlinkat(dir, "host-id", 0) < 0 && errno != ENOENT)
        return err_sys(err, errno, "remove host-id");
    return state_host_id(state_dir, &id, err) < 0 ? -1 : machine_keep(state_dir, err);
}
