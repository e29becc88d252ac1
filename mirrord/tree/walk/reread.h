/*
 * Reading content in the background. Once: files that the manifest took for what they seem, by size
 * and time, get their digest (a tree that was found equal at the first contact is proven so).
 * Again: within a month every file of a tree is read once and held against its record in the
 * manifest, so that what went bad on the disk, or was changed under unchanged times, is found. One
 * thread for all trees of a process, at idle I/O priority, at so many bytes a second in all; what
 * was not in the page cache before is not left in it. How far it is stays in each manifest.
 */
#ifndef TREE_WALK_REREAD_H
#define TREE_WALK_REREAD_H

#include "tree/manifest/manifest.h"
#include "tree/root.h"

struct reread;
struct reread_tree;

/* Called from the thread, which does not stop for it. */
struct reread_hooks {
    /* This file is not what its record says: its content is another under the same validators, or
     * (content false) its validators are others. */
    void (*differs)(void *ctx, struct bytes path, bool content);
    /* This file, whose record had no digest, was read whole, and not while somebody wrote it: type,
     * digest and validators are set. NULL: such files are left. */
    void (*proven)(void *ctx, struct bytes path, const struct record *r);
    void *ctx;
};

/* rate: bytes a second, not 0. every_s: seconds from one pass's beginning to the next; 0: some
 * less than 30 days. Files without a digest are looked for a minute after a tree was added, and
 * every ten minutes, or every_s if that is less. */
struct reread *reread_new(uint64_t rate, uint64_t every_s);
void reread_free(struct reread *r); /* all trees were removed; NULL is fine */

/* The pieces are borrowed until it is removed, which waits for a read at most. */
struct reread_tree *reread_add(
    struct reread *r, struct root *root, struct manifest *m, const struct reread_hooks *h);
void reread_remove(struct reread_tree *t); /* NULL is fine */

#endif
