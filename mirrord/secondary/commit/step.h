/*
 * A step of a commit: one atom of a batch as it is journalled and done. The same steps come from
 * the primary's messages and, after a crash, out of the journal.
 */
#ifndef SECONDARY_COMMIT_STEP_H
#define SECONDARY_COMMIT_STEP_H

#include "base/err.h"
#include "protocol/msg.h"
#include "tree/manifest/manifest.h"

enum step_kind {
    STEP_ENTRY = 1,     /* the path becomes this entry */
    STEP_DELETE = 2,    /* nothing is at the path any more */
    STEP_MOVE = 3,      /* what is at `from` is at the path */
    STEP_UNIT = 4,      /* the directory at the path is switched for the one at `staged` … */
    STEP_UNIT_GONE = 5, /* … or goes there itself */
};

enum step_state { STEP_WAITING, STEP_DONE, STEP_FAILED };

/* What is known of a directory that the step would remove. */
enum step_way {
    WAY_UNKNOWN = 0,
    WAY_CLEAN = 1,    /* holds only what mirrord committed */
    WAY_FOREIGN = 2,  /* holds something else, too */
    WAY_EXCLUDED = 3, /* holds what is not mirrored, or another filesystem */
    WAY_LAST = WAY_EXCLUDED,
};

/* What the manifest said of a path before the commit. */
struct step_old {
    bool known, committed, has_digest;
    uint8_t type;
    uint64_t size;
    struct validators validators;
    struct digest digest;
};

struct clone;

struct step {
    uint8_t kind, way, state;
    struct bytes path, from; /* owned; from: moves only */
    struct bytes staged;     /* owned: where it is beneath the stage; empty: nothing is staged */
    uint64_t inode;          /* of what is staged, moved, or (units) appears or goes, by which it is
                                known again; 0: none */
    void *entry_bytes;       /* owned: the entry's encoding, into which `entry` points */
    struct entry entry;      /* STEP_ENTRY */

    /* While it is done. */
    uint32_t order; /* of arrival: among steps of one path the last wins */
    const struct step
        *above;          /* the step of the directory inside whose staged one this was staged */
    struct step *unit;   /* the step of the unit that it is switched with; NULL: it is done alone */
    struct clone *clone; /* STEP_UNIT: what was built; NULL: it comes out of the journal */
    bool linked; /* in a unit: the file whose times change is in the clone, and `after` is what
                    it was when it was linked */
    uint8_t piecemeal; /* STEP_UNIT: why its steps were done one by one: ACK's flag; or 0 */
    bool mount;        /* what is in the way holds another filesystem (WAY_EXCLUDED) */
    bool published;    /* nothing is left at `staged` */
    bool whole;        /* a directory that appeared with all that was staged inside */
    bool direct;       /* a move that was one rename */
    struct step_old old, source; /* of path; of from */
    bool times_only;             /* nothing but the times of the live file differs */
    bool verified;               /* the live file was read and has the entry's content … */
    struct validators seen;      /* … as long as it has these */
    struct validators after;     /* of the path once it was done */

    /* STEP_FAILED */
    uint16_t reason; /* enum msg_reason */
    uint32_t sys;
    char *text;
};

struct step_old step_old_of(const struct record *r); /* of a path that the manifest has */

void step_init(struct step *s, uint8_t kind, struct bytes path);   /* waiting; copies the path */
void step_clear(struct step *s);                                   /* frees what it owns */
void step_set_bytes(struct bytes *field, const void *p, size_t n); /* replaces an owned field */
size_t step_set_entry(struct step *s, const struct entry *e);      /* copies so many bytes */

/* Records a failure, once: a later one does not replace it. `verb` and the path go in front. */
void step_fail(struct step *s, uint16_t reason, const char *verb, const struct err *why);
void step_fail_errno(struct step *s, uint16_t reason, int sys, const char *verb, const char *call);
void step_fail_text(struct step *s, uint16_t reason, const char *verb, const char *text);

/* The journal's form of a step; decode fails (-1) on what this version did not write. */
void step_encode(struct wire_writer *w, const struct step *s);
int step_decode(struct bytes value, struct step *out);

#endif
