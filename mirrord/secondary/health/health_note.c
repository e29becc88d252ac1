/* The codec of the note and of the mark; see health_note.h. The reader may be more privileged than
 * the writer: it follows no link, waits for no FIFO and believes no length. */
#include "secondary/health/health_note.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/boot.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"

#define NOTE "health"
#define MARK "committing"

enum {
    NOTE_VERSION = 1,
    NOTE_MAX = 1024 + HEALTH_TEXT_MAX + MSG_HOST_MAX,
    MARK_LEN = 20 + 1 + BOOT_ID + 1,
};

/* 1 read, 0 there is none, -1. `out` has room for `max` bytes and a NUL. */
static int slurp(int dir, const char *name, char *out, size_t max, struct err *err)
{
    int fd CLEANUP_FD = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    ssize_t n = fd < 0 ? -1 : pread(fd, out, max, 0); /* a file so small comes in one piece */
    if (n < 0)
        return err_sys(err, errno, "read %s", name);
    out[n] = '\0';
    return 1;
}

/* One line, whatever a peer called itself or a name has in it. */
static void put_line(char *out, size_t size, const char *text, size_t n)
{
    snprintf(out, size, "%.*s", (int)n, text);
    log_tame(out);
}

int health_note_write(int state_fd, const struct health_note *n, struct err *err)
{
    char boot[BOOT_ID + 1], primary[sizeof n->primary], text[sizeof n->text];
    boot_id(boot);
    put_line(primary, sizeof primary, n->primary, sizeof primary);
    put_line(text, sizeof text, n->text, sizeof text);
    char *all CLEANUP_FREE =
        mem_format("%d %s %" PRIu64 " %lld\n%d %" PRId64 " %" PRId64 "\n%d %" PRId64 "\n"
                   "%d %d %d %d\n%" PRIu64 " %" PRIu64 " %" PRId64 "\n%s\n%s\n",
            NOTE_VERSION, boot, io_boot_ms(), (long long)time(NULL), (int)n->state, n->since_ms,
            n->heard_ms, n->trouble, n->trouble_ms, n->filling, n->told, n->level, n->paused,
            n->owed_paths, n->failing, n->owed_ms, primary, text);
    return io_replace(state_fd, NOTE, all, strlen(all), err);
}

/* Whoever wrote it may have been taken over since. */
static void take_line(const char **at, char *out, size_t size)
{
    size_t n = strcspn(*at, "\n");
    put_line(out, size, *at, n);
    *at += n + ((*at)[n] == '\n');
}

/* What has to be added to a time that was written in another boot: this host's clock says how long
 * ago that was. */
static int64_t shift_of(const char *boot, uint64_t written_ms, long long wall_s)
{
    char now[BOOT_ID + 1];
    const long long most = 1LL << 40;
    long long passed = wall_s > 0 && wall_s < most ? (long long)time(NULL) - wall_s : 0;
    boot_id(now);
    if (strcmp(boot, now) == 0 || written_ms > (uint64_t)most)
        return 0;
    return (int64_t)io_boot_ms() - (passed > 0 ? passed * 1000 : 0) - (int64_t)written_ms;
}

/* On this boot's clock; what nobody wrote that is sane does not overflow anything. */
static int64_t moved(int64_t at_ms, int64_t shift)
{
    const int64_t most = (int64_t)1 << 50;
    int64_t at = at_ms > most ? most : at_ms < -most ? -most : at_ms;
    return at + (shift > most ? most : shift < -most ? -most : shift);
}

bool health_note_parse(const char *all, struct health_note *out)
{
    char boot[BOOT_ID + 1];
    uint64_t written_ms;
    long long wall_s;
    int version, state, trouble, filling, told, level, paused, at = 0;
    struct health_note n = {0};
    if (sscanf(all,
            "%d %36s %" SCNu64 " %lld %d %" SCNd64 " %" SCNd64 " %d %" SCNd64
            " %d %d %d %d %" SCNu64 " %" SCNu64 " %" SCNd64 "%n",
            &version, boot, &written_ms, &wall_s, &state, &n.since_ms, &n.heard_ms, &trouble,
            &n.trouble_ms, &filling, &told, &level, &paused, &n.owed_paths, &n.failing, &n.owed_ms,
            &at) != 16 ||
        version != NOTE_VERSION || state < HEALTH_OPENING || state > HEALTH_CLOSED ||
        all[at] != '\n')
        return false;
    const char *rest = all + at + 1;
    int64_t shift = shift_of(boot, written_ms, wall_s);
    n.state = (__typeof__(n.state))state;
    n.trouble = trouble;
    n.filling = filling;
    n.told = told;
    n.level = level;
    n.paused = paused;
    n.since_ms = moved(n.since_ms, shift);
    n.heard_ms = moved(n.heard_ms, shift);
    n.trouble_ms = moved(n.trouble_ms, shift);
    n.owed_ms = moved(n.owed_ms, shift);
    take_line(&rest, n.primary, sizeof n.primary);
    take_line(&rest, n.text, sizeof n.text);
    *out = n;
    return true;
}

int health_note_read(int state_fd, struct health_note *out, struct err *err)
{
    char all[NOTE_MAX + 1];
    int found = slurp(state_fd, NOTE, all, NOTE_MAX, err);
    return found == 1 ? health_note_parse(all, out) : found;
}

/* --- the mark --- */

int health_mark_open(int state_fd)
{
    return openat(state_fd, MARK, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
}

void health_mark_set(int fd)
{
    char boot[BOOT_ID + 1], text[MARK_LEN + 1];
    uint64_t now = io_boot_ms();
    if (fd < 0)
        return;
    boot_id(boot);
    snprintf(text, sizeof text, "%020" PRIu64 " %-*s\n", now ? now : 1, BOOT_ID, boot);
    if (io_pwrite_full(fd, text, MARK_LEN, 0) < 0)
        log_debug("that a commit is under way could not be marked: %m");
}

void health_mark_clear(int fd)
{
    static const char none[] = "00000000000000000000";
    if (fd >= 0 && io_pwrite_full(fd, none, sizeof none - 1, 0) < 0)
        log_warn("that a commit is done could not be marked: %m");
}

void health_mark_forget(int state_fd)
{
    int fd CLEANUP_FD = openat(state_fd, MARK, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    health_mark_clear(fd);
}

int health_mark_read(int state_fd, int64_t *since_ms, struct err *err)
{
    char text[MARK_LEN + 1], boot[BOOT_ID + 1], now[BOOT_ID + 1];
    uint64_t since;
    int found = slurp(state_fd, MARK, text, MARK_LEN, err);
    if (found != 1 || sscanf(text, "%20" SCNu64 " %36s", &since, boot) != 2 || since == 0)
        return found < 0 ? -1 : 0;
    boot_id(now);
    *since_ms = strcmp(boot, now) == 0 ? (int64_t)since : 0; /* since before this boot */
    return 1;
}
