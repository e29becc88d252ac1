/* The sliding sum of deletions; see deletions.h. Knows neither who deletes nor what is done about
 * it. */
#include "tree/state/deletions.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"

#define DELETIONS_FILE "deletions"

enum { DELETIONS_VERSION = 1, LINE_MAX_BYTES = 80 };

static bool is_recent(const struct deletions_minute *m, int64_t minute)
{
    return m->deleted && m->minute > minute - DELETIONS_MINUTES && m->minute <= minute;
}

void deletions_add(struct deletions *d, int64_t seconds, uint64_t deleted, uint64_t before)
{
    int64_t minute = seconds / 60;
    struct deletions_minute *m = &d->minutes[minute % DELETIONS_MINUTES];
    if (!deleted)
        return;
    if (m->minute != minute || !m->deleted)
        *m = (struct deletions_minute){.minute = minute, .before = before};
    m->deleted += deleted;
}

void deletions_take_back(struct deletions *d, int64_t seconds, uint64_t came)
{
    int64_t minute = seconds / 60;
    for (int64_t i = minute; i > minute - DELETIONS_MINUTES && came > 0; i--) {
        struct deletions_minute *m = &d->minutes[i % DELETIONS_MINUTES];
        if (m->minute != i)
            continue;
        uint64_t n = came < m->deleted ? came : m->deleted;
        m->deleted -= n;
        came -= n;
    }
}

uint64_t deletions_sum(const struct deletions *d, int64_t seconds, uint64_t now, uint64_t *before)
{
    int64_t minute = seconds / 60, oldest = INT64_MAX;
    uint64_t sum = 0;
    *before = now;
    for (size_t i = 0; i < DELETIONS_MINUTES; i++) {
        const struct deletions_minute *m = &d->minutes[i];
        if (!is_recent(m, minute))
            continue;
        sum += m->deleted;
        if (m->minute < oldest) {
            oldest = m->minute;
            *before = m->before;
        }
    }
    return sum;
}

bool deletions_too_many(const struct deletions_limit *limit, uint64_t deleted, uint64_t before)
{
    if (limit->percent >= 100 || deleted <= limit->count)
        return false;
    return deleted > before / 100 * limit->percent + before % 100 * limit->percent / 100;
}

/* "VERSION", then a line "MINUTE DELETED BEFORE" for each. */
void deletions_load(struct deletions *d, int state_fd)
{
    struct err ignored;
    char *text CLEANUP_FREE = NULL;
    unsigned version = 0;
    int at = 0, n = 0;
    *d = (struct deletions){0};
    if (io_slurp(state_fd, DELETIONS_FILE, LINE_MAX_BYTES * (DELETIONS_MINUTES + 1), &text, NULL,
            &ignored) != 0 ||
        sscanf(text, "%u%n", &version, &at) != 1 || version != DELETIONS_VERSION)
        return;
    struct deletions_minute m;
    while (sscanf(text + at, "%" SCNd64 " %" SCNu64 " %" SCNu64 "%n", &m.minute, &m.deleted,
               &m.before, &n) == 3) {
        if (m.minute >= 0 && m.deleted) /* an empty one would take the place of minute 0 */
            d->minutes[m.minute % DELETIONS_MINUTES] = m;
        at += n;
    }
}

static int write_new(int state_fd, const char *text)
{
    int fd CLEANUP_FD = openat(state_fd, DELETIONS_FILE ".new",
        O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 || io_write_full(fd, text, strlen(text)) < 0 ? -1 : 0;
}

int deletions_store(const struct deletions *d, int state_fd, struct err *err)
{
    char text[LINE_MAX_BYTES * (DELETIONS_MINUTES + 1)];
    int n = snprintf(text, sizeof text, "%d\n", DELETIONS_VERSION);
    for (size_t i = 0; i < DELETIONS_MINUTES; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%" PRId64 " %" PRIu64 " %" PRIu64 "\n",
            d->minutes[i].minute, d->minutes[i].deleted, d->minutes[i].before);
    if (write_new(state_fd, text) < 0 ||
        renameat(state_fd, DELETIONS_FILE ".new", state_fd, DELETIONS_FILE) < 0)
        return err_sys(err, errno, "write " DELETIONS_FILE);
    return 0;
}
