/*
 * A socket for each site that this host belongs to, for the user whose PHP serves it: the state of
 * this site, and waiting for paths of this site; nothing else, of no other site, and not too often.
 * What may be hostile here is that PHP: it gets a small, fixed part of the daemon's time.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "primary/daemon/daemon_impl.h"
#include "primary/daemon/site_names.h"
#include "primary/daemon/site_socket.h"

enum {
    REQUESTS_PER_S = 50, /* and how many of these are saved up: */
    REQUESTS_SAVED = 200,
    PATHS_FREE = 16,    /* so many paths more count as another request */
    ROUNDS_PER_S = 300, /* of serving it, whatever it does */
    ROUNDS_SAVED = 600,
    MUTED_MS = 100,  /* how long it is not served when these are used up */
    PATHS_MAX = 256, /* in one flush */
    TIMEOUT_MAX_MS = 30000,
    EVENTS_MAX = 32,
    LOOK_MS = 10000, /* between looks for roots and sockets that are not there */
    NOTHING_MS = 60000,
};

struct site_sockets {
    char *dir;
    bool made; /* the directory, by this process */
    int dir_fd, epoll;
    uint64_t look_due_ms;
    TAILQ_HEAD(, site_socket) all;
};

/* --- requests --- */

/* Absolute paths may go through the root as it is written, or as it is. */
static const char *relative(const struct site_socket *s, const char *path)
{
    if (path[0] != '/')
        return path;
    const char *found = io_path_beneath(path, s->root);
    return found || !s->real ? found : io_path_beneath(path, s->real);
}

static int copy_paths(
    const struct site_socket *s, const struct json *from, struct json *to, struct err *err)
{
    size_t count = json_count(from);
    if (count == 0 || count > PATHS_MAX)
        return err_set(err, ERR_USAGE, "a flush at this socket has 1 to %d paths", PATHS_MAX);
    for (size_t i = 0; i < count; i++) {
        const char *text = json_text_at(from, i), *path = text ? relative(s, text) : NULL;
        if (!path)
            return err_set(err, ERR_USAGE, "%s: not a path beneath the site's root",
                text ? QUOTED(text, strlen(text)) : "something else");
        json_append_text(to, path);
    }
    return 0;
}

static int check_role(const struct site_socket *s, struct err *err)
{
    struct daemon *d = s->home;
    if (roster_find(d, s->site))
        return 0;
    for (size_t i = 0; i < d->role_count; i++)
        if (strcmp(d->roles[i].name, s->site) == 0)
            return err_set(err, ERR_REFUSED, "%s is a secondary of %s: its primary is %s", d->self,
                s->site, d->roles[i].primary);
    return err_set(err, ERR_TEMPORARY, "%s is not mirrored from here", s->site);
}

/* The request that is made of it, for this site and within bounds. */
static void request_flush(
    struct site_socket *s, struct control_client *client, const struct json *request)
{
    struct err err;
    struct json *own = json_object(), *paths = json_array();
    double timeout = json_get_number(request, "timeout_ms", TIMEOUT_MAX_MS);
    json_set_json(own, "paths", paths);
    json_set_text(own, "site", s->site);
    json_set_bool(own, "brief", true);
    json_set_bool(own, "hook", json_get_bool(request, "hook", false));
    json_set_number(own, "timeout_ms", timeout < TIMEOUT_MAX_MS ? timeout : TIMEOUT_MAX_MS);
    if (check_role(s, &err) < 0 || copy_paths(s, json_get(request, "paths"), paths, &err) < 0)
        control_fail(client, &err);
    else
        flush_request(s->home, client, own);
    json_free(own);
}

static void request_status(struct site_socket *s, struct control_client *client)
{
    struct json *status = status_site_json(s->home, s->site);
    control_reply(client, status);
    json_free(status);
}

static void on_request(void *ctx, struct control_client *client, const struct json *request)
{
    struct site_socket *s = ctx;
    const char *what = json_get_text(request, "do", "");
    struct err err;
    size_t paths = json_count(json_get(request, "paths"));
    unsigned price = 1 + (unsigned)(paths < PATHS_MAX ? paths : PATHS_MAX) / PATHS_FREE;
    if (!bucket_take(&s->requests, price, io_now_ms())) {
        err_set(&err, ERR_TEMPORARY, "busy: more than %d requests a second", REQUESTS_PER_S);
        control_fail(client, &err);
    } else if (strcmp(what, "status") == 0) {
        request_status(s, client);
    } else if (strcmp(what, "flush") == 0) {
        request_flush(s, client, request);
    } else {
        err_set(&err, ERR_USAGE, "a site's socket answers the requests status and flush");
        control_fail(client, &err);
    }
}

static void on_gone(void *ctx, struct control_client *client)
{
    struct site_socket *s = ctx;
    flush_gone(s->home, client);
}

/* --- all of them --- */

static int open_directory(struct site_sockets *all, struct err *err)
{
    struct stat st;
    char *above CLEANUP_FREE = mem_copy_string(all->dir);
    char *slash = strrchr(above, '/');
    *slash = '\0';
    if (*above && io_make_path(above, 0755, err) < 0)
        return -1;
    all->made = mkdir(all->dir, 0711) == 0;
    if (!all->made && errno != EEXIST)
        return err_sys(err, errno, "create directory %s", all->dir);
    all->dir_fd = open(all->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (all->dir_fd < 0 || fstat(all->dir_fd, &st) < 0)
        return err_sys(err, errno, "open %s", all->dir);
    if (st.st_uid != geteuid() || (st.st_mode & 0022))
        return err_set(err, ERR_USAGE, "%s is another user's, or others may write there", all->dir);
    /* So that a site's user can enter it and nobody can list it; one that was there stays as it is.
     */
    if (all->made && fchmod(all->dir_fd, 0711) < 0)
        return err_sys(err, errno, "chmod %s", all->dir);
    all->epoll = epoll_create1(EPOLL_CLOEXEC);
    return all->epoll < 0 ? err_sys(err, errno, "epoll") : 0;
}

static void remove_one(struct site_sockets *all, struct site_socket *s)
{
    TAILQ_REMOVE(&all->all, s, order);
    site_socket_free(s);
}

void site_sockets_free(struct daemon *d)
{
    struct site_sockets *all = d->site_sockets;
    if (!all)
        return;
    while (!TAILQ_EMPTY(&all->all))
        remove_one(all, TAILQ_FIRST(&all->all));
    if (all->epoll >= 0)
        close(all->epoll);
    if (all->dir_fd >= 0)
        close(all->dir_fd);
    if (all->made)
        rmdir(all->dir); /* unless somebody else has something in it */
    free(all->dir);
    free(all);
    d->site_sockets = NULL;
}

static void open_all(struct daemon *d, const char *dir)
{
    struct err err;
    struct site_sockets *all = mem_alloc(sizeof *all);
    all->dir = mem_copy_string(dir);
    all->dir_fd = all->epoll = -1;
    TAILQ_INIT(&all->all);
    d->site_sockets = all;
    if (open_directory(all, &err) == 0)
        return;
    log_warn("site-sockets: %s: sites have no sockets of their own", err.text);
    site_sockets_free(d);
}

static bool equal(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static struct site_socket *find(const struct site_sockets *all, const char *site)
{
    struct site_socket *s;
    TAILQ_FOREACH (s, &all->all, order)
        if (strcmp(s->site, site) == 0)
            return s;
    return NULL;
}

static struct site_socket *add_one(
    struct daemon *d, const char *site, const char *root, const char *user)
{
    struct site_sockets *all = d->site_sockets;
    struct site_socket *s = mem_alloc(sizeof *s);
    s->home = d;
    s->dir = all->dir;
    s->dir_fd = all->dir_fd;
    s->epoll = all->epoll;
    s->handler = (struct control_handler){on_request, on_gone, s};
    s->site = mem_copy_string(site);
    s->root = mem_copy_string(root);
    s->user = mem_copy_string(user);
    s->name = site_socket_name(all->dir, site);
    s->requests = (struct bucket){.per_s = REQUESTS_PER_S, .most = REQUESTS_SAVED};
    s->rounds = (struct bucket){.per_s = ROUNDS_PER_S, .most = ROUNDS_SAVED};
    TAILQ_INSERT_TAIL(&all->all, s, order);
    return s;
}

static void plan_one(struct daemon *d, const char *site, const char *root, const char *user)
{
    struct site_socket *s = find(d->site_sockets, site);
    if (s && (!equal(s->root, root) || !equal(s->user, user))) {
        remove_one(d->site_sockets, s);
        s = NULL;
    }
    if (!s)
        s = add_one(d, site, root, user);
    s->planned = true;
}

void site_sockets_apply(struct daemon *d, const struct daemon_plan *plan)
{
    struct site_socket *s, *next;
    if (d->site_sockets && !equal(d->site_sockets->dir, plan->site_sockets))
        site_sockets_free(d);
    if (!d->site_sockets && plan->site_sockets)
        open_all(d, plan->site_sockets);
    if (!d->site_sockets)
        return;
    TAILQ_FOREACH (s, &d->site_sockets->all, order)
        s->planned = false;
    for (size_t i = 0; i < plan->site_count; i++)
        if (plan->sites[i].presence == DAEMON_SITE_THERE)
            plan_one(d, plan->sites[i].options.name, plan->sites[i].options.root,
                plan->sites[i].socket_user);
    for (size_t i = 0; i < plan->idle_count; i++)
        plan_one(d, plan->idle[i].name, plan->idle[i].root, plan->idle[i].socket_user);
    for (s = TAILQ_FIRST(&d->site_sockets->all); s; s = next) {
        next = TAILQ_NEXT(s, order);
        if (s->planned)
            site_socket_set_up(s);
        else
            remove_one(d->site_sockets, s);
    }
}

/* --- serving --- */

int site_sockets_fd(const struct daemon *d)
{
    return d->site_sockets ? d->site_sockets->epoll : -1;
}

/* One event a call, as in control_serve. */
void site_sockets_serve(struct daemon *d)
{
    struct epoll_event e;
    uint64_t now = io_now_ms();
    for (int i = 0; i < EVENTS_MAX && epoll_wait(d->site_sockets->epoll, &e, 1, 0) > 0; i++) {
        struct site_socket *s = e.data.ptr;
        if (bucket_take(&s->rounds, 1, now)) {
            control_serve(s->control);
        } else {
            s->muted = site_socket_poll(s, 0, EPOLL_CTL_MOD) == 0;
            s->muted_until_ms = now + MUTED_MS;
        }
    }
}

/* Milliseconds until it has to be called again. */
static unsigned unmute(struct site_socket *s, uint64_t now)
{
    if (!s->muted)
        return NOTHING_MS;
    if (now < s->muted_until_ms)
        return (unsigned)(s->muted_until_ms - now);
    s->muted = site_socket_poll(s, EPOLLIN, EPOLL_CTL_MOD) < 0;
    s->muted_until_ms = now + MUTED_MS;
    return s->muted ? MUTED_MS : NOTHING_MS;
}

unsigned site_sockets_tick(struct daemon *d)
{
    struct site_socket *s;
    unsigned wait = LOOK_MS;
    if (!d->site_sockets)
        return NOTHING_MS;
    uint64_t now = io_now_ms();
    bool look = now >= d->site_sockets->look_due_ms;
    TAILQ_FOREACH (s, &d->site_sockets->all, order) {
        if (look && (!s->owned || !s->control || !control_stands(s->control)))
            site_socket_set_up(s);
        unsigned one = unmute(s, now);
        wait = one < wait ? one : wait;
    }
    if (look)
        d->site_sockets->look_due_ms = now + LOOK_MS;
    return wait;
}
