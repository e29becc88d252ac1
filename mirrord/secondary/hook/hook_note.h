/*
 * What is kept of a site's command after a commit in the state directory of its root: that it is
 * due (so that whoever comes next runs it, should this process be killed), and since when and why
 * it fails. The file's lock is held by who runs the command.
 */
#ifndef SECONDARY_HOOK_HOOK_NOTE_H
#define SECONDARY_HOOK_HOOK_NOTE_H

#include <stdbool.h>
#include <stdint.h>

enum { HOOK_TEXT_MAX = 480 };

struct hook_failing {
    uint32_t count;               /* runs in a row; 0: it does not fail */
    int64_t since;                /* seconds since the epoch */
    char text[HOOK_TEXT_MAX + 1]; /* one line, as it was said: escape it */
};

/* Makes it where it is missing: a descriptor, or -1 with errno. */
int hook_note_open(int state_dir);

/* False: nothing is due, *out is zeroed. */
bool hook_note_read(int fd, struct hook_failing *out);

void hook_note_due(int fd, const struct hook_failing *f); /* due, and how it failed so far */
void hook_note_clear(int fd);

bool hook_note_lock(int fd); /* false: another process runs the command */
void hook_note_unlock(int fd);

/* An interrupted commit was finished: what changed with it nobody knows. */
void hook_note_mark(int state_dir);

#endif
