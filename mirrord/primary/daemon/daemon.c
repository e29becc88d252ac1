/*
 * The daemon: its beginning (limits, lock, signals, socket), its loop, and its end. What there is
 * to do is elsewhere; see daemon_impl.h.
 */
#include "primary/daemon/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/service.h"
#include "primary/daemon/daemon_impl.h"
#include "primary/daemon/glob_watch.h"
#include "primary/daemon/pauses.h"
#include "primary/push/pack/shelf.h"

enum {
    READY_MS = 50,      /* between looks whether everything is level for the first time */
    MANAGER_MS = 10000, /* between lines to the service manager */
    SHELF_MAX = 32 << 20,
    GLOBS_AT = 5, /* in the list of what is polled for, behind the others */
};

/* --- requests --- */

static void reload(struct daemon *d, struct control_client *client)
{
    struct err err = {0};
    service_reloading();
    int rc = d->hooks.reload(d->hooks.ctx, d, &err);
    service_ready();
    if (rc < 0) {
        log_error("reload: %s; the old configuration stays", err.text);
        if (client)
            control_fail(client, &err);
        return;
    }
    log_info("the configuration has been read again");
    if (!client)
        return;
    struct json *reply = json_object();
    json_set_bool(reply, "reloaded", true);
    control_reply(client, reply);
    json_free(reply);
}

static void reply_status(struct daemon *d, struct control_client *client)
{
    struct json *status = status_json(d);
    control_reply(client, status);
    json_free(status);
}

static void reply_ping(struct control_client *client)
{
    struct json *reply = json_object();
    json_set_bool(reply, "alive", true);
    json_set_number(reply, "pid", getpid());
    json_set_text(reply, "version", MIRRORD_VERSION);
    control_reply(client, reply);
    json_free(reply);
}

static void on_request(void *ctx, struct control_client *client, const struct json *request)
{
    struct daemon *d = ctx;
    const char *what = json_get_text(request, "do", "");
    struct err err;
    if (strcmp(what, "status") == 0) {
        reply_status(d, client);
    } else if (strcmp(what, "flush") == 0) {
        flush_request(d, client, request);
    } else if (strcmp(what, "resync") == 0) {
        resync_request(d, client, request);
    } else if (strcmp(what, "pause") == 0) {
        pause_request(d, client, request);
    } else if (strcmp(what, "resume") == 0) {
        resume_request(d, client, request);
    } else if (strcmp(what, "forget") == 0) {
        forget_request(d, client, request);
    } else if (strcmp(what, "reload") == 0) {
        reload(d, client);
    } else if (strcmp(what, "ping") == 0) {
        reply_ping(client);
    } else {
        err_set(&err, ERR_USAGE, "this daemon (%s) does not know the request %s", MIRRORD_VERSION,
            QUOTED(what, strlen(what)));
        control_fail(client, &err);
    }
}

static void on_gone(void *ctx, struct control_client *client)
{
    flush_gone(ctx, client);
    forget_gone(ctx, client);
}

/* --- beginning --- */

static void raise_limits(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &files) < 0)
            log_warn("the limit of open files stays low: %s", strerror(errno));
    }
}

/* Before any thread is started, so that all of them leave the signals to the loop. */
static int take_signals(struct daemon *d, struct err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGIO, SIG_IGN); /* a writer that meets a lease */
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    d->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return d->signal_fd < 0 || d->wake_fd < 0 ? err_sys(err, errno, "signals") : 0;
}

static int locked_elsewhere(int fd, const char *path, struct err *err)
{
    char pid[32] = "";
    ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
    pid[n > 0 ? strcspn(pid, "\n") : 0] = '\0';
    return err_set(err, ERR_TEMPORARY, "another mirrord run%s%s holds the state directory (%s)",
        *pid ? " with pid " : "", pid, path);
}

static int lock_state(struct daemon *d, struct err *err)
{
    char *path CLEANUP_FREE = mem_format("%s/daemon.lock", d->state_dir);
    char *pid CLEANUP_FREE = mem_format("%d\n", (int)getpid());
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (io_make_path(d->state_dir, 0700, err) < 0)
        return -1;
    d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (d->lock_fd < 0)
        return err_sys(err, errno, "open %s", path);
    if (fcntl(d->lock_fd, F_OFD_SETLK, &whole) < 0)
        return errno == EAGAIN || errno == EACCES ? locked_elsewhere(d->lock_fd, path, err)
                                                  : err_sys(err, errno, "lock %s", path);
    if (ftruncate(d->lock_fd, 0) < 0 || pwrite(d->lock_fd, pid, strlen(pid), 0) < 0)
        return err_sys(err, errno, "write %s", path);
    return 0;
}

static int open_parts(struct daemon *d, const struct daemon_plan *plan, struct err *err)
{
    struct control_handler handler = {on_request, on_gone, d};
    struct scan_sink sink = roster_sink;
    struct scan_options options = {.rescan_ms = plan->rescan_ms,
        .scan_rate = plan->scan_rate,
        .reread_every_s = plan->reread_every_s};
    sink.ctx = d;
    if (lock_state(d, err) < 0 || pauses_open(d->state_dir, &d->pauses, err) < 0 ||
        control_open(plan->control, NULL, &handler, &d->control, err) < 0)
        return -1;
    if (take_signals(d, err) < 0)
        return -1;
    d->globs = glob_watch_new();
    d->shelf = shelf_new(SHELF_MAX);
    return scan_new(&options, &sink, &d->scan, err);
}

int daemon_new(const struct daemon_plan *plan, const struct daemon_hooks *hooks,
    struct daemon **out, struct err *err)
{
    struct daemon *d = mem_alloc(sizeof *d);
    d->state_dir = mem_copy_string(plan->state_dir);
    d->self = mem_copy_string(plan->self);
    d->started = time(NULL);
    d->hour_ms = plan->hour_ms;
    d->hooks = *hooks;
    d->lock_fd = d->signal_fd = d->wake_fd = d->roles_fd = -1;
    pthread_mutex_init(&d->lock, NULL);
    TAILQ_INIT(&d->peers);
    TAILQ_INIT(&d->sites);
    TAILQ_INIT(&d->leaving);
    TAILQ_INIT(&d->waits);
    TAILQ_INIT(&d->forgets);
    raise_limits();
    if (open_parts(d, plan, err) < 0) {
        daemon_free(d);
        return -1;
    }
    *out = d;
    return 0;
}

int daemon_apply(struct daemon *d, const struct daemon_plan *plan, struct err *err)
{
    if (roster_apply(d, plan, err) < 0)
        return -1;
    roles_apply(d, plan);
    metrics_set(d, plan->metrics, plan->metrics_ms);
    site_sockets_apply(d, plan);
    glob_watch_set(d->globs, plan->globs, plan->glob_count);
    return 0;
}

/* --- the loop --- */

static void take_signal(struct daemon *d)
{
    struct signalfd_siginfo s;
    while (read(d->signal_fd, &s, sizeof s) == (ssize_t)sizeof s) {
        if (s.ssi_signo == SIGHUP)
            reload(d, NULL);
        else
            d->stopping = true;
    }
}

static size_t count_sites(const struct daemon *d)
{
    const struct roster_site *s;
    size_t n = 0;
    TAILQ_FOREACH (s, &d->sites, order)
        n++;
    return n;
}

static size_t count_peers(const struct daemon *d)
{
    const struct roster_peer *p;
    size_t n = 0;
    TAILQ_FOREACH (p, &d->peers, order)
        n++;
    return n;
}

static void tell_manager(struct daemon *d)
{
    size_t sites = count_sites(d), peers = count_peers(d), up = 0;
    const struct roster_peer *p;
    struct peer_status status;
    TAILQ_FOREACH (p, &d->peers, order) {
        peer_status(p->peer, &status);
        up += status.state == PEER_UP;
    }
    service_alive();
    service_status("%zu site%s; %zu of %zu secondar%s connected%s", sites, sites == 1 ? "" : "s",
        up, peers, peers == 1 ? "y" : "ies", d->ready ? "" : "; first comparison");
}

/* Whoever started the daemon may wait for this line, whatever is logged. */
static void tell_ready(struct daemon *d)
{
    size_t sites = count_sites(d), peers = count_peers(d);
    d->ready = true;
    log_always("ready: %zu site%s, %zu %s", sites, sites == 1 ? "" : "s", peers,
        peers == 1 ? "secondary" : "secondaries");
}

/* Does what is due. Milliseconds until there is more. */
static unsigned work(struct daemon *d)
{
    unsigned look, expand;
    if (roles_changed(d, &look))
        reload(d, NULL);
    if (glob_watch_due(d->globs, &expand))
        d->hooks.expand(d->hooks.ctx, d);
    unsigned wait = roster_tick(d);
    const unsigned others[] = {look, expand, flush_tick(d), forget_tick(d), pausing_tick(d),
        site_sockets_tick(d), metrics_tick(d), hourly_tick(d)};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (others[i] < wait)
            wait = others[i];
    if (!d->ready && roster_is_ready(d))
        tell_ready(d);
    if (io_now_ms() >= d->manager_due_ms) {
        tell_manager(d);
        d->manager_due_ms = io_now_ms() + d->manager_ms;
    }
    if (d->manager_ms < wait)
        wait = d->manager_ms;
    return !d->ready && wait > READY_MS ? READY_MS : wait;
}

int daemon_run(struct daemon *d, struct err *err)
{
    unsigned watchdog = service_watchdog_ms();
    d->manager_ms = watchdog && watchdog < MANAGER_MS ? watchdog : MANAGER_MS;
    service_ready(); /* that all is level may take hours yet, and is no start time-out */
    while (!d->stopping) {
        FAULT_SLOW();
        int wait = (int)work(d); /* may change what is polled for */
        struct pollfd p[] = {
            {.fd = d->signal_fd, .events = POLLIN},
            {.fd = d->wake_fd, .events = POLLIN},
            {.fd = control_fd(d->control), .events = POLLIN},
            {.fd = site_sockets_fd(d), .events = POLLIN},
            {.fd = d->roles_fd, .events = POLLIN},
            [GLOBS_AT + GLOB_WATCH_FDS - 1] = {.fd = -1},
        };
        eventfd_t count;
        glob_watch_fds(d->globs, p + GLOBS_AT);
        if (poll(p, sizeof p / sizeof *p, wait) < 0 && errno != EINTR)
            return err_sys(err, errno, "poll");
        if (p[0].revents)
            take_signal(d);
        if (p[1].revents)
            eventfd_read(d->wake_fd, &count);
        if (p[2].revents)
            control_serve(d->control);
        if (p[3].revents && d->site_sockets)
            site_sockets_serve(d);
        if (p[4].revents)
            roles_wake(d);
        glob_watch_read(d->globs, p + GLOBS_AT);
    }
    service_stopping();
    log_info("ending");
    return 0;
}

void daemon_free(struct daemon *d)
{
    if (!d)
        return;
    metrics_end(d);
    flush_free(d);
    forget_free(d);
    control_close(d->control);
    site_sockets_free(d);
    roster_free(d);
    roles_free(d);
    scan_free(d->scan);
    glob_watch_free(d->globs);
    shelf_free(d->shelf);
    pauses_free(d->pauses);
    if (d->wake_fd >= 0)
        close(d->wake_fd);
    if (d->signal_fd >= 0)
        close(d->signal_fd);
    if (d->lock_fd >= 0)
        close(d->lock_fd);
    pthread_mutex_destroy(&d->lock);
    free(d->state_dir);
    free(d->self);
    free(d);
}
