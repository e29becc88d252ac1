/*
 * The socket of one site, for the user whose PHP serves it: opened, given to that user, and found
 * by the site's name or by its root. Knows nothing of requests.
 */
#ifndef PRIMARY_DAEMON_SITE_SOCKET_H
#define PRIMARY_DAEMON_SITE_SOCKET_H

#include <sys/queue.h>

#include "primary/daemon/control.h"
#include "primary/scan/bucket.h"

struct daemon;

struct site_socket {
    TAILQ_ENTRY(site_socket) order;
    struct daemon *home;
    const char *dir; /* where it is; these three are whoever's made it */
    int dir_fd, epoll;
    struct control_handler handler; /* its ctx is this */
    char *site, *root, *user;       /* user NULL: the root's owner */
    char *name;                     /* of the socket in the directory */
    char *real;                     /* the root without links on the way; NULL: not there */
    char *aliases[2];               /* links to it, by the root as it is written and as it is */
    struct control *control;        /* NULL: not open */
    bool owned;                     /* it is its user's */
    bool planned;
    struct bucket requests, rounds;
    bool muted; /* it is not served until: */
    uint64_t muted_until_ms;
    char error[ERR_TEXT_MAX]; /* the last one that was said */
};

/* Open, at its place, and its user's, if it is not so yet. What fails is said once, and may be
 * tried again. */
void site_socket_set_up(struct site_socket *s);

/* Adds, changes or removes what is waited for at it: as epoll_ctl. */
int site_socket_poll(struct site_socket *s, uint32_t events, int how);

void site_socket_free(struct site_socket *s); /* closes and removes it; NULL is fine */

#endif
