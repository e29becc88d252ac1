/* The bound of what is on its way, from how long the marks in it take; see pace.h. Grows and
 * shrinks with the wait that is left when the way itself is taken off: a bound by bytes alone would
 * be too little for a distant link or too much for a slow one. */
#include "primary/push/pace.h"

enum {
    APART_MIN = 16 * 1024,
    PERIOD_US = 10000000, /* the shortest trip is looked for anew after this */
};

static const double STEP_MAX = 0.25;

/* Tokens that no other PING has, which carry a time. */
#define OURS (UINT64_C(1) << 63)

void pace_begin(struct pace *p, uint64_t now_us)
{
    *p = (struct pace){
        .limit = PACE_FIRST, .trip_us = UINT64_MAX, .trip_new_us = UINT64_MAX, .period_us = now_us};
}

bool pace_is_open(const struct pace *p)
{
    return p->sent - p->reached < p->limit || p->count == 0;
}

/* How long is it to wait? */
static uint64_t queue_us(const struct pace *p)
{
    uint64_t part = p->trip_us / 8;
    return part < PACE_QUEUE_MIN_US   ? PACE_QUEUE_MIN_US
           : part > PACE_QUEUE_MAX_US ? PACE_QUEUE_MAX_US
                                      : part;
}

/* This part of what is on its way waits: all of the trip that is not the way itself. */
static double share_waiting(const struct pace *p)
{
    return (double)queue_us(p) / ((double)p->trip_us + (double)queue_us(p));
}

/* What comes back makes room for as much at once, which then waits for itself: little is to. */
static uint64_t marks_apart(const struct pace *p)
{
    uint64_t apart = (uint64_t)((double)p->limit * share_waiting(p) / 4);
    return apart > APART_MIN ? apart : APART_MIN;
}

bool pace_sent(struct pace *p, size_t bytes, bool may_mark, uint64_t now_us, uint64_t *token)
{
    p->sent += bytes;
    if (!may_mark || p->sent - p->marked < marks_apart(p) || p->count == PACE_MARKS)
        return false;
    unsigned at = (p->first + p->count++) % PACE_MARKS;
    p->marks[at].sent = p->marked = p->sent;
    p->marks[at].at_us = now_us;
    p->marks[at].out = p->sent - p->reached;
    *token = p->sent | OURS;
    return true;
}

/* The shortest trip of this period and the one before: the way itself, when nothing waits on it. A
 * new period begins with less on the way, so that it is seen again. */
static void note_trip(struct pace *p, uint64_t trip_us, uint64_t now_us)
{
    if (now_us - p->period_us >= PERIOD_US) {
        double cut = 2 * share_waiting(p);
        p->limit -= (uint64_t)((double)p->limit * (cut < 0.5 ? cut : 0.5));
        p->period_us = now_us;
        p->trip_us = p->trip_new_us;
        p->trip_new_us = UINT64_MAX;
    }
    if (trip_us < p->trip_new_us)
        p->trip_new_us = trip_us;
    if (trip_us < p->trip_us)
        p->trip_us = trip_us;
}

/* Towards what would take just as long as is aimed at, if what is on its way decides how long that
 * is. A change shows a trip later, so not all of it at once; up by a quarter a trip at most, and by
 * that until there is a wait for the first time. Up only while the bound is what holds bulk back
 * (RFC 7661): where the sender is the slow one, a bound of which little is used would grow without
 * end, and all of it be sent the moment that the far end pauses. */
static void adjust(struct pace *p, uint64_t trip_us, uint64_t came, uint64_t out)
{
    double off = ((double)(p->trip_us + queue_us(p)) / (double)trip_us - 1) / 2;
    p->met_wait |= off < 0;
    if (off > STEP_MAX || !p->met_wait)
        off = STEP_MAX;
    if (off > 0 && out < p->limit / 2)
        return;
    double limit = (double)p->limit + off * (double)came;
    p->limit = limit < PACE_MIN ? PACE_MIN : limit > PACE_MAX ? PACE_MAX : (uint64_t)limit;
}

void pace_came(struct pace *p, uint64_t token, uint64_t now_us)
{
    if (p->count == 0 || token != (p->marks[p->first].sent | OURS))
        return;
    uint64_t trip_us = now_us - p->marks[p->first].at_us;
    uint64_t came = p->marks[p->first].sent - p->reached;
    uint64_t out = p->marks[p->first].out;
    p->reached = p->marks[p->first].sent;
    p->first = (p->first + 1) % PACE_MARKS;
    p->count--;
    note_trip(p, trip_us, now_us);
    adjust(p, trip_us, came, out);
}
