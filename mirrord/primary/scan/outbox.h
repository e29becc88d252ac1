/* What has been found but may be told only after the manifest's transaction is committed: things
 * owed, moves, and paths to look at again. In order. */
#ifndef PRIMARY_SCAN_OUTBOX_H
#define PRIMARY_SCAN_OUTBOX_H

#include "protocol/wire.h"

enum outbox_kind { OUTBOX_OWE, OUTBOX_MOVE, OUTBOX_HINT };

struct outbox_item {
    enum outbox_kind kind;
    unsigned flags;    /* OWE: enum owe_flags; HINT: enum hint_flags */
    struct bytes path; /* MOVE: from */
    struct bytes to;   /* MOVE */
};

struct outbox { /* a zeroed one is empty */
    struct outbox_item *items;
    size_t count, cap;
};

/* Puts one behind the others; paths are copied. */
void outbox_owe(struct outbox *o, struct bytes path, unsigned flags);
void outbox_move(struct outbox *o, struct bytes from, struct bytes to);
void outbox_hint(struct outbox *o, struct bytes path, unsigned flags);

/* All was told. Room is kept for the next ones, if it is not much. */
void outbox_clear(struct outbox *o);
void outbox_free(struct outbox *o); /* what it holds: it is empty after that */

#endif
