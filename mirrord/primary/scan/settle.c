/*
 * Which units have come to rest (WORDPRESS.md 8): looked at every few milliseconds while one does
 * not rest, and not at all else. Here is what has to be asked of the disk and of the scanner's own
 * work; the rule itself is unrest.c's.
 */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "primary/scan/scan_impl.h"

enum {
    APART_MS = 5,    /* between looks at brackets while events come */
    MOVING_S = 10,   /* a bracket directory in which nothing moved for so long was left behind */
    LOOK_DIRS = 512, /* of a bracket are looked at */
    LOOK_DEPTH = 8,
    HINTS_MAX = 4096, /* looked at; more than these: none rests before they are through */
};

enum bracket { BRACKET_GONE, BRACKET_STALE, BRACKET_OPEN };

/* Whatever is made or deleted in a directory renews its mtime. */
static bool is_recent(const struct stat *st, const struct timespec *now, int64_t seconds)
{
    return now->tv_sec - st->st_mtim.tv_sec <= seconds;
}

/* --- a bracket that is a directory --- */

struct bracket_look {
    struct timespec now;
    unsigned dirs;
    bool any, moving;
};

static bool is_dot(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Takes fd. Ends at the first thing that moved lately. */
static void look_in(struct bracket_look *b, int fd, unsigned depth)
{
    struct stat st;
    const struct dirent *e;
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return;
    }
    if (fstat(fd, &st) == 0)
        b->moving |= is_recent(&st, &b->now, MOVING_S);
    while ((e = readdir(dir)) && !(b->any && b->moving) && b->dirs < LOOK_DIRS) {
        if (is_dot(e->d_name))
            continue;
        b->any = true;
        int below = depth < LOOK_DEPTH
                        ? openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                        : -1;
        b->dirs += below >= 0;
        if (below >= 0)
            look_in(b, below, depth + 1);
    }
    closedir(dir);
}

static enum bracket look_at_dir(struct scan_site *s, struct bytes path)
{
    struct bracket_look b = {0};
    int fd = root_open_dir(s->site->root, path);
    if (fd < 0)
        return BRACKET_GONE;
    clock_gettime(CLOCK_REALTIME, &b.now);
    look_in(&b, fd, 0);
    return !b.any ? BRACKET_GONE : b.moving ? BRACKET_OPEN : BRACKET_STALE;
}

static enum bracket look_at_file(struct scan_site *s, struct bytes path)
{
    struct stat st;
    struct timespec now;
    if (root_stat(s->site->root, path, &st) < 0)
        return BRACKET_GONE;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t most = unit_rules_settle_max(s->site->options.units) / 1000;
    return now.tv_sec - st.st_mtim.tv_sec < most ? BRACKET_OPEN : BRACKET_STALE;
}

static void look_at_brackets(struct scan_site *s, uint64_t now)
{
    struct settle *t = &s->settle;
    const char *text;
    bool open = false, stale = false;
    for (size_t i = 0; (text = unit_rules_bracket(s->site->options.units, i)) && !open; i++) {
        size_t len = strlen(text);
        enum bracket b = text[len - 1] == '/' ? look_at_dir(s, (struct bytes){text, len - 1})
                                              : look_at_file(s, (struct bytes){text, len});
        open = b == BRACKET_OPEN;
        stale |= b == BRACKET_STALE;
        if (open)
            log_name(t->bracket, sizeof t->bracket, text, len);
    }
    if (t->closing && !open)
        t->closed_ms = now;
    t->closing = t->open && !open && !stale;
    t->open = open;
    t->looked_ms = now;
    t->news = false;
}

/* The end of a bracket is the end of an update: it is not waited for by the clock. Whoever removes
 * a bracket has done all else before, so once the queue was emptied behind that, all of it is known
 * to be older. True: who rests is to be asked now. */
static bool look_early(struct scan_site *s, uint64_t now)
{
    struct settle *t = &s->settle;
    if (!t->open || !t->news || now < t->looked_ms + APART_MS)
        return false;
    look_at_brackets(s, now);
    return !t->open;
}

/* --- what the scanner still has to do --- */

static bool hold_hints(struct scan_site *s)
{
    char path[PATH_TOTAL_MAX + 1];
    size_t len;
    unsigned n = 0;
    for (struct hint *h = batch_each(s->batch, NULL); h; h = batch_each(s->batch, h)) {
        if (++n > HINTS_MAX)
            return false;
        bool only_read = !(h->flags & (HINT_EVENTS | HINT_META | HINT_OWE));
        if (!only_read && scan_hint_path(s, h, path, &len))
            unrest_hold(s->site->unrest, (struct bytes){path, len});
    }
    return true;
}

/* Walks of subtrees in a unit hold that one, others all. */
static bool hold_walks(struct scan_site *s)
{
    struct rescan_job *j;
    struct bytes key;
    char path[PATH_TOTAL_MAX + 1];
    size_t len;
    if (s->whole && !s->periodic)
        return false;
    TAILQ_FOREACH (j, &s->jobs, order) {
        struct hint top = {.key = {.dir = j->dir}};
        if (!scan_hint_path(s, &top, path, &len))
            continue;
        struct bytes at = {path, len};
        if (unit_rules_match(s->site->options.units, at, true, &key))
            unrest_hold(s->site->unrest, at);
        else if (unit_rules_above(s->site->options.units, at))
            return false;
    }
    return true;
}

void settle_run(struct scan_site *s)
{
    uint64_t now = io_now_ms();
    struct settle *t = &s->settle;
    if (!unrest_any_waiting(s->site->unrest)) {
        t->due_ms = 0;
        t->open = t->closing = false;
        return;
    }
    if (now >= t->due_ms)
        look_at_brackets(s, now);
    else if (!look_early(s, now))
        return;
    struct unrest_view view = {
        .now_ms = now,
        .bracket = t->open ? t->bracket : NULL,
        .closed_ms = t->closed_ms,
        .busy = !hold_walks(s) || !hold_hints(s),
    };
    unsigned news = unrest_settle(s->site->unrest, &view, s->site->label, &t->due_ms);
    if (t->due_ms == UINT64_MAX)
        t->due_ms = 0;
    if (t->closing)
        t->due_ms = now;
    if (news)
        s->scan->sink.changed(s->scan->sink.ctx, s->site);
}

uint64_t settle_due(const struct scan_site *s)
{
    const struct settle *t = &s->settle;
    uint64_t early = t->looked_ms + APART_MS;
    if (!t->due_ms)
        return UINT64_MAX;
    return t->open && t->news && early < t->due_ms ? early : t->due_ms;
}

/* --- a unit that was sent --- */

static void look_through_part(void *ctx, uint64_t dir, struct bytes path, const struct record *r)
{
    struct scan_site *s = ctx;
    uint64_t now = io_now_ms();
    if (r && r->entry.type == ENTRY_DIR)
        rescan_subtree(s, r->dir, false);
    else
        batch_add(s->batch, (struct hint_key){dir, path_name(path)}, HINT_LOOK, now, now);
}

void settle_look_through(struct scan_site *s, struct bytes unit)
{
    struct err err;
    if (site_unit_parts(s->site, unit, look_through_part, s, &err) < 0)
        log_warn("%s: %s", s->site->label, err.text);
}
