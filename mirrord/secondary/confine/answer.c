/* One function for each request; see answer.h. How packets come and go is packet.c's. */
#include "secondary/confine/answer.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"

struct request {
    const struct outside *o;
    const struct ask *q;
    int fd; /* that came with it, or -1 */
    struct outside_site site;
};

static void number_of(const struct request *r, struct answer *a)
{
    char name[ASK_NAME_MAX + 1] = "";
    memcpy(name, r->q->name.data, r->q->name.len);
    a->ask.result = r->o->names.id_of(r->o->names.ctx, r->q->flag, name, &a->ask.number);
}

static void name_of(const struct request *r, struct answer *a)
{
    a->ask.result = r->o->names.name_of(r->o->names.ctx, r->q->flag, r->q->number, a->name);
    a->ask.name = a->ask.result ? bytes_of(a->name) : (struct bytes){0};
}

static void mark(const struct request *r, struct answer *a)
{
    struct mark m;
    char *line CLEANUP_FREE = mem_copy_bytes(r->q->text.data, r->q->text.len);
    char *name CLEANUP_FREE = mem_copy_bytes(r->q->name.data, r->q->name.len);
    int result = mark_parse(line, &m) ? r->o->marks.write(r->o->marks.ctx, name, &m, &a->err)
                                      : err_sys(&a->err, EINVAL, "write");
    ask_set_result(&a->ask, result, &a->err);
}

static void place(const struct request *r, struct answer *a)
{
    int result = r->o->place(r->o->ctx, &r->site, r->q->flag, &a->place, &a->err);
    ask_set_result(&a->ask, result, &a->err);
    if (result)
        return;
    a->ask.flag = a->place.barred;
    a->ask.number = a->place.no_way;
    a->ask.root = bytes_of(a->place.root);
    a->ask.name = bytes_of(a->place.stage);
    a->ask.policy = a->place.policy;
}

/* A pattern goes where a root has its room: it may be longer than a text. */
static void exclude(const struct request *r, struct answer *a)
{
    int more = r->o->exclude(r->o->ctx, &r->site, r->q->number, &a->pattern, &a->err);
    ask_set_result(&a->ask, more < 0 ? -1 : 0, &a->err);
    a->ask.flag = more == 1;
    a->ask.root = bytes_of(a->pattern);
}

static void in_place(const struct request *r, struct answer *a)
{
    char *root CLEANUP_FREE = mem_copy_bytes(r->q->root.data, r->q->root.len);
    a->ask.result = r->o->in_place(r->o->ctx, root);
}

static void make(const struct request *r, struct answer *a)
{
    int result = r->o->make(r->o->ctx, &r->site, r->q->flag, &a->err);
    ask_set_result(&a->ask, result, &a->err);
}

static void epoch(const struct request *r, struct answer *a)
{
    const struct ask *q = r->q;
    struct epoch presented = {.counter = q->count, .id = q->id};
    size_t len = q->text.len < MSG_HOST_MAX ? q->text.len : MSG_HOST_MAX;
    memcpy(presented.primary, q->text.data ? q->text.data : "", len);
    int result = r->o->epoch(r->o->ctx, &r->site, q->flag, r->fd, &presented, &a->epoch, &a->err);
    ask_set_result(&a->ask, result, &a->err);
    a->ask.count = a->epoch.counter;
    a->ask.id = a->epoch.id;
    a->ask.other = a->epoch.role;
    a->ask.name = bytes_of(a->epoch.primary);
}

static void yield(const struct request *r, struct answer *a)
{
    (void)a;
    r->o->yield(r->o->ctx, &r->site, &r->q->id);
}

/* Through a directory that the child has open: how far that reaches is the sandbox's. */
static void change(const struct request *r, struct answer *a)
{
    const struct ask *q = r->q;
    char name[ASK_NAME_MAX + 1] = "";
    struct timespec mtime = {q->seconds, q->nanoseconds};
    memcpy(name, q->name.data ? q->name.data : "", q->name.len);
    a->ask.result = q->kind == ASK_LINK
                        ? r->o->set_link(r->o->ctx, r->fd, name, q->number, q->other, &mtime)
                        : r->o->loosen(r->o->ctx, r->fd, name);
    a->ask.sys = a->ask.result < 0 ? errno : 0;
}

static void hook_state(const struct request *r, struct answer *a)
{
    a->ask.result = r->o->hook_state(r->o->ctx, &r->site, r->q->flag, &a->hook);
    if (a->ask.result < 0)
        return;
    a->ask.flag = a->hook.pending;
    a->ask.number = a->hook.failing.count;
    a->ask.count = (uint64_t)a->hook.failing.since;
    a->ask.text = bytes_of(a->hook.failing.text);
}

static void told(const struct request *r, struct answer *a)
{
    a->ask.flag = r->o->told(r->o->ctx, &r->site, r->q->count, &a->ask.count);
}

static void hold(const struct request *r, struct answer *a)
{
    a->ask.number = r->o->hold(r->o->ctx, &r->site);
}

static void (*const requests[ASK_LAST + 1])(const struct request *r, struct answer *a) = {
    [ASK_NUMBER_OF] = number_of,
    [ASK_NAME_OF] = name_of,
    [ASK_MARK] = mark,
    [ASK_PLACE] = place,
    [ASK_MAKE] = make,
    [ASK_EPOCH] = epoch,
    [ASK_YIELD] = yield,
    [ASK_LINK] = change,
    [ASK_LOOSEN] = change,
    [ASK_EXCLUDE] = exclude,
    [ASK_HOOK_STATE] = hook_state,
    [ASK_TOLD] = told,
    [ASK_HOLD] = hold,
    [ASK_IN_PLACE] = in_place,
};

bool answer_make(const struct outside *o, const struct packet *p, struct answer *a)
{
    const struct ask *q = &p->ask;
    const struct request r = {.o = o, .q = q, .fd = p->fd, .site = {q->name, q->root}};
    a->ask.kind = ASK_ANSWER;
    if (!requests[q->kind])
        return false;
    requests[q->kind](&r, a);
    return true;
}

void answer_free(struct answer *a)
{
    free(a->place.root);
    free(a->pattern);
}

bool answer_is_notice(const struct ask *q)
{
    return q->kind == ASK_HOOK || q->kind == ASK_LET_GO;
}

bool answer_heed(const struct outside *o, const struct ask *q)
{
    struct outside_site site = {q->name, q->root};
    return q->kind == ASK_HOOK ? o->hook(o->ctx, &site, q->records)
                               : o->let_go(o->ctx, &site, q->records, q->flag);
}
