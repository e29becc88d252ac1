/*
 * Directories of a manifest by number, and their sums. A transaction keeps the ones it touches in
 * memory, changes their own sums at once, and carries the differences up to the root once, when
 * somebody asks for sums or commits. Part of the manifest; used by manifest.c only.
 */
#ifndef TREE_MANIFEST_SUMS_H
#define TREE_MANIFEST_SUMS_H

#include "protocol/msg.h"
#include "tree/manifest/store.h"

struct sums; /* the directories that a transaction touched */

struct sums_dir {
    uint64_t number, parent;
    struct msg_sums sums;    /* over the subtree, as far as it was carried up */
    struct msg_sums carried; /* this directory's part in its parent's sums */
    uint32_t depth, round;   /* of the last settling */
    bool changed;            /* sums are newer than carried */
    bool dirty;              /* newer than the store */
    uint8_t name_len;
    char name[PATH_NAME_MAX];
};

struct sums *sums_new(struct store *store, struct store_txn *txn);
void sums_free(struct sums *s);

/* A copy from the store, for reading. 1, 0 no such number, -1. */
int sums_read(struct store *store, struct store_txn *txn, uint64_t number, struct sums_dir *out,
    struct err *err);

/* The directory to be changed; the pointer lives until it is dropped or s is freed. 1, 0, -1. */
int sums_get(struct sums *s, uint64_t number, struct sums_dir **out, struct err *err);
struct sums_dir *sums_add(struct sums *s, uint64_t number, uint64_t parent, struct bytes name);
int sums_drop(struct sums *s, uint64_t number, struct err *err);

/* Takes a child directory's part out of its parent's sums; settling puts it in again, in the parent
 * it has then. */
void sums_detach(struct sums_dir *parent, struct sums_dir *child);
void sums_attach(struct sums_dir *child, uint64_t parent, struct bytes name);

/* Adds an entry to its directory's sums, or takes it out. Its subtree is not its business. */
void sums_count_in(struct sums_dir *d, struct bytes name, const struct entry *e);
void sums_count_out(struct sums_dir *d, struct bytes name, const struct entry *e);

int sums_settle(struct sums *s, struct err *err); /* all sums are right afterwards */
int sums_save(struct sums *s, struct err *err);   /* settles, then writes what is dirty */

#endif
