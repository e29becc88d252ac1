/*
 * Ordered tables of keys and values in LMDB, under the manifest. The only file that includes it.
 * One process at a time; threads as in manifest.h. The map grows by itself before a write
 * transaction begins, so a thread must not begin one while it has a read transaction open.
 */
#ifndef TREE_MANIFEST_STORE_H
#define TREE_MANIFEST_STORE_H

#include <stdbool.h>

#include "base/err.h"
#include "protocol/wire.h"

struct store;
struct store_txn;

enum store_table { STORE_INFO, STORE_ENTRIES, STORE_DIRS, STORE_JOURNAL, STORE_TABLES };
enum { STORE_KEY_MAX = 511 };

/* 0; 1 when what is there cannot be used; -1 (ERR_TEMPORARY: another process has it). `anew`
 * deletes what is there first. */
int store_open(const char *dir, bool anew, struct store **out, struct err *err);

/* Deletes the files in `dir` without opening them; none there is fine. */
int store_discard(const char *dir, struct err *err);

/* From now on a commit is on the disk when it returns; so is everything before. */
int store_set_durable(struct store *s, struct err *err);
int store_sync(struct store *s, struct err *err); /* all commits so far */

/* Writes a consistent copy, as it would be after a commit now, into the directory `dir`, and syncs
 * the file. From any thread. */
int store_copy(struct store *s, const char *dir, struct err *err);

/* Deletes the files too when they were found damaged, so that the next opening is fresh. */
void store_close(struct store *s);
void store_mark_damaged(struct store *s);

int store_begin(struct store *s, bool write, struct store_txn **out, struct err *err);
int store_commit(struct store_txn *t, struct err *err); /* frees t in any case */
void store_abort(struct store_txn *t);                  /* NULL is fine */

/* Values (and keys) found live until the next write or the end of t. 1 found, 0 not, -1. */
int store_get(struct store_txn *t, enum store_table table, struct bytes key, struct bytes *value,
    struct err *err);
/* The first key not less than `key`; store_next: the one behind what was found last in this table
 * (nothing may have been written in between). */
int store_seek(struct store_txn *t, enum store_table table, struct bytes key, struct bytes *found,
    struct bytes *value, struct err *err);
int store_next(struct store_txn *t, enum store_table table, struct bytes *found,
    struct bytes *value, struct err *err);

int store_put(struct store_txn *t, enum store_table table, struct bytes key, struct bytes value,
    struct err *err);
/* 1 deleted, 0 was not there, -1. */
int store_delete(struct store_txn *t, enum store_table table, struct bytes key, struct err *err);
int store_clear(struct store_txn *t, enum store_table table, struct err *err);

#endif
