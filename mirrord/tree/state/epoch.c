/* The epoch's file, its lock, and who wins; see epoch.h. Knows nothing of sessions. */
#include "tree/state/epoch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "tree/content/digest.h"
#include "tree/state/epochs.h"

#define EPOCH_FILE "epoch"

enum { EPOCH_VERSION = 1, EPOCH_TEXT_MAX = 512, HEX = 32 };

static const char *const role_names[] = {[ROLE_CONFIGURED] = "configured",
    [ROLE_PRIMARY] = "primary",
    [ROLE_SECONDARY] = "secondary",
    [ROLE_FENCED] = "fenced"};

/* "VERSION COUNTER ID ROLE HOST" */
static int parse(const char *text, struct epoch *out, struct err *err)
{
    struct epoch e = {0};
    unsigned version = 0;
    char hex[HEX + 1], role[16];
    int n = sscanf(text, "%u %" SCNu64 " %32[0-9a-f] %15s %255[^\n]", &version, &e.counter, hex,
        role, e.primary);
    for (size_t i = 0; n == 5 && i < sizeof role_names / sizeof *role_names; i++)
        if (strcmp(role, role_names[i]) == 0)
            e.role = (enum epoch_role)i;
    for (size_t i = 0; n == 5 && i < sizeof e.id.b; i++)
        if (sscanf(hex + 2 * i, "%2hhx", &e.id.b[i]) != 1)
            n = 0;
    if (n != 5 || version != EPOCH_VERSION || e.role == ROLE_CONFIGURED)
        return err_set(err, ERR_FAILED,
            "the file " EPOCH_FILE " in this root's state directory is damaged: nothing is sent or "
            "taken for it until mirrord promote says who the primary is");
    *out = e;
    return 0;
}

int epoch_read(int dir, struct epoch *out, struct err *err)
{
    char *text CLEANUP_FREE = NULL;
    int r = io_slurp(dir, EPOCH_FILE, EPOCH_TEXT_MAX, &text, NULL, err);
    if (r < 0)
        return -1;
    *out = (struct epoch){0};
    return r == 1 ? 0 : parse(text, out, err);
}

int epoch_of(const char *state_dir, const char *root, struct epoch *out, struct err *err)
{
    int fd CLEANUP_FD = epochs_open(state_dir, root, false, err);
    if (fd == -1)
        return -1;
    *out = (struct epoch){0};
    return fd < 0 ? 0 : epoch_read(fd, out, err);
}

int epoch_lock(int dir, struct err *err)
{
    int fd CLEANUP_FD = openat(dir, EPOCH_LOCK, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, errno, "open " EPOCH_LOCK);
    while (flock(fd, LOCK_EX) < 0)
        if (errno != EINTR)
            return err_sys(err, errno, "lock " EPOCH_LOCK);
    return TAKE_FD(fd);
}

/* What another host calls itself is printed, and stands in a line of the file. */
static void clean_name(char out[MSG_HOST_MAX + 1], const char *name)
{
    name += strspn(name, " ");
    log_name(out, MSG_HOST_MAX + 1, *name ? name : "?", *name ? strlen(name) : 1);
    for (char *p = out; (p = strchr(p, '\\'));) /* what is read is written again as it is */
        *p = '?';
}

int epoch_write(int dir, const struct epoch *e, struct err *err)
{
    char hex[HEX + 1], primary[MSG_HOST_MAX + 1];
    clean_name(primary, e->primary);
    io_hex(e->id.b, sizeof e->id.b, hex);
    char *line CLEANUP_FREE = mem_format(
        "%d %" PRIu64 " %s %s %s\n", EPOCH_VERSION, e->counter, hex, role_names[e->role], primary);
    if (io_publish(dir, EPOCH_FILE, line, strlen(line), err) < 0)
        return -1;
    return fchmodat(dir, EPOCH_FILE, 0644, 0) < 0 ? err_sys(err, errno, "chmod " EPOCH_FILE) : 0;
}

uint64_t epoch_stamp(int dir)
{
    struct stat st;
    if (fstatat(dir, EPOCH_FILE, &st, 0) < 0)
        return 0;
    return (uint64_t)st.st_ino * 1000003 + (uint64_t)st.st_mtim.tv_sec * 1000000007 +
           (uint64_t)st.st_mtim.tv_nsec + 1;
}

enum epoch_order epoch_compare(const struct epoch *ours, uint64_t counter, const struct digest *id)
{
    if (counter != ours->counter)
        return counter < ours->counter ? EPOCH_LOWER : EPOCH_HIGHER;
    return counter && !digest_equal(&ours->id, id) ? EPOCH_SPLIT : EPOCH_SAME;
}

bool epoch_is_near(const struct epoch *ours, uint64_t counter)
{
    return counter <= ours->counter || counter - ours->counter <= EPOCH_STEP_MAX;
}

static int refuse(const struct epoch *e, const char *why, struct err *err)
{
    err_set(err, ERR_REFUSED, "fenced: %s", why);
    if (e->primary[0])
        err_set(err, ERR_REFUSED, "fenced: %s; %s is the primary (epoch %" PRIu64 ")", why,
            e->primary, e->counter);
    return 1;
}

static int store(int dir, uint64_t counter, const struct digest *id, const char *primary,
    struct epoch *now, struct err *err)
{
    struct epoch e = {.counter = counter, .id = *id, .role = ROLE_SECONDARY};
    clean_name(e.primary, primary);
    if (epoch_write(dir, &e, err) < 0)
        return -1;
    *now = e;
    return 0;
}

static int judge(int dir, bool primary_here, uint64_t counter, const struct digest *id,
    const char *primary, struct epoch *now, struct err *err)
{
    bool is_primary = now->role == ROLE_CONFIGURED ? primary_here : now->role == ROLE_PRIMARY;
    if (!epoch_is_near(now, counter))
        return refuse(now, "an epoch that no promotion leads to", err);
    switch (epoch_compare(now, counter, id)) {
    case EPOCH_LOWER: return refuse(now, "another host was promoted", err);
    case EPOCH_SPLIT:
        return refuse(
            now, "two hosts were promoted at the same time; promote the one that is to stay", err);
    case EPOCH_HIGHER: return store(dir, counter, id, primary, now, err);
    case EPOCH_SAME: break;
    }
    if (is_primary)
        return refuse(now, "this host is the primary itself", err);
    return now->role == ROLE_FENCED ? store(dir, counter, id, primary, now, err) : 0;
}

int epoch_present(int dir, bool primary_here, uint64_t counter, const struct digest *id,
    const char *primary, struct epoch *now, struct err *err)
{
    int lock CLEANUP_FD = epoch_lock(dir, err);
    if (lock < 0 || epoch_read(dir, now, err) < 0)
        return -1;
    return judge(dir, primary_here, counter, id, primary, now, err);
}
