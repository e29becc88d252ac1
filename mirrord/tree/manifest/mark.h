/*
 * The mark: a small durable file beside a root's manifest that says in which boot of the machine it
 * was last written to and how that ended, and which sessions there were. The manifest itself is not
 * synced, so after a power loss it may be damaged in any way; the mark is what tells that there was
 * one.
 */
#ifndef TREE_MANIFEST_MARK_H
#define TREE_MANIFEST_MARK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/boot.h"
#include "base/err.h"
#include "protocol/entry.h"

enum mark_state {
    MARK_OPEN = 1,    /* in use: lost with the power */
    MARK_DURABLE = 2, /* in use in a mode that survives (`fsync = batch`) */
    MARK_CLEAN = 3,   /* ended, everything is on the disk */
};

struct mark {
    enum mark_state state;
    uint64_t generation; /* rises with every power loss; what the manifest holds was proven in it */
    int64_t saved;       /* CLOCK_REALTIME, seconds: what was done before is on the disk */
    int64_t since;       /* not 0: power was lost, and what changed from here on is to be read */
    char boot[BOOT_ID + 1];
    uint64_t given;     /* session numbers up to here may have been used, as a primary */
    uint64_t taken;     /* the last one that came, as a secondary, */
    struct digest from; /* from the primary with this host id */
    /* Not in the file: */
    bool settled; /* all that was done before this opening is on the disk */
    bool said;    /* the file says this already */
};

enum { MARK_TEXT_MAX = 256 };
enum mark_verdict { MARK_TRUSTED = 0, MARK_LOST = 1 };

/* Judges what the last process left in the state directory of a root, and fills *out with what the
 * mark is to say while this one works. MARK_LOST: the power was lost meanwhile, the manifest must
 * be deleted unopened. Nothing is written. -1 when the file cannot be read; one that makes no sense
 * is taken as after a power loss, with a warning. */
int mark_begin(int state_fd, bool durable, struct mark *out, struct err *err);

int mark_write(int state_fd, const struct mark *m, struct err *err);

/* Seconds now, as the mark counts them: to be taken before what they stand for is synced. */
int64_t mark_now(void);

/* The file's line, and back (false: it makes no sense). */
void mark_format(const struct mark *m, char out[MARK_TEXT_MAX]);
bool mark_parse(const char *text, struct mark *out);

/* Who writes marks: directly, or through a process that may. `name` is the state directory's last
 * component. */
struct mark_writer {
    int (*write)(void *ctx, const char *name, const struct mark *m, struct err *err);
    void *ctx;
};

#endif
