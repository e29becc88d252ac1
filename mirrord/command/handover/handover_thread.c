/* The daemon's thread that goes on with interrupted handovers; see handover.h. It reads the
 * configuration for itself, since a host may be reached another way than when it began. */
#include <pthread.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "command/handover/handover.h"

enum { PAUSE_MIN_S = 1, PAUSE_MAX_S = 20, IDLE_S = 60 };

struct handovers {
    const char *config, *as, *state_dir, *control;
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t news;
    bool look, stop;
};

/* One try for each; true: some are not done. */
static bool try_all(struct handovers *h)
{
    struct err why;
    struct config *c = NULL;
    bool more = false;
    if (config_load(h->config, h->as, &c, &why) < 0)
        return false; /* the daemon says so; it is looked at again after the next reload */
    for (size_t i = 0; c->self && i < c->site_count; i++)
        if (config_site_has_host(&c->sites[i], c->self))
            more |= handover_resume(c, &c->sites[i], h->state_dir, h->control);
    config_free(c);
    return more;
}

/* Until then, or until it is told to look. False: it is to stop. */
static bool wait_for(struct handovers *h, unsigned seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += seconds;
    pthread_mutex_lock(&h->lock);
    while (!h->stop && !h->look && pthread_cond_timedwait(&h->news, &h->lock, &until) == 0)
        continue;
    h->look = false;
    bool on = !h->stop;
    pthread_mutex_unlock(&h->lock);
    return on;
}

static unsigned longer(unsigned pause)
{
    return pause * 2 > PAUSE_MAX_S ? PAUSE_MAX_S : pause * 2;
}

static void *run(void *arg)
{
    struct handovers *h = arg;
    unsigned pause = PAUSE_MIN_S, wait;
    do {
        bool more = try_all(h);
        wait = more ? pause : IDLE_S;
        pause = more ? longer(pause) : PAUSE_MIN_S;
    } while (wait_for(h, wait));
    return NULL;
}

struct handovers *handovers_start(
    const char *config, const char *as, const char *state_dir, const char *control)
{
    struct handovers *h = mem_alloc(sizeof *h);
    *h = (struct handovers){.config = config, .as = as, .state_dir = state_dir, .control = control};
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->news, NULL);
    if (pthread_create(&h->thread, NULL, run, h) == 0)
        return h;
    log_error("no thread for handovers that were interrupted");
    free(h);
    return NULL;
}

void handovers_look(struct handovers *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->look = true;
    pthread_cond_signal(&h->news);
    pthread_mutex_unlock(&h->lock);
}

void handovers_stop(struct handovers *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->stop = true;
    pthread_cond_signal(&h->news);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->thread, NULL);
    pthread_cond_destroy(&h->news);
    pthread_mutex_destroy(&h->lock);
    free(h);
}
