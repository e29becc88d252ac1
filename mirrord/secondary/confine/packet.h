/*
 * One packet of the socket between the receiver's two processes: an ask, and at most one descriptor
 * with it. What more comes is closed, and ends what comes with it.
 */
#ifndef SECONDARY_CONFINE_PACKET_H
#define SECONDARY_CONFINE_PACKET_H

#include "secondary/confine/asks.h"

struct packet {
    struct ask ask;
    int fd;                      /* a directory that came with it, the caller's; else -1 */
    uint8_t raw[ASK_PACKET_MAX]; /* what the ask's strings point into */
};

/* Waits until it is taken. The descriptor (-1: none) stays the caller's. False: a string does not
 * fit (ask_encode), or the other end is gone. */
bool packet_send(int socket, const struct ask *a, int fd);

/* Waits for one. False: the other end is gone, or what it sent is no packet. The caller closes
 * p->fd in either case. */
bool packet_receive(int socket, struct packet *p);

#endif
