/* The note of a site's command; see hook_note.h. Losing it costs one run that was due, so it is not
 * flushed: what does not survive a power loss, PHP's caches do not survive either. */
#include "secondary/hook/hook_note.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"

#define NOTE "on-commit"

int hook_note_open(int state_dir)
{
    return openat(state_dir, NOTE, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
}

bool hook_note_read(int fd, struct hook_failing *out)
{
    char text[HOOK_TEXT_MAX + 64] = "";
    int at = 0;
    *out = (struct hook_failing){0};
    if (io_pread_full(fd, text, sizeof text - 1, 0) <= 0)
        return false;
    if (sscanf(text, "%" SCNu32 " %" SCNd64 " %n", &out->count, &out->since, &at) == 2)
        snprintf(out->text, sizeof out->text, "%.*s", (int)strcspn(text + at, "\n"), text + at);
    return true;
}

void hook_note_due(int fd, const struct hook_failing *f)
{
    char text[HOOK_TEXT_MAX + 64];
    int n =
        snprintf(text, sizeof text, "%" PRIu32 " %" PRId64 " %s\n", f->count, f->since, f->text);
    if (ftruncate(fd, 0) < 0 || io_pwrite_full(fd, text, (size_t)n, 0) < 0)
        log_warn("that a command after a commit is due could not be noted: %m");
}

void hook_note_clear(int fd)
{
    if (ftruncate(fd, 0) < 0)
        log_warn("that a command after a commit was run could not be noted: %m");
}

bool hook_note_lock(int fd)
{
    return flock(fd, LOCK_EX | LOCK_NB) == 0;
}

void hook_note_unlock(int fd)
{
    flock(fd, LOCK_UN);
}

void hook_note_mark(int state_dir)
{
    struct hook_failing before;
    int fd CLEANUP_FD = hook_note_open(state_dir);
    if (fd >= 0 && !hook_note_read(fd, &before))
        hook_note_due(fd, &before);
}
