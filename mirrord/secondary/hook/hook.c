/* When commands after a commit run; see hook.h. One run is hook_run.c's, those around a switch are
 * hold.c's. */
#include "secondary/hook/hook.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/set.h"
#include "secondary/hook/hold.h"
#include "secondary/hook/hook_run.h"

enum {
    APART_MS = 1000,      /* between two starts for a site */
    BUSY_MS = 200,        /* until another process's run is looked at again */
    RETRY_MS = 15 * 1000, /* after the first failure; each next pause is twice as long … */
    RETRY_MOST = 6,       /* … so many times */
    LAST_MS = 2000,       /* hooks_finish: over the commands' own time */
    END_MS = 6000,        /* and for one that is ended */
};

struct hook {
    char *site, *root;
    struct receive_hook order;
    int note;
    struct hook_changes *changes; /* since the last start */
    bool fresh;                   /* of these are some that no run was told of */
    bool inherited;               /* the note said it is due: everything, if it still says so */
    uint64_t not_before;          /* io_now_ms */
    uint64_t started;
    struct hook_run *run;              /* NULL: it does not run */
    int slot;                          /* held while it runs */
    uint64_t came, started_with, done; /* tickets, see hooks_told */
    struct hook_failing failing;
};

struct hooks {
    char *state_dir;
    struct set *sites; /* struct hook */
    int epoll;
    unsigned running;
    size_t bytes; /* of all changes */
    struct holds *holds;
};

void receive_hook_clear(struct receive_hook *hook)
{
    for (char **word = hook->argv; word && *word; word++)
        free(*word);
    free(hook->argv);
    free(hook->user);
    *hook = (struct receive_hook){0};
}

struct receive_hook receive_hook_copy(const struct receive_hook *from)
{
    size_t n = 0;
    while (from->argv[n])
        n++;
    struct receive_hook to = {
        mem_array(n + 1, sizeof *to.argv), mem_copy_string(from->user), from->timeout_ms};
    for (size_t i = 0; i < n; i++)
        to.argv[i] = mem_copy_string(from->argv[i]);
    return to;
}

int hook_check_command(const char *path, struct err *err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return err_sys(err, errno, "%s", path);
    if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111))
        return err_set(err, ERR_USAGE, "%s is not an executable file", path);
    if (st.st_mode & 022)
        return err_set(err, ERR_USAGE, "%s can be changed by others than its owner", path);
    if (st.st_uid != 0 && st.st_uid != geteuid())
        return err_set(err, ERR_USAGE, "%s belongs neither to root nor to who receives", path);
    return 0;
}

struct hooks *hooks_new(const char *state_dir)
{
    struct hooks *h = mem_alloc(sizeof *h);
    *h = (struct hooks){.state_dir = mem_copy_string(state_dir), .sites = set_new()};
    h->epoll = epoll_create1(EPOLL_CLOEXEC);
    h->holds = holds_new(h->epoll);
    return h;
}

static void free_hook(struct hook *k)
{
    hook_run_free(k->run);
    if (k->slot >= 0)
        close(k->slot);
    if (k->note >= 0)
        close(k->note);
    hook_changes_free(k->changes);
    receive_hook_clear(&k->order);
    free(k->site);
    free(k->root);
    free(k);
}

void hooks_free(struct hooks *h)
{
    if (!h)
        return;
    for (struct set_item *i = set_first(h->sites); i; i = i->next)
        free_hook(i->value);
    set_free(h->sites);
    holds_free(h->holds);
    if (h->epoll >= 0)
        close(h->epoll);
    free(h->state_dir);
    free(h);
}

struct holds *hooks_holds(const struct hooks *h)
{
    return h->holds;
}

static struct hook *find(const struct hooks *h, struct bytes site)
{
    struct set_item *item = set_find(h->sites, site.data, site.len);
    return item ? item->value : NULL;
}

bool hooks_knows(const struct hooks *h, struct bytes site)
{
    return find(h, site) != NULL;
}

/* There is news for it: the pause after a failure ends. */
static void freshen(struct hook *k)
{
    if (!k->fresh)
        k->not_before = k->started ? k->started + APART_MS : 0;
    k->fresh = true;
}

void hooks_look_again(struct hooks *h, struct bytes site)
{
    struct hook *k = find(h, site);
    struct hook_failing noted;
    if (!k || k->run || !hook_note_read(k->note, &noted))
        return;
    k->failing = noted;
    k->inherited = true;
    k->came++;
    freshen(k);
}

void hooks_know(struct hooks *h, struct bytes site, const char *root,
    const struct receive_hook *hook, int state_dir)
{
    if (!find(h, site)) {
        struct hook *k = mem_alloc(sizeof *k);
        k->site = mem_copy_bytes(site.data, site.len);
        k->root = mem_copy_string(root);
        k->order = receive_hook_copy(hook);
        k->note = hook_note_open(state_dir);
        k->slot = -1;
        k->changes = hook_changes_new();
        set_add(h->sites, site.data, site.len)->value = k;
    }
    hooks_look_again(h, site);
}

static void become_all(struct hooks *h, struct hook *k)
{
    h->bytes -= hook_changes_bytes(k->changes);
    hook_changes_add_all(k->changes);
}

/* After what was added: in all they are bounded, too. */
static void count_bytes(struct hooks *h, struct hook *k, size_t before)
{
    h->bytes += hook_changes_bytes(k->changes) - before;
    if (h->bytes > HOOKS_BYTES_MAX)
        become_all(h, k);
}

bool hooks_add(struct hooks *h, struct bytes site, struct bytes records)
{
    struct hook *k = find(h, site);
    if (!k)
        return true;
    size_t before = hook_changes_bytes(k->changes);
    bool due = hook_changes_any(k->changes) || k->inherited;
    bool good = hook_changes_add(k->changes, records);
    count_bytes(h, k, before);
    if (!hook_changes_any(k->changes))
        return good;
    k->came++;
    if (!due)
        hook_note_due(k->note, &k->failing);
    freshen(k);
    return good;
}

void hooks_state(const struct hooks *h, struct bytes site, struct hook_state *out)
{
    const struct hook *k = find(h, site);
    const struct hook_failing *held = holds_failing(h->holds, site);
    *out = (struct hook_state){.pending = holds_busy(h->holds, site)};
    if (k) {
        out->pending = out->pending || k->run || k->fresh;
        out->failing = k->failing;
    }
    if (held && out->failing.count == 0)
        out->failing = *held;
}

bool hooks_told(const struct hooks *h, struct bytes site, uint64_t ticket, uint64_t *now)
{
    const struct hook *k = find(h, site);
    *now = k ? k->came : 0;
    return !k || k->done >= ticket;
}

int hooks_fd(const struct hooks *h)
{
    return h->epoll;
}

static bool is_due(const struct hook *k)
{
    return !k->run && (k->inherited || hook_changes_any(k->changes));
}

int hooks_due_ms(const struct hooks *h)
{
    uint64_t now = io_now_ms(), next = holds_due(h->holds);
    for (struct set_item *i = set_first(h->sites); i; i = i->next) {
        const struct hook *k = i->value;
        uint64_t at = k->run ? hook_run_due(k->run) : is_due(k) ? k->not_before : UINT64_MAX;
        next = at < next ? at : next;
    }
    if (next == UINT64_MAX)
        return -1;
    return next <= now ? 0 : next - now > 60000 ? 60000 : (int)(next - now);
}

/* --- a run --- */

static int64_t now_s(void)
{
    return (int64_t)time(NULL);
}

static void failed(struct hook *k, const struct err *why)
{
    unsigned doubled = k->failing.count < RETRY_MOST ? k->failing.count : RETRY_MOST;
    if (k->failing.count == 0)
        k->failing.since = now_s();
    k->failing.count++;
    snprintf(k->failing.text, sizeof k->failing.text, "%.*s", HOOK_TEXT_MAX, why->text);
    log_error(
        "site %s: on-commit %s failed (%u in a row): %s; it is run again with the next change "
        "or by itself",
        k->site, k->order.argv[0], k->failing.count, QUOTED(why->text, strlen(why->text)));
    if (!k->fresh)
        k->not_before = io_now_ms() + ((uint64_t)RETRY_MS << doubled);
    k->inherited = true; /* what it did of all that is not known */
    hook_note_due(k->note, &k->failing);
}

static void succeeded(struct hook *k)
{
    if (k->failing.count)
        log_warn("site %s: on-commit %s works again", k->site, k->order.argv[0]);
    k->failing = (struct hook_failing){0};
    k->done = k->started_with;
    if (hook_changes_any(k->changes) || k->inherited)
        hook_note_due(k->note, &k->failing);
    else
        hook_note_clear(k->note);
}

static void ended(struct hooks *h, struct hook *k, int result, const struct err *why)
{
    if (k->run) {
        hook_run_free(TAKE_PTR(k->run));
        h->running--;
    }
    if (k->slot >= 0)
        close(TAKE_FD(k->slot));
    if (result < 0)
        failed(k, why);
    else
        succeeded(k);
    hook_note_unlock(k->note);
}

/* One of the places that all receivers of this state directory share; -1: none is free. */
static int take_slot(const struct hooks *h, struct err *err)
{
    char *path CLEANUP_FREE = mem_format("%s/on-commit.slots", h->state_dir);
    int fd CLEANUP_FD = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    err_clear(err);
    if (fd < 0)
        return err_sys(err, errno, "%s", path);
    for (int i = 0; i < HOOKS_AT_ONCE; i++) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = i, .l_len = 1};
        if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
            return TAKE_FD(fd);
    }
    return -1;
}

static void watch(const struct hooks *h, int fd)
{
    struct epoll_event e = {.events = EPOLLIN};
    if (fd >= 0)
        epoll_ctl(h->epoll, EPOLL_CTL_ADD, fd, &e);
}

static void launch(struct hooks *h, struct hook *k)
{
    struct err why;
    struct hook_changes *told = k->changes;
    int input CLEANUP_FD = hook_changes_file(told);
    k->changes = hook_changes_new();
    h->bytes -= hook_changes_bytes(told);
    k->fresh = k->inherited = false;
    k->started_with = k->came;
    k->started = io_now_ms();
    k->not_before = k->started + APART_MS;
    if (input < 0)
        err_sys(&why, errno, "prepare its input");
    else
        k->run = hook_run_start(
            &(struct hook_run_what){"on-commit", NULL, k->site, k->root, &k->order, input, k->note},
            &why);
    hook_changes_free(told);
    if (!k->run) {
        ended(h, k, -1, &why);
        return;
    }
    h->running++;
    watch(h, hook_run_output(k->run));
    watch(h, hook_run_status(k->run));
}

static void start(struct hooks *h, struct hook *k)
{
    struct err why;
    struct hook_failing noted;
    k->not_before = io_now_ms() + BUSY_MS;
    if (h->running >= HOOKS_AT_ONCE || holds_busy(h->holds, bytes_of(k->site)) ||
        !hook_note_lock(k->note))
        return;
    /* Where another process had it meanwhile, nothing may be due any more. */
    bool still = hook_note_read(k->note, &noted);
    if (k->inherited && still)
        become_all(h, k);
    k->inherited = k->inherited && still;
    if (!hook_changes_any(k->changes)) {
        k->failing = noted;
        k->fresh = false;
        k->done = k->came;
        hook_note_unlock(k->note);
        return;
    }
    k->slot = take_slot(h, &why);
    if (k->slot >= 0)
        launch(h, k);
    else if (why.code)
        ended(h, k, -1, &why);
    else
        hook_note_unlock(k->note);
}

void hooks_step(struct hooks *h)
{
    holds_step(h->holds);
    for (struct set_item *i = set_first(h->sites); i; i = i->next) {
        struct hook *k = i->value;
        struct err why;
        if (k->run) {
            int more = hook_run_step(k->run, io_now_ms(), &why);
            if (more < 1)
                ended(h, k, more, &why);
        } else if (is_due(k) && io_now_ms() >= k->not_before)
            start(h, k);
    }
}

/* --- the end --- */

void hooks_leave(struct hooks *h)
{
    holds_leave(h->holds);
    for (struct set_item *i = set_first(h->sites); i; i = i->next) {
        struct hook *k = i->value;
        if (k->run)
            hook_run_leave(k->run);
    }
}

bool hooks_pending(const struct hooks *h)
{
    for (struct set_item *i = set_first(h->sites); i; i = i->next) {
        const struct hook *k = i->value;
        if (k->run || (k->fresh && is_due(k)))
            return true;
    }
    return holds_any(h->holds);
}

static unsigned longest(const struct hooks *h)
{
    unsigned most = 0;
    for (struct set_item *i = set_first(h->sites); i; i = i->next) {
        const struct hook *k = i->value;
        most = k->order.timeout_ms > most ? k->order.timeout_ms : most;
    }
    return most + LAST_MS;
}

/* True: a signal came. */
static bool work_until(struct hooks *h, int signals, uint64_t end)
{
    struct pollfd fds[] = {{.fd = h->epoll, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
    hooks_step(h);
    while (hooks_pending(h) && io_now_ms() < end) {
        int due = hooks_due_ms(h);
        uint64_t left = end - io_now_ms();
        poll(fds, 2, due >= 0 && (uint64_t)due < left ? due : (int)left);
        if (fds[1].revents)
            return true;
        hooks_step(h);
    }
    return false;
}

/* Nothing new is started; what runs ends. */
static void end_all(struct hooks *h)
{
    for (struct set_item *i = set_first(h->sites); i; i = i->next) {
        struct hook *k = i->value;
        if (k->run)
            hook_run_end(k->run, "its receiver ends");
        k->not_before = UINT64_MAX;
        k->fresh = false;
    }
    work_until(h, -1, io_now_ms() + END_MS);
}

void hooks_finish(struct hooks *h, unsigned max_ms)
{
    sigset_t before;
    int signals CLEANUP_FD = io_take_ends(&before);
    holds_let_go(h->holds);
    work_until(h, signals, io_now_ms() + (max_ms ? max_ms : longest(h)));
    if (hooks_pending(h)) {
        log_warn("a command after a commit was not done in time; the next session runs it");
        end_all(h);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
}
