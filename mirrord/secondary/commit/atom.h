/* The messages about one atom of an open batch: what it is, and its content. -1 with err: the
 * session must end, with tools->reason; whatever else goes wrong fails the atom alone, and is told
 * in the ACK. What is kept of a message is copied. */
#ifndef SECONDARY_COMMIT_ATOM_H
#define SECONDARY_COMMIT_ATOM_H

#include "secondary/commit/batch.h"

/* A new atom. ENTRY: staged at once, but for content that is still to come. */
int atom_entry(struct tools *tools, const struct msg_entry *m, struct err *err);
int atom_delete(struct tools *tools, const struct msg_delete *m, struct err *err);
int atom_unit(struct tools *tools, const struct msg_unit *m, struct err *err);
int atom_move(struct tools *tools, const struct msg_move *m, struct err *err);

/* Content of an ENTRY's atom: the next bytes of it or of a delta; a range of the old file (or the
 * wish for its signature); the end, at which it is compared with the digest. */
int atom_data(struct tools *tools, const struct msg_data *m, struct err *err);
int atom_range(struct tools *tools, const struct msg_range *m, struct err *err);
int atom_finish(struct tools *tools, const struct msg_finish *m, struct err *err);

/* It is not wanted any more: what of it was staged goes. */
int atom_abort(struct tools *tools, const struct msg_abort *m, struct err *err);

#endif
