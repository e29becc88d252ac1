/* See site_socket.h. */
#include "primary/daemon/site_socket.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "primary/daemon/site_names.h"

enum { CLIENTS_MAX = 16 }; /* at once */

int site_socket_poll(struct site_socket *s, uint32_t events, int how)
{
    struct epoll_event e = {.events = events, .data.ptr = s};
    return epoll_ctl(s->epoll, how, control_fd(s->control), &e);
}

/* Where the link is another site's by now it stays. */
static void remove_alias(struct site_socket *s, size_t i)
{
    char to[PATH_MAX];
    ssize_t n = s->aliases[i] ? readlinkat(s->dir_fd, s->aliases[i], to, sizeof to - 1) : -1;
    to[n > 0 ? n : 0] = '\0';
    if (n > 0 && strcmp(to, s->name) == 0)
        unlinkat(s->dir_fd, s->aliases[i], 0);
    free(s->aliases[i]);
    s->aliases[i] = NULL;
}

static void put_alias(struct site_socket *s, size_t i, const char *root)
{
    char *alias = site_socket_alias(root);
    char *fresh CLEANUP_FREE = mem_format(".new-%s", alias);
    if (s->aliases[i] && strcmp(s->aliases[i], alias) != 0)
        remove_alias(s, i);
    unlinkat(s->dir_fd, fresh, 0);
    if (symlinkat(s->name, s->dir_fd, fresh) < 0 ||
        renameat(s->dir_fd, fresh, s->dir_fd, alias) < 0)
        log_warn("%s: link %s/%s to its socket: %s", s->site, s->dir, alias, strerror(errno));
    free(s->aliases[i]);
    s->aliases[i] = alias;
}

static void close_socket(struct site_socket *s)
{
    for (size_t i = 0; i < sizeof s->aliases / sizeof *s->aliases; i++)
        remove_alias(s, i);
    if (s->control)
        site_socket_poll(s, 0, EPOLL_CTL_DEL); /* a process that is being started has a copy */
    control_close(s->control);
    s->control = NULL;
    s->owned = s->muted = false;
}

static int open_socket(struct site_socket *s, struct err *err)
{
    const struct control_limits limits = {.clients = CLIENTS_MAX, .turns_away = true};
    char *path CLEANUP_FREE = mem_format("%s/%s", s->dir, s->name);
    if (control_open(path, &limits, &s->handler, &s->control, err) < 0)
        return -1;
    if (site_socket_poll(s, EPOLLIN, EPOLL_CTL_ADD) == 0)
        return 0;
    err_sys(err, errno, "epoll for the socket %s", path);
    close_socket(s);
    return -1;
}

/* Whose PHP it is. 0; 1: that cannot be said yet, since there is no root. */
static int find_owner(const struct site_socket *s, uid_t *owner, gid_t *group, struct err *err)
{
    char text[16384];
    struct passwd entry, *found = NULL;
    struct stat st;
    if (s->user) {
        int failed = getpwnam_r(s->user, &entry, text, sizeof text, &found);
        if (!found)
            return err_set(err, ERR_FAILED, "socket-user %s: %s", s->user,
                failed ? strerror(failed) : "there is no such user on this host");
        *owner = found->pw_uid;
        *group = found->pw_gid;
        return 0;
    }
    if (stat(s->root, &st) < 0)
        return 1;
    *owner = st.st_uid;
    *group = st.st_gid;
    return 0;
}

static int own_socket(struct site_socket *s, struct err *err)
{
    uid_t owner;
    gid_t group;
    int found = find_owner(s, &owner, &group, err);
    if (found == 0 && (geteuid() == 0 || owner != geteuid()))
        found = control_own(s->control, owner, group, err);
    s->owned = found == 0;
    return found < 0 ? -1 : 0;
}

void site_socket_set_up(struct site_socket *s)
{
    struct err err = {0};
    if (s->control && !control_stands(s->control))
        close_socket(s);
    int failed = s->control ? 0 : open_socket(s, &err);
    if (failed == 0)
        failed = own_socket(s, &err);
    if (failed < 0 && strcmp(err.text, s->error) != 0)
        log_warn("%s: %s: its own socket cannot be used", s->site, err.text);
    memcpy(s->error, err.text, sizeof s->error);
    if (!s->control)
        return;
    free(s->real);
    s->real = realpath(s->root, NULL);
    put_alias(s, 0, s->root);
    if (s->real && strcmp(s->real, s->root) != 0)
        put_alias(s, 1, s->real);
}

void site_socket_free(struct site_socket *s)
{
    if (!s)
        return;
    close_socket(s);
    free(s->site);
    free(s->root);
    free(s->real);
    free(s->user);
    free(s->name);
    free(s);
}
