/*
 * A connected socket with an output buffer that takes whole packets: what is put is taken at once
 * and leaves by sock_flush. The input side keeps the acknowledgements of a login quick.
 */
#ifndef LINK_SOCK_H
#define LINK_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"

struct sock {
    int fd;
    struct buf out;
    bool hasty; /* ask for immediate acknowledgements: while every round trip is waited for */
    int lost;   /* errno by which the connection ended, ENOTCONN for a plain end, else 0 */
};

/* Copies it behind what waits. Sends nothing. */
void sock_put(struct sock *s, const void *p, size_t n);

/* Gives the kernel what it takes. True when all is gone or the connection is lost. */
bool sock_flush(struct sock *s);

/* As recv, -EAGAIN when there is nothing; a lost connection looks the same here and shows in
 * `lost`, so that what came before can still be used. */
ssize_t sock_get(struct sock *s, void *p, size_t n);

#endif
