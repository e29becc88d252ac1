/* A site of a session: made, reset when the session or the far end's copy goes, with its last error
 * where status can read it. */
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "primary/push_impl.h"

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

bool push_site_leaves_drift(const struct push_site *ps)
{
    const struct site_options *o = &ps->site->options;
    return o->drift_report && !o->force && !ps->force;
}

struct push_site *push_site_new(struct queue *q, struct site *s, const char *remote_root)
{
    struct push_site *ps = mem_alloc(sizeof *ps);
    ps->site = site_ref(s);
    ps->owed = queue_add_site(q, s);
    ps->remote_root = mem_copy_string(remote_root);
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
    ps->comparing = false;
    expander_free_all(ps);
    push_site_forget_opened(ps);
    ps->number = 0;
}
