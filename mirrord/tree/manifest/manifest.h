/*
 * The manifest: the entries of one root at one end, in LMDB, with digests per directory.
 *
 * Key: 8-byte directory number (big-endian) + name. Value: entry, validators, flags, and for a
 * directory its number. A second table keeps per directory number: parent, name, and the sums
 * (see struct msg_sums) over its subtree, which are brought up to date once a transaction, bottom
 * up. A third holds the journal. It is a cache: deleting it costs time, never correctness.
 *
 * Threads: any number may read, one writes at a time (a second waits). A transaction stays with the
 * thread that began it, and a thread begins no write transaction while it has a read transaction
 * open: the map grows in between. No read transaction may live across network I/O or more than
 * 100 ms.
 */
#ifndef TREE_MANIFEST_MANIFEST_H
#define TREE_MANIFEST_MANIFEST_H

#include "base/err.h"
#include "protocol/msg.h"
#include "tree/entry.h"

struct manifest;
struct manifest_txn;

enum {
    MANIFEST_NO_DIR = 0,     /* above the root: holds the root's own record, under the empty name */
    MANIFEST_ROOT = 1,       /* the root's number */
    MANIFEST_TXN_MAX = 4096, /* puts a transaction */
};

enum record_flags {
    RECORD_COMMITTED = 1 << 0, /* secondary: mirrord put it there */
    RECORD_RACY = 1 << 1,      /* validators do not prove the content yet */
};

struct record {
    struct entry entry;
    struct validators validators;
    uint64_t dir; /* directories: their number; else 0 */
    uint32_t flags;
};

/* Opens or makes the environment in this directory (which must exist). `filter` keys it: when it
 * was made with another filter, or by another format, or cannot be opened, it is deleted and made
 * anew; *fresh says whether it is new. ERR_TEMPORARY when another process has it (the caller holds
 * the root's lock, so that is an error). */
int manifest_open(const char *dir, const struct digest *filter, struct manifest **out, bool *fresh,
    struct err *err);
/* As manifest_open, but leaves alone what cannot be used. 0; 1: there is nothing that can be; -1.
 */
int manifest_open_existing(
    const char *dir, const struct digest *filter, struct manifest **out, struct err *err);
void manifest_close(struct manifest *m);

/* Deletes the environment in this directory unopened: after a power loss it may be damaged. */
int manifest_discard(const char *dir, struct err *err);

/* From now on a transaction that is committed survives a power loss. */
int manifest_set_durable(struct manifest *m, struct err *err);
int manifest_sync(struct manifest *m, struct err *err);

/* A synced copy of what is committed now, in the directory `dir`; from any thread. */
int manifest_copy(struct manifest *m, const char *dir, struct err *err);

int manifest_begin(struct manifest *m, bool write, struct manifest_txn **out, struct err *err);
int manifest_commit(struct manifest_txn *t, struct err *err); /* frees t in any case */
void manifest_abort(struct manifest_txn *t);                  /* NULL is fine */

/* 1 found, 0 not there, -1. What *out points to lives until the next write or the end of t. */
int manifest_get(
    struct manifest_txn *t, uint64_t dir, struct bytes name, struct record *out, struct err *err);

/* The same by path. *parent is the number of the directory above (untouched for ""); for ""
 * *out is the root's own record. 0 also when a directory above is missing (*parent = 0 then). */
int manifest_lookup(struct manifest_txn *t, struct bytes path, struct record *out, uint64_t *parent,
    struct err *err);

/* The same in a transaction of its own: what *out would point to is left out. 1, 0, -1. */
int manifest_peek(struct manifest *m, struct bytes path, struct record *out, struct err *err);

/* The first entry of `dir` whose name is greater than `after` (empty: the very first). *name and
 * *out point as in manifest_get. 1, 0 at the end, -1. */
int manifest_next(struct manifest_txn *t, uint64_t dir, struct bytes after, struct bytes *name,
    struct record *out, struct err *err);

/* The record behind this place, the root's own left out, in no order that means anything but lasts
 * as long as directories keep their numbers; zeroed: the first. *out as in manifest_get. 1, 0 at
 * the end, -1. */
struct manifest_place {
    uint64_t dir;
    char name[PATH_NAME_MAX];
    size_t name_len;
};
int manifest_next_of_all(
    struct manifest_txn *t, struct manifest_place *at, struct record *out, struct err *err);

/* What others keep in the manifest and lose with it, each under a name of its own: 1 found, until
 * the next write; 0, -1. manifest_keep: 0 or -1. */
int manifest_kept(struct manifest_txn *t, const char *key, struct bytes *value, struct err *err);
int manifest_keep(struct manifest_txn *t, const char *key, struct bytes value, struct err *err);

/* Adds or replaces. A directory that replaces a directory keeps number and content (r->dir is set
 * to it); a new directory gets a number (r->dir is set); what replaces a directory by something
 * else deletes its subtree. */
int manifest_put(
    struct manifest_txn *t, uint64_t dir, struct bytes name, struct record *r, struct err *err);
int manifest_put_root(struct manifest_txn *t, const struct record *r, struct err *err);

/* Whole subtrees too. 1 deleted, 0 was not there. */
int manifest_delete(struct manifest_txn *t, uint64_t dir, struct bytes name, struct err *err);

/* The same, at once however much is beneath: where that is more than some thousand entries they are
 * out of every directory and every sum, and go with manifest_prune. Before the end of t nothing
 * beneath is to be touched any more. */
int manifest_cut(struct manifest_txn *t, uint64_t dir, struct bytes name, struct err *err);

/* Deletes some of what was cut, of this and of earlier transactions: about `most` records. 1 there
 * is more, 0, -1. */
int manifest_prune(struct manifest_txn *t, size_t most, struct err *err);

/* Renames an entry, in O(1) for directories: their number stays. Replaces what is at the target.
 * 1 done, 0 no such source; -1 also for a directory into or over itself. */
int manifest_move(struct manifest_txn *t, uint64_t from_dir, struct bytes from, uint64_t to_dir,
    struct bytes to, struct err *err);

/* The same, but only as much of the record as tells that nothing changed. Its `value` lives as long
 * as *name does. */
struct record_front {
    struct validators validators;
    uint64_t dir;
    uint32_t flags;
    uint8_t type;
    bool has_digest;
    struct bytes value; /* for manifest_unfold */
    struct bytes entry; /* the entry as entry_encode made it; not looked at */
};
int manifest_next_front(struct manifest_txn *t, uint64_t dir, struct bytes after,
    struct bytes *name, struct record_front *out, struct err *err);
/* The whole of it: 0 or -1. */
int manifest_unfold(
    struct manifest_txn *t, const struct record_front *f, struct record *out, struct err *err);

/* The sums over a directory's subtree; in a write transaction they are brought up to date first. */
int manifest_sums(struct manifest_txn *t, uint64_t dir, struct msg_sums *out, struct err *err);

/* The path of a directory by number, into path (its length in *len). 1, 0 no such number. */
int manifest_dir_path(struct manifest_txn *t, uint64_t dir, char path[PATH_TOTAL_MAX + 1],
    size_t *len, struct err *err);

/* Drift: what was committed at a path that somebody else changed since. A row is written by whoever
 * finds that, beside the record of what is there now, and forgotten by whoever commits there; it
 * moves and goes with the directory it is in. The root's own is in MANIFEST_NO_DIR under "".
 * `committed` NULL or ENTRY_NONE: nothing was there. */
int manifest_drift_put(struct manifest_txn *t, uint64_t dir, struct bytes name,
    const struct entry *committed, struct err *err);
/* 1 with what was committed, until the next write; 0, -1. */
int manifest_drift_get(struct manifest_txn *t, uint64_t dir, struct bytes name,
    struct entry *committed, struct err *err);
int manifest_drift_forget(
    struct manifest_txn *t, uint64_t dir, struct bytes name, struct err *err); /* 0, -1 */

/* All of them: zeroed at first. 1 with the next one, 0 at the end, -1. */
struct manifest_drift {
    uint64_t dir;
    char name[PATH_NAME_MAX];
    size_t name_len;
    bool begun;
    struct entry committed; /* until the next write or the end of t */
};
int manifest_drift_next(struct manifest_txn *t, struct manifest_drift *at, struct err *err);

/* The journal: records of the secondary's commits under rising keys. next: first key > after. */
int manifest_journal_put(struct manifest_txn *t, uint64_t key, struct bytes value, struct err *err);
int manifest_journal_next(struct manifest_txn *t, uint64_t after, uint64_t *key,
    struct bytes *value, struct err *err); /* 1, 0 at the end, -1 */
int manifest_journal_clear(struct manifest_txn *t, struct err *err);

#endif
