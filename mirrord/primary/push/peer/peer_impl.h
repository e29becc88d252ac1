/*
 * What the parts of a peer share: peer.c (its thread, which connects, pushes and rests),
 * peer_sites.c (the sites it has, and what is asked for them), peer_status.c (how it is). Private
 * to them.
 */
#ifndef PRIMARY_PUSH_PEER_PEER_IMPL_H
#define PRIMARY_PUSH_PEER_PEER_IMPL_H

#include <pthread.h>

#include "base/often.h"
#include "primary/push/peer/peer.h"
#include "primary/push/send/bases.h"

enum ask { ASK_COMPARE = 1 << 0, ASK_FORCE = 1 << 1, ASK_ADOPT = 1 << 2, ASK_NEWS = 1 << 3 };

struct membership { /* a site of this peer */
    TAILQ_ENTRY(membership) order;
    struct site *site;
    struct push_site *ps; /* the peer's thread's, but for what is atomic or locked */
    bool listed;          /* in the list that the push works on */
    bool leaving;
    unsigned asked; /* enum ask, and not passed on yet */
    uint64_t tell;  /* the last number of peer_tell */
};

struct peer {
    char *name, *host;
    struct conn_options link;
    char **argv;
    int compress;
    uint64_t bwlimit;
    unsigned keepalive_ms;
    struct digest host_id;
    struct queue *queue;
    int wake_fd;
    atomic_bool stop, paused;
    pthread_t thread;
    bool started;

    pthread_mutex_t lock; /* of everything below */
    TAILQ_HEAD(, membership) members;
    struct peer_status status;
    uint64_t retry_at_ms;
    uint64_t down_at_ms; /* when it was last seen up; when it is new: since then */
    unsigned failures;   /* in a row */
    void (*changed)(void *ctx);
    void *changed_ctx;

    struct push_site_list sites;           /* the thread's */
    uint64_t free_bytes;                   /* the thread's */
    uint32_t fences;                       /* the same */
    uint64_t batches;                      /* the thread's */
    struct push_far far;                   /* the thread's */
    struct tally tally;                    /* written by the thread */
    struct often *often;                   /* the thread's */
    struct bases *bases;                   /* the thread's */
    struct shelf *shelf;                   /* with other peers */
    uint64_t sent_before, received_before; /* by connections that are gone; locked */
    struct conn *conn;                     /* the thread's */
};

/* peer_sites.c; all but the first take the lock */
struct membership *peer_member(
    struct peer *p, const struct site *s); /* NULL: it has not this site */
/* Puts new sites on the list, marks those that leave, passes on what was asked for. */
void peer_pass_on(struct peer *p, struct push_site_list *list);
void peer_let_go(struct peer *p, struct push_site *ps); /* it is off the list */
/* Without a session: sites that leave are gone at once. */
void peer_tend_members(struct peer *p);
void peer_drop_members(struct peer *p); /* all of them; there is no thread any more */

#endif
