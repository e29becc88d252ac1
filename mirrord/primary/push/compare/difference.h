/*
 * Differences between the manifests of a site's two ends, one a path (or a subtree).
 */
#ifndef PRIMARY_PUSH_COMPARE_DIFFERENCE_H
#define PRIMARY_PUSH_COMPARE_DIFFERENCE_H

#include "primary/push/push.h"

struct difference {
    struct bytes path; /* owned */
    enum owed_kind kind;
    bool subtree;
    bool taken; /* its content is used by a move, or it is one */
    uint8_t type;
    bool was_dir; /* a directory there */
    uint64_t bytes, entries, files;
    bool has_digest;
    struct digest digest; /* of a file */
    struct msg_sums sums; /* of a directory */
    char *source;         /* owned */
    bool has_theirs;      /* a file that is as long there, with this digest */
    struct digest theirs;
};

/* In the order found. Zeros: none. */
struct differences {
    struct difference *found;
    size_t count, room;
};

/* The new one, until the next is added; only its path and kind are set. `dir` is "" for the root.
 */
struct difference *differences_add(
    struct differences *all, const char *dir, struct bytes name, enum owed_kind kind);
void differences_free(struct differences *all); /* what is in it */

/* What is to be there (a deletion: what is there): type, size, digest. `sums`: a directory's. */
void difference_describe(struct difference *d, const struct entry *e, const struct msg_sums *sums);

/* What has to be done so that the far entry becomes ours; OWED_ANY: nothing. */
enum owed_kind difference_of(
    const struct push_site *ps, const struct entry *ours, const struct entry *theirs);

/* Are two subtrees equal, as far as their digests tell? */
bool difference_same_sums(
    const struct push_site *ps, const struct msg_sums *a, const struct msg_sums *b);

/* Are owner and group mirrored to this secondary? */
bool difference_owner_matters(const struct push_site *ps);

bool difference_is_newer(const struct entry *a, const struct entry *b); /* a, by mtime */

/* A name's path from the root. The caller frees it. */
char *difference_path(const char *dir, struct bytes name);

#endif
