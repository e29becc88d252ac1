/*
 * What one secondary acknowledged of large files, as far as memory is spent on it: what is known of
 * their content (tree/content/outline.h), by site and path, so that a delta of the next version can
 * be sent without asking. A hint: what stands there may be another file by now, which the secondary
 * finds out. The pushing thread's alone, kept between its sessions; or on the disk, between runs
 * (base_files.h).
 */
#ifndef PRIMARY_PUSH_SEND_BASES_H
#define PRIMARY_PUSH_SEND_BASES_H

#include "primary/site.h"
#include "tree/content/outline.h"

struct bases;

/* Spends at most about `most` bytes; the least recently used go first. */
struct bases *bases_new(size_t most);

/* The same for one site, whose state directory keeps it for the next run besides: a cache of at
 * most 64 MiB, of files from 8 MiB on. `root` is the secondary's as it is asked for, or "". */
struct bases *bases_new_kept(size_t most, const struct site *s, const char *root);

/* The secondary with this host id has answered: what is kept of it is meant from now on. */
void bases_meet(struct bases *b, const struct digest *host_id);
void bases_free(struct bases *b); /* NULL is fine */

/* Is what is known of a file of this size kept? */
bool bases_wants(const struct bases *b, uint64_t size);

/* Borrowed, until the next bases_put or bases_recall; NULL: nothing is known. */
struct outline *bases_find(struct bases *b, const struct site *s, struct bytes path);

/* The same, of what is not in memory from the disk. */
struct outline *bases_recall(struct bases *b, const struct site *s, struct bytes path);

/* Acknowledged: this, which is settled, and gets one more reference. NULL: it is not known any more
 * what is there. */
void bases_put(struct bases *b, const struct site *s, struct bytes path, struct outline *o);

size_t bases_memory(const struct bases *b); /* in use */

#endif
