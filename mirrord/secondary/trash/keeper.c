/*
 * A job; see keeper.h. The trash's two directories say by their times whether anything came or went
 * there, whoever did that; then they are listed anew. Nothing else is remembered but the bytes of
 * foreign things, which take a walk to find out.
 */
#include "secondary/trash/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/trash/aside.h"
#include "secondary/trash/kept.h"
#include "secondary/trash/sift.h"

enum {
    KEEPER_STRIDE = 32,
    KEEPER_PAUSE_MS = 200,     /* between two listings, at least … */
    KEEPER_COST = 20,          /* … and this many times as long as the last one took */
    KEEPER_IDLE_MS = 60000,    /* between looks when nothing was committed */
    KEEPER_AGAIN_MS = 3600000, /* between listings, for what has become old */
    KEEPER_EMPTY_MS = 20,      /* between looks whether what was removed is gone */
    KEEPER_GRANULE_MS = 20,    /* no two states of a directory share a time for longer */
    KEEPER_OLDEST = 32,        /* remembered of a listing */
    FREE_PERCENT =
        SPACE_PERCENT + 1, /* of the disk: before a primary waits for room, and goes on */
};

struct oldest {
    struct aside_name name;
    char text[ASIDE_NAME_MAX];
};

struct keeper {
    struct job job;
    struct replica *r;
    struct timespec seen[ASIDES]; /* times of the directories when they were listed last */
    uint64_t list_after;          /* io_now_ms */
    uint64_t took_us;             /* the listing, so far */

    bool listing;
    uint64_t listed_at; /* io_now_ms */
    DIR *dir;           /* being listed */
    enum aside which;
    struct sift *sift; /* through the item of this name */
    char item[ASIDE_NAME_MAX];
    struct set *sizes, *sizes_before;    /* of foreign items, in bytes: the value as a number */
    struct msg_trash counts;             /* of this listing */
    struct oldest oldest[KEEPER_OLDEST]; /* of our own, in order */
    size_t oldest_count;

    struct msg_trash told;
    uint64_t wanted; /* bytes that did not fit */
};

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* Of the directory; zero where there is none. */
static struct timespec time_of(struct keeper *k, enum aside which)
{
    struct stat st;
    if (fstatat(root_fd(k->r->stage->root), aside_place(which), &st, AT_SYMLINK_NOFOLLOW) < 0)
        return (struct timespec){0};
    return st.st_mtim;
}

static bool is_young(const struct timespec *t)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t ms = (now.tv_sec - t->tv_sec) * 1000 + (now.tv_nsec - t->tv_nsec) / 1000000;
    return ms >= 0 && ms < KEEPER_GRANULE_MS;
}

/* --- items --- */

static void bury(struct keeper *k, enum aside which, const char *name)
{
    struct stage *stage = k->r->stage;
    int dir = aside_open(stage, which, false);
    if (dir >= 0 && stage_bury(stage, dir, name) < 0)
        log_warn("%s: cannot remove %s from the trash: %s", k->r->path, name, strerror(errno));
    replica_reap(k->r);
}

/* What is kept goes after the days that were said when it came, or that are now. */
static bool is_over(const struct keeper *k, enum aside which, const struct aside_name *name)
{
    unsigned days = name->days;
    if (which == ASIDE_KEPT && k->r->keep_days && k->r->keep_days < days)
        days = k->r->keep_days;
    return name->since < (int64_t)time(NULL) - (int64_t)days * 86400;
}

static bool is_older(const struct aside_name *a, const struct aside_name *b)
{
    return a->since != b->since ? a->since < b->since : a->order < b->order;
}

static void remember_old(struct keeper *k, const struct aside_name *name, const char *text)
{
    size_t at = k->oldest_count, len = strlen(text);
    if (len >= ASIDE_NAME_MAX) /* none that was made here is so long */
        return;
    if (at == KEEPER_OLDEST && !is_older(name, &k->oldest[--at].name))
        return;
    for (; at > 0 && is_older(name, &k->oldest[at - 1].name); at--)
        k->oldest[at] = k->oldest[at - 1];
    k->oldest[at].name = *name;
    memcpy(k->oldest[at].text, text, len + 1);
    k->oldest_count += k->oldest_count < KEEPER_OLDEST;
}

static void start_sift(struct keeper *k, const char *name, unsigned work)
{
    char *place CLEANUP_FREE = mem_format("%s/%s/" ASIDE_CONTENT, aside_place(k->which), name);
    snprintf(k->item, sizeof k->item, "%s", name);
    root_forget(k->r->stage->root);
    k->sift = sift_new(k->r->stage, place, work);
}

/* The same, with nothing left to be done. Of what a unit's switch left there may be nothing. */
static void end_apart(struct keeper *k)
{
    char done[ASIDE_NAME_MAX];
    struct stat st;
    int dir = aside_open(k->r->stage, ASIDE_KEPT, false);
    char *content CLEANUP_FREE = mem_format("%s/" ASIDE_CONTENT, k->item);
    if (dir < 0)
        return;
    if (fstatat(dir, content, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        bury(k, ASIDE_KEPT, k->item);
        return;
    }
    snprintf(done, sizeof done, "%.*s%c", (int)strlen(k->item) - 1, k->item, KEPT_DONE);
    if (renameat2(dir, k->item, dir, done, RENAME_NOREPLACE) < 0)
        log_warn("%s: rename %s in the trash: %s", k->r->path, k->item, strerror(errno));
}

static void set_size(struct keeper *k, const char *name, uint64_t bytes)
{
    set_add(k->sizes, name, strlen(name))->value = (void *)(uintptr_t)bytes;
    k->counts.foreign++;
    k->counts.foreign_bytes += bytes;
}

static void end_sift(struct keeper *k)
{
    if (k->which == ASIDE_FOREIGN)
        set_size(k, k->item, sift_bytes(k->sift));
    else
        end_apart(k);
    sift_free(TAKE_PTR(k->sift));
    root_forget(k->r->stage->root);
}

/* --- listing --- */

static void take_item(struct keeper *k, const char *text)
{
    struct aside_name name;
    const struct set_item *known;
    if (!aside_parse(text, &name) || strlen(text) >= ASIDE_NAME_MAX)
        return;
    if (is_over(k, k->which, &name)) {
        bury(k, k->which, text);
        return;
    }
    if (k->which == ASIDE_FOREIGN && (known = set_find(k->sizes_before, text, strlen(text))))
        set_size(k, text, (uint64_t)(uintptr_t)known->value);
    else if (k->which == ASIDE_FOREIGN)
        start_sift(k, text, 0);
    else if (name.state == KEPT_UNIT)
        start_sift(k, text, SIFT_APART | SIFT_PRUNE);
    else if (name.state != KEPT_DONE)
        start_sift(k, text, SIFT_APART);
    else {
        k->counts.kept++;
        remember_old(k, &name, text);
    }
}

static void open_place(struct keeper *k, enum aside which)
{
    k->which = which;
    int dir = aside_open(k->r->stage, which, false);
    int fd = dir < 0 ? -1 : openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    k->dir = fd < 0 ? NULL : fdopendir(fd);
    if (fd >= 0 && !k->dir)
        close(fd);
}

static void begin_listing(struct keeper *k)
{
    set_free(k->sizes_before);
    k->sizes_before = k->sizes;
    k->sizes = set_new();
    k->counts = (struct msg_trash){.site = k->r->site};
    k->oldest_count = 0;
    k->took_us = 0;
    for (enum aside i = 0; i < ASIDES; i++)
        k->seen[i] = time_of(k, i);
    k->listing = true;
    k->listed_at = io_now_ms();
    open_place(k, ASIDE_FOREIGN);
}

static void tell(struct keeper *k)
{
    const struct msg_trash *now = &k->counts, *told = &k->told;
    if (now->foreign == told->foreign && now->foreign_bytes == told->foreign_bytes &&
        now->kept == told->kept)
        return;
    k->told = *now;
    msg_put_trash(&k->r->tools->out.writer, now);
    outbox_put(&k->r->tools->out);
}

static void end_listing(struct keeper *k)
{
    uint64_t cost = k->took_us * KEEPER_COST / 1000;
    k->listing = false;
    k->list_after = io_now_ms() + (cost > KEEPER_PAUSE_MS ? cost : KEEPER_PAUSE_MS);
    tell(k);
}

/* Until the deadline; a walk through an item comes between. */
static void list_some(struct keeper *k, uint64_t deadline)
{
    const struct dirent *e;
    for (unsigned n = 1; !k->sift && k->dir && (e = readdir(k->dir)) != NULL; n++) {
        take_item(k, e->d_name);
        if (n % KEEPER_STRIDE == 0 && io_now_us() >= deadline)
            return;
    }
    if (k->sift)
        return;
    if (k->dir)
        closedir(TAKE_PTR(k->dir));
    if (k->which == ASIDE_FOREIGN)
        open_place(k, ASIDE_KEPT);
    else
        end_listing(k);
}

static void go_on(struct keeper *k, unsigned budget_ms)
{
    uint64_t began = io_now_us(), deadline = began + (uint64_t)budget_ms * 1000;
    if (!k->sift)
        list_some(k, deadline);
    else if (sift_step(k->sift, deadline) == 0)
        end_sift(k);
    k->took_us += io_now_us() - began;
}

/* --- when --- */

/* Under a part of the disk, or under what did not fit; no room can be made for more than a disk. */
static bool is_tight(struct keeper *k)
{
    struct space s;
    const struct space_rule rule = {.percent = FREE_PERCENT};
    if (space_look(root_fd(k->r->stage->root), &s) < 0)
        return false;
    uint64_t wanted = k->wanted < s.all_bytes ? k->wanted : 0;
    if (s.free_bytes < space_keep(&rule, &s).bytes + wanted)
        return true;
    k->wanted = 0;
    return false;
}

/* Only when what was removed before is gone does the disk say what that brought. */
static bool is_removing(const struct keeper *k)
{
    return set_first(k->r->stage->dead) || k->r->stage->leftovers;
}

static void drop_oldest(struct keeper *k)
{
    const struct oldest *o = &k->oldest[0];
    log_warn("%s: the disk is nearly full: %s goes from what keep-deleted keeps, before its time",
        k->r->path, o->text);
    bury(k, ASIDE_KEPT, o->text);
    memmove(k->oldest, k->oldest + 1, --k->oldest_count * sizeof *k->oldest);
}

static bool has_changed(struct keeper *k)
{
    for (enum aside i = 0; i < ASIDES; i++) {
        struct timespec now = time_of(k, i);
        if (!same_time(&now, &k->seen[i]))
            return true;
    }
    return false;
}

static bool is_settling(struct keeper *k)
{
    for (enum aside i = 0; i < ASIDES; i++) {
        struct timespec t = time_of(k, i);
        if (is_young(&t))
            return true;
    }
    return false;
}

/* Nothing to be listed at the moment. */
static void rest(struct keeper *k)
{
    if (k->counts.foreign + k->counts.kept == 0)
        job_stop(&k->job);
    else
        k->job.not_before = io_now_ms() + KEEPER_IDLE_MS;
}

static void step(struct job *job, unsigned budget_ms)
{
    struct keeper *k = (struct keeper *)((char *)job - offsetof(struct keeper, job));
    uint64_t now = io_now_ms();
    bool tight = !k->listing && is_tight(k);
    if (k->listing)
        go_on(k, budget_ms);
    else if (k->oldest_count && tight && is_removing(k))
        job->not_before = now + KEEPER_EMPTY_MS;
    else if (k->oldest_count && tight)
        drop_oldest(k);
    else if (now < k->list_after && !tight)
        job->not_before = k->list_after;
    else if (has_changed(k) && is_settling(k))
        job->not_before = now + KEEPER_GRANULE_MS;
    else if (has_changed(k) || now - k->listed_at >= KEEPER_AGAIN_MS)
        begin_listing(k);
    else
        rest(k);
}

void keeper_look(struct replica *r)
{
    struct keeper *k = r->keeper;
    if (r->state != REPLICA_OPEN || !r->stage || (r->flags & OPEN_DRY_RUN))
        return;
    if (!k) {
        k = r->keeper = mem_alloc(sizeof *k);
        k->r = r;
        k->sizes = set_new();
        k->told.site = r->site;
    }
    k->job.not_before = 0;
    if (!job_running(&k->job))
        job_start(&r->tools->jobs, &k->job, step);
}

void keeper_make_room(struct replica *r, uint64_t bytes)
{
    keeper_look(r);
    if (r->keeper && bytes > r->keeper->wanted)
        r->keeper->wanted = bytes;
}

void keeper_free(struct keeper *k)
{
    if (!k)
        return;
    job_stop(&k->job);
    sift_free(k->sift);
    if (k->dir)
        closedir(k->dir);
    set_free(k->sizes);
    set_free(k->sizes_before);
    free(k);
}
