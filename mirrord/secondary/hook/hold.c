/* Commands around the switch of units; see hold.h. Such a command has a pipe on its standard input
 * that stays open until the switch: should this process be killed, it reads its end, and lets go.
 */
#include "secondary/hook/hold.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/set.h"
#include "secondary/hook/hook.h"
#include "secondary/hook/hook_run.h"

enum {
    FEED_MS = 2,         /* until a full pipe is tried again */
    PIPE_SIZE = 1 << 20, /* so that nearly all that is told fits */
    FEED_MAX = 1 << 24,  /* bytes in one go */
};

enum phase {
    PHASE_NONE,  /* nothing runs */
    PHASE_ASKED, /* it is to be started */
    PHASE_RUNS,  /* it has not said that it is ready */
    PHASE_READY,
    PHASE_LET_GO, /* it is told what changed, or ends */
    PHASE_FAILED, /* before that; whoever asked does not know yet */
};

struct hold {
    char *site, *root;
    struct receive_hook order;
    enum phase phase;
    bool again;           /* asked for while the one before is at its end */
    uint64_t asked;       /* io_now_ms: no longer than its limit it waits to be started */
    struct hook_run *run; /* NULL: it does not run */
    int pipe;             /* its standard input; -1: closed */
    int told;             /* file of what is put there; -1: nothing yet, or all of it */
    struct hook_changes *changes;
    struct hook_failing failing;
};

struct holds {
    struct set *sites; /* struct hold */
    int epoll;
    unsigned running;
};

struct holds *holds_new(int epoll)
{
    struct holds *h = mem_alloc(sizeof *h);
    *h = (struct holds){.sites = set_new(), .epoll = epoll};
    return h;
}

static void close_at(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void holds_free(struct holds *h)
{
    if (!h)
        return;
    for (struct set_item *i = set_first(h->sites); i; i = i->next) {
        struct hold *k = i->value;
        hook_run_free(k->run);
        close_at(&k->pipe);
        close_at(&k->told);
        hook_changes_free(k->changes);
        receive_hook_clear(&k->order);
        free(k->site);
        free(k->root);
        free(k);
    }
    set_free(h->sites);
    free(h);
}

static struct hold *find(const struct holds *h, struct bytes site)
{
    struct set_item *item = set_find(h->sites, site.data, site.len);
    return item ? item->value : NULL;
}

bool holds_knows(const struct holds *h, struct bytes site)
{
    return find(h, site) != NULL;
}

void holds_know(
    struct holds *h, struct bytes site, const char *root, const struct receive_hook *order)
{
    if (find(h, site))
        return;
    struct hold *k = mem_alloc(sizeof *k);
    *k = (struct hold){.site = mem_copy_bytes(site.data, site.len),
        .root = mem_copy_string(root),
        .order = receive_hook_copy(order),
        .pipe = -1,
        .told = -1,
        .changes = hook_changes_new()};
    set_add(h->sites, site.data, site.len)->value = k;
}

/* --- its end --- */

/* What is shown on the primary beside failures of the command after a commit. In the log are the
 * first, the second, the fourth … in a row: whoever asks for a hold decides how often that is. */
static void failed(struct hold *k, const struct err *why)
{
    if (k->failing.count == 0)
        k->failing.since = (int64_t)time(NULL);
    k->failing.count++;
    snprintf(
        k->failing.text, sizeof k->failing.text, "on-switch: %.*s", HOOK_TEXT_MAX - 16, why->text);
    if (k->failing.count & (k->failing.count - 1))
        return;
    log_error("site %s: on-switch %s failed (%u in a row): %s; units are switched without it, and "
              "pages that are made meanwhile may have files of both versions",
        k->site, k->order.argv[0], k->failing.count, QUOTED(why->text, strlen(why->text)));
}

static void succeeded(struct hold *k)
{
    if (k->failing.count)
        log_warn("site %s: on-switch %s works again", k->site, k->order.argv[0]);
    k->failing = (struct hook_failing){0};
}

/* It does not run any more. Only one that let go in its turn did what it is for. */
static void ended(struct holds *h, struct hold *k, int result, struct err *why)
{
    bool early = k->phase != PHASE_LET_GO;
    if (k->run) {
        hook_run_free(TAKE_PTR(k->run));
        h->running--;
    }
    close_at(&k->pipe);
    close_at(&k->told);
    hook_changes_clear(k->changes);
    if (early && result == 0)
        result = err_set(why, ERR_FAILED, "it ended before the switch");
    if (result < 0)
        failed(k, why);
    else
        succeeded(k);
    k->phase = k->again ? PHASE_ASKED : early ? PHASE_FAILED : PHASE_NONE;
    k->again = false;
}

/* --- its beginning --- */

static void watch(const struct holds *h, int fd)
{
    struct epoll_event e = {.events = EPOLLIN};
    epoll_ctl(h->epoll, EPOLL_CTL_ADD, fd, &e);
}

static int launch(struct hold *k, struct err *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, errno, "prepare its input");
    int theirs CLEANUP_FD = ends[0];
    k->pipe = ends[1];
    io_nonblock(k->pipe);
    (void)fcntl(k->pipe, F_SETPIPE_SZ, PIPE_SIZE); /* not allowed: so be it */
    k->run = hook_run_start(
        &(struct hook_run_what){"on-switch", HOLD_SIGN, k->site, k->root, &k->order, theirs, -1},
        err);
    return k->run ? 0 : -1;
}

static void start(struct holds *h, struct hold *k)
{
    struct err why;
    if (h->running >= HOLDS_AT_ONCE && io_now_ms() < k->asked + k->order.timeout_ms)
        return;
    if (h->running >= HOLDS_AT_ONCE) {
        err_set(&why, ERR_FAILED, "%d others of this receiver take too long", HOLDS_AT_ONCE);
        ended(h, k, -1, &why);
    } else if (launch(k, &why) < 0)
        ended(h, k, -1, &why);
    else {
        h->running++;
        k->phase = PHASE_RUNS;
        hook_run_limit(k->run, k->order.timeout_ms, true);
        watch(h, hook_run_output(k->run));
        watch(h, hook_run_status(k->run));
    }
}

enum hold_state holds_begin(struct holds *h, struct bytes site)
{
    struct hold *k = find(h, site);
    if (!k)
        return HOLD_NONE;
    switch (k->phase) {
    case PHASE_NONE:
        k->phase = PHASE_ASKED;
        k->asked = io_now_ms();
        start(h, k);
        break;
    case PHASE_LET_GO:
        k->again = true;
        k->asked = io_now_ms();
        break;
    default: break;
    }
    if (k->phase == PHASE_FAILED) {
        k->phase = PHASE_NONE;
        return HOLD_NONE;
    }
    return k->phase == PHASE_READY ? HOLD_READY : HOLD_WAITS;
}

/* --- what it is told --- */

static void feed(struct hold *k)
{
    ssize_t n = 1;
    while (k->told >= 0 && n > 0)
        n = sendfile(k->pipe, k->told, NULL, FEED_MAX);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    close_at(&k->told); /* all of it, or nobody reads */
    close_at(&k->pipe);
}

/* Or about to be. */
static bool is_held(const struct hold *k)
{
    return k->phase == PHASE_RUNS || k->phase == PHASE_READY;
}

static void let_go(struct hold *k)
{
    k->again = false;
    if (k->phase == PHASE_ASKED || k->phase == PHASE_FAILED)
        k->phase = PHASE_NONE;
    if (!is_held(k))
        return;
    k->phase = PHASE_LET_GO;
    hook_run_limit(k->run, k->order.timeout_ms, true);
    k->told = hook_changes_file(k->changes);
    hook_changes_clear(k->changes);
    feed(k);
}

bool holds_end(struct holds *h, struct bytes site, struct bytes records, bool last)
{
    struct hold *k = find(h, site);
    if (!k)
        return true;
    bool good = hook_changes_add(k->changes, records);
    if (!is_held(k))
        hook_changes_clear(k->changes); /* for nobody */
    if (last)
        let_go(k);
    return good;
}

void holds_let_go(struct holds *h)
{
    for (struct set_item *i = set_first(h->sites); i; i = i->next)
        let_go(i->value);
}

/* --- stepping --- */

static void step_run(struct holds *h, struct hold *k)
{
    struct err why;
    int more = hook_run_step(k->run, io_now_ms(), &why);
    if (more < 1) {
        ended(h, k, more, &why);
        return;
    }
    if (k->phase == PHASE_RUNS && hook_run_signed(k->run)) {
        k->phase = PHASE_READY;
        hook_run_limit(k->run, k->order.timeout_ms, true);
    }
    if (k->phase == PHASE_LET_GO && k->pipe >= 0)
        feed(k);
}

void holds_step(struct holds *h)
{
    for (struct set_item *i = set_first(h->sites); i; i = i->next) {
        struct hold *k = i->value;
        if (k->run)
            step_run(h, k);
        if (k->phase == PHASE_ASKED)
            start(h, k);
    }
}

uint64_t holds_due(const struct holds *h)
{
    uint64_t next = UINT64_MAX;
    for (struct set_item *i = set_first(h->sites); i; i = i->next) {
        const struct hold *k = i->value;
        uint64_t at = UINT64_MAX;
        if (k->phase == PHASE_LET_GO && k->pipe >= 0)
            at = io_now_ms() + FEED_MS;
        else if (k->run)
            at = hook_run_due(k->run);
        else if (k->phase == PHASE_ASKED)
            at = h->running < HOLDS_AT_ONCE ? 0 : k->asked + k->order.timeout_ms;
        next = at < next ? at : next;
    }
    return next;
}

bool holds_busy(const struct holds *h, struct bytes site)
{
    const struct hold *k = find(h, site);
    return k && k->run;
}

bool holds_any(const struct holds *h)
{
    return h->running > 0;
}

void holds_leave(struct holds *h)
{
    for (struct set_item *i = set_first(h->sites); i; i = i->next) {
        struct hold *k = i->value;
        if (k->run)
            hook_run_leave(k->run);
    }
}

const struct hook_failing *holds_failing(const struct holds *h, struct bytes site)
{
    const struct hold *k = find(h, site);
    return k && k->failing.count ? &k->failing : NULL;
}
