/* A site of a session: made, reset when the session or the far end's copy goes, with its last error
 * where status can read it. */
#include <stdint.h>
#include <time.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/often.h"
#include "base/set.h"
#include "primary/push/push_impl.h"

enum { PIECEMEAL_KEPT = 256, LEFT_KEPT = 256 };

void push_site_warn(struct push *p, struct push_site *ps, struct bytes path, const struct err *why)
{
    char again[OFTEN_AGAIN], *cause CLEANUP_FREE = mem_format("%s: %s", ps->site->label, why->text);
    if (often_may_say(p->o->often, cause, io_now_ms(), again))
        log_warn("%s: %s: %s%s%s%s", p->o->name, ps->site->label, QUOTED(path.data, path.len),
            path.len ? ": " : "", why->text, again);
}

bool push_site_may_say(struct push *p, const struct push_site *ps, const char *what)
{
    char again[OFTEN_AGAIN], *cause CLEANUP_FREE = mem_format("%s: %s", ps->site->label, what);
    return often_may_say(p->o->often, cause, io_now_ms(), again);
}

void push_site_error(struct push_site *ps, const struct err *why, struct bytes path)
{
    pthread_mutex_lock(&ps->lock);
    ps->error = *why;
    ps->error_time = time(NULL);
    ps->error_path[0] = '\0';
    ps->incomplete |= path.len > 0;
    if (path.len)
        log_name(ps->error_path, sizeof ps->error_path, path.data, path.len);
    pthread_mutex_unlock(&ps->lock);
}

void push_site_forget_error(struct push_site *ps)
{
    pthread_mutex_lock(&ps->lock);
    err_clear(&ps->error);
    ps->error_path[0] = '\0';
    pthread_mutex_unlock(&ps->lock);
}

const char *push_site_piecemeal_text(unsigned flags)
{
    if (flags & PIECEMEAL_LARGE)
        return "it had more changes than can be switched at once";
    if (flags & PIECEMEAL_REPLACED)
        return "a file became a directory, or a directory a file";
    return msg_piecemeal_text(flags);
}

bool push_site_piecemeal(struct push_site *ps, struct bytes unit, unsigned flags)
{
    pthread_mutex_lock(&ps->lock);
    struct set_item *item = set_find(ps->piecemeal, unit.data, unit.len);
    if (item && !flags)
        set_remove(ps->piecemeal, item);
    if (!item && flags && set_count(ps->piecemeal) < PIECEMEAL_KEPT)
        item = set_add(ps->piecemeal, unit.data, unit.len);
    if (item && flags)
        item->value = (void *)(uintptr_t)flags;
    bool news = flags & ~ps->piecemeal_said;
    ps->piecemeal_said |= flags;
    pthread_mutex_unlock(&ps->lock);
    return news;
}

size_t push_site_piecemeal_units(struct push_site *ps, struct piecemeal_unit *out, size_t max)
{
    size_t n = 0;
    pthread_mutex_lock(&ps->lock);
    for (struct set_item *i = set_first(ps->piecemeal); i && n < max; i = i->next) {
        log_name(out[n].unit, sizeof out[n].unit, i->key, i->len);
        out[n++].why = push_site_piecemeal_text((unsigned)(uintptr_t)i->value);
    }
    pthread_mutex_unlock(&ps->lock);
    return n;
}

bool push_site_leave(struct push_site *ps, struct bytes path, bool left)
{
    pthread_mutex_lock(&ps->lock);
    struct set_item *item = set_count(ps->left) ? set_find(ps->left, path.data, path.len) : NULL;
    bool news = left && !item && set_count(ps->left) < LEFT_KEPT;
    if (news)
        set_add(ps->left, path.data, path.len);
    if (item && !left)
        set_remove(ps->left, item);
    pthread_mutex_unlock(&ps->lock);
    return news;
}

size_t push_site_left(struct push_site *ps, char (*out)[LOG_NAME_MAX], size_t max)
{
    size_t n = 0;
    pthread_mutex_lock(&ps->lock);
    for (struct set_item *i = set_first(ps->left); i && n < max; i = i->next)
        log_name(out[n++], LOG_NAME_MAX, i->key, i->len);
    pthread_mutex_unlock(&ps->lock);
    return n;
}

void push_site_trash(struct push_site *ps, const struct msg_trash *m)
{
    pthread_mutex_lock(&ps->lock);
    ps->trash = *m;
    pthread_mutex_unlock(&ps->lock);
}

void push_site_hook(struct push_site *ps, const struct msg_hook *m)
{
    pthread_mutex_lock(&ps->lock);
    ps->hook.failures = m->failures;
    ps->hook.since = (int64_t)m->since;
    log_name(ps->hook.text, sizeof ps->hook.text, m->text.data, m->text.len);
    pthread_mutex_unlock(&ps->lock);
}

bool push_site_leaves_drift(const struct push_site *ps)
{
    const struct site_options *o = &ps->site->options;
    return o->drift_report && !o->force && !ps->force;
}

bool push_site_lacks(const struct push_site *ps, struct bytes path, bool is_dir)
{
    return ps->without && filter_excludes_deep(ps->without, path, is_dir);
}

bool push_site_may_move(const struct push_site *ps, struct bytes from, struct bytes to)
{
    return !ps->without || !(filter_touches(ps->without, from) || filter_touches(ps->without, to) ||
                               push_site_lacks(ps, from, true) || push_site_lacks(ps, to, true));
}

struct push_site *push_site_new(
    struct queue *q, struct site *s, const char *remote_root, const struct filter *without)
{
    struct push_site *ps = mem_alloc(sizeof *ps);
    ps->site = site_ref(s);
    ps->owed = queue_add_site(q, s);
    ps->remote_root = mem_copy_string(remote_root);
    ps->without = without ? filter_copy(without) : NULL;
    ps->piecemeal = set_new();
    ps->left = set_new();
    ps->drifted = drifted_new(s->options.drift_report);
    pthread_mutex_init(&ps->lock, NULL);
    return ps;
}

void push_site_forget_opened(struct push_site *ps)
{
    free((void *)ps->opened.data);
    ps->opened = (struct bytes){0};
}

void push_site_free(struct queue *q, struct push_site *ps)
{
    queue_remove_site(q, ps->owed);
    site_unref(ps->site);
    free(ps->remote_root);
    filter_free(ps->without);
    set_free(ps->piecemeal);
    set_free(ps->left);
    drifted_free(ps->drifted);
    pthread_mutex_destroy(&ps->lock);
    free(ps);
}

/* A site's session state is dropped; what was under way for it is owed again. */
void push_site_reset(struct push *p, struct push_site *ps)
{
    lanes_drop_site(p, ps);
    compare_free(ps->compare);
    ps->compare = NULL;
    ps->comparing = ps->told_more = false;
    expander_free_all(ps);
    push_site_forget_opened(ps);
    ps->number = 0;
}
