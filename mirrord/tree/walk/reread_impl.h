/*
 * What the parts of reading again share: reread.c (the thread, and whose turn it is), reread_pass.c
 * (the files of a tree, one after the other), reread_file.c (one file). Private to them.
 */
#ifndef TREE_WALK_REREAD_IMPL_H
#define TREE_WALK_REREAD_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "tree/content/digest.h"
#include "tree/walk/reread.h"

enum { REREAD_PIECE = 128 * 1024 };

struct reread_tree {
    TAILQ_ENTRY(reread_tree) order;
    struct reread *owner;
    struct root *root;
    struct manifest *manifest;
    struct reread_hooks hooks;
    bool loaded;
    uint64_t began, due; /* CLOCK_REALTIME seconds; began 0: no pass is under way */
    struct manifest_place at;
    uint64_t saved_ms;
    uint64_t prove_due_ms; /* io_now_ms: when to look for files that were never read */
    bool proving;          /* a pass over these is under way */
    struct manifest_place prove_at;
    bool at_work;
    atomic_bool leaving;
};

struct reread {
    uint64_t rate, every_s;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* of all below, and of at_work */
    pthread_cond_t wake, rested;
    TAILQ_HEAD(, reread_tree) trees;
    bool stop;
    uint64_t next_us;             /* when the next byte may be read */
    struct digest_stream *stream; /* the thread's */
    uint8_t *piece;
};

/* A file to be read: a copy of its record. */
struct target {
    char path[PATH_TOTAL_MAX + 1];
    size_t len;
    struct manifest_place at;
    struct validators validators;
    bool known; /* its content, by this: */
    struct digest digest;
};

/* reread_file.c */
enum reread_verdict { AS_RECORDED, OTHER_CONTENT, OTHER_FILE, NOT_KNOWN, PROVEN, GIVEN_UP };
/* Reads it. PROVEN: its digest was not known and is in *x now. GIVEN_UP: the tree goes. */
enum reread_verdict reread_file(struct reread_tree *t, struct target *x);
/* So many bytes were read: waits until the next may be. False when the tree goes. */
bool reread_pace(struct reread_tree *t, uint64_t bytes);

/* reread_pass.c; each is a part of the thread's work, of limited length */
void reread_begin(struct reread_tree *t); /* learns where the last pass was */
void reread_again(struct reread_tree *t); /* goes on with the pass over all that is known */
void reread_prove(struct reread_tree *t); /* and with that over what was never read */
uint64_t reread_now_s(void);

/* reread.c */
struct timespec reread_deadline(uint64_t us); /* so far from now */
/* Milliseconds, or the time between two passes, if that is less. */
uint64_t reread_at_most(const struct reread *r, uint64_t ms);

#endif
