/* A TCP connection to a host by name or address. */
#ifndef LINK_NET_H
#define LINK_NET_H

#include "base/err.h"
#include "link/net/patience.h"

/* Looks the name up (family: AF_UNSPEC, AF_INET, AF_INET6) and tries its addresses in order until
 * one accepts; *fd is then a non-blocking socket tuned for this link. -1: ERR_TEMPORARY when
 * the host is unreachable or refuses. */
int net_connect(const char *host, unsigned port, int family, const struct patience *p, int *fd,
    struct err *err);

#endif
