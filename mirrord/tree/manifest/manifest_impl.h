/*
 * What the parts of the manifest share: manifest.c opens it and keeps transactions and the journal,
 * manifest_read.c looks things up and knows the form of records, manifest_write.c changes them;
 * sums.c has the directories, store.c the bytes.
 */
#ifndef TREE_MANIFEST_MANIFEST_IMPL_H
#define TREE_MANIFEST_MANIFEST_IMPL_H

#include "tree/manifest/manifest.h"
#include "tree/manifest/store.h"
#include "tree/manifest/sums.h"

struct manifest_txn {
    struct store *store;
    struct store_txn *txn;
    bool write;
    struct sums *sums; /* write transactions */
    uint64_t next_dir, saved_next_dir;
    struct wire_writer value; /* of the record being written */
    enum { DRIFT_UNKNOWN, DRIFT_NONE, DRIFT_SOME } drift;
    bool has_last; /* read transactions: where manifest_next is */
    struct bytes last;
};

/* The key of an entry: 8 bytes of directory number, then the name. */
struct manifest_key {
    uint8_t b[sizeof(uint64_t) + PATH_NAME_MAX];
    size_t len;
};

/* The name has at most PATH_NAME_MAX bytes. */
struct manifest_key manifest_key_of(uint64_t dir, struct bytes name);
struct bytes manifest_key_bytes(const struct manifest_key *k);
struct bytes manifest_key_name(const struct manifest_key *k);

/* Always -1; the environment is made anew at the next opening. */
int manifest_damaged(struct manifest_txn *t, const char *what, struct err *err);

/* Or'ed to a directory's number: the key of drift, which stands behind all records. */
#define MANIFEST_DRIFT_BIT (UINT64_C(1) << 63)

/* Forgets all drift in this directory, whose number goes. */
int manifest_drift_drop(struct manifest_txn *t, uint64_t dir, struct err *err);

void manifest_encode(struct wire_writer *w, const struct record *r);
/* False: it is no record. What *out points to is in the value. */
bool manifest_record(struct bytes value, struct record *out);
/* 1, or -1 for what is no record. */
int manifest_decode(
    struct manifest_txn *t, struct bytes value, struct record *out, struct err *err);
/* 1, 0, -1 as manifest_get. */
int manifest_find(
    struct manifest_txn *t, const struct manifest_key *key, struct record *out, struct err *err);

#endif
