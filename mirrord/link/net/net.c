/*
 * Name lookup and TCP connect, both under a deadline and a stop flag. getaddrinfo cannot be
 * interrupted, so it runs on a thread of its own that is left behind when patience ends; whoever
 * lets go last frees the lookup.
 */
#include "link/net/net.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/thread.h"
#include "link/reason.h"

#define NOTSENT_LOWAT   (128 * 1024)
#define USER_TIMEOUT_MS 60000

struct lookup {
    atomic_int holders;
    int done; /* eventfd */
    char *host;
    char port[8];
    int family;
    int result, sys;
    struct addrinfo *addresses;
};

static void lookup_release(struct lookup *l)
{
    if (atomic_fetch_sub(&l->holders, 1) > 1)
        return;
    if (l->addresses)
        freeaddrinfo(l->addresses);
    close(l->done);
    free(l->host);
    free(l);
}

static void *lookup_main(void *arg)
{
    struct lookup *l = arg;
    struct addrinfo hints = {
        .ai_family = l->family, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    l->result = getaddrinfo(l->host, l->port, &hints, &l->addresses);
    l->sys = errno;
    eventfd_write(l->done, 1);
    lookup_release(l);
    return NULL;
}

static int start_thread(struct lookup *l, struct err *err)
{
    pthread_t thread;
    atomic_fetch_add(&l->holders, 1);
    int rc = thread_start(&thread, lookup_main, l);
    if (rc) {
        atomic_fetch_sub(&l->holders, 1);
        return err_sys(err, rc, "start a thread to look up %s", l->host);
    }
    pthread_detach(thread);
    return 0;
}

static int look_up(struct lookup *l, const struct patience *p, struct err *err)
{
    /* An address needs no thread, no resolver and no interface of its family. */
    struct addrinfo numeric = {.ai_family = l->family,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    if (getaddrinfo(l->host, l->port, &numeric, &l->addresses) == 0)
        return 0;
    if (start_thread(l, err))
        return -1;
    struct pollfd fd = {.fd = l->done, .events = POLLIN};
    if (patience_poll(p, &fd, 1, err))
        return err_prefix(err, "look up %s", l->host);
    eventfd_t once;
    (void)eventfd_read(l->done, &once); /* what the thread wrote is there from here on */
    if (l->result == 0)
        return 0;
    const char *why = l->result == EAI_SYSTEM ? strerror(l->sys) : gai_strerror(l->result);
    return err_set(err, ERR_TEMPORARY, "cannot look up the host %s: %s", l->host, why);
}

static void tune(int fd)
{
    int on = 1, lowat = NOTSENT_LOWAT, timeout = USER_TIMEOUT_MS;
    /* Better with than without, but none is needed for the stream to be right. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof lowat);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof timeout);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

/* 0; 1 with *why when this address does not accept, or not within its share of the time. */
static int try_address(const struct addrinfo *a, const struct patience *share, int *out, int *why)
{
    int fd CLEANUP_FD = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        *why = errno;
        return 1;
    }
    tune(fd);
    if (connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
        if (errno != EINPROGRESS) {
            *why = errno;
            return 1;
        }
        struct pollfd pfd = {.fd = fd, .events = POLLOUT};
        if (patience_poll(share, &pfd, 1, NULL)) {
            *why = ETIMEDOUT;
            return 1;
        }
        socklen_t len = sizeof *why;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, why, &len) < 0)
            *why = errno;
        if (*why)
            return 1;
    }
    *out = TAKE_FD(fd);
    return 0;
}

/* One address that swallows packets must leave time for the next. */
static struct patience share_of(const struct patience *p, const struct addrinfo *rest)
{
    struct patience share = *p;
    uint64_t now = io_now_ms();
    unsigned left = 0;
    for (; rest; rest = rest->ai_next)
        left++;
    if (left && now < p->deadline)
        share.deadline = now + (p->deadline - now) / left;
    return share;
}

static int try_all(const struct lookup *l, const struct patience *p, int *fd, struct err *err)
{
    int why = ENOENT;
    for (const struct addrinfo *a = l->addresses; a; a = a->ai_next) {
        struct patience share = share_of(p, a);
        if (try_address(a, &share, fd, &why) == 0)
            return 0;
        if (p->stop && atomic_load(p->stop))
            return patience_check(p, err);
    }
    return reason_unreachable(err, l->host, l->port, strerror(why));
}

int net_connect(
    const char *host, unsigned port, int family, const struct patience *p, int *fd, struct err *err)
{
    int done = eventfd(0, EFD_CLOEXEC);
    if (done < 0)
        return err_sys(err, errno, "eventfd");
    struct lookup *l = mem_alloc(sizeof *l);
    l->done = done;
    l->host = mem_copy_string(host);
    l->family = family;
    atomic_store(&l->holders, 1);
    snprintf(l->port, sizeof l->port, "%u", port);
    int rc = look_up(l, p, err);
    if (rc == 0)
        rc = try_all(l, p, fd, err);
    lookup_release(l);
    return rc;
}
