/* The session's side of the health note; see health_feed.h. What is said of the site's health is
 * not decided here but by who reads the note (health.c). */
#include "secondary/health/health_feed.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "secondary/site/replica.h"

enum {
    LOOK_MS = 200,    /* between two writes, however much is new */
    PULSE_MS = 60000, /* the same where nothing is */
};

static int64_t now_ms(void)
{
    return (int64_t)io_boot_ms();
}

static void write_note(struct replica *r)
{
    struct err why;
    struct health_feed *f = &r->health;
    f->news = false;
    f->wrote_ms = now_ms();
    if (health_note_write(state_fd(r->locked), &f->note, &why) < 0)
        log_debug("%s: its health could not be noted: %s", r->path, why.text);
}

static void enter(struct health_feed *f, int state)
{
    f->note.state = (__typeof__(f->note.state))state;
    f->note.since_ms = now_ms();
}

void health_feed_opening(struct replica *r, bool again)
{
    struct err ignored;
    struct health_feed *f = &r->health;
    if ((r->flags & OPEN_DRY_RUN) || r->scratch)
        return;
    *f = (struct health_feed){.on = true, .mark = health_mark_open(state_fd(r->locked))};
    if (health_note_read(state_fd(r->locked), &f->note, &ignored) != 1)
        f->note = (struct health_note){0};
    f->carried = f->note.told && f->note.owed_paths > 0;
    f->since_ms = f->note.owed_ms;
    f->note.heard_ms = now_ms();
    snprintf(f->note.primary, sizeof f->note.primary, "%.*s", (int)r->tools->peer_host.len,
        r->tools->peer_host.len ? (const char *)r->tools->peer_host.data : "");
    if (again)
        return;
    f->note.told = f->carried; /* that nothing was owed once says nothing now */
    f->note.level = f->note.paused = false;
    enter(f, HEALTH_OPENING);
    write_note(r);
}

void health_feed_opened(struct replica *r)
{
    struct health_feed *f = &r->health;
    if (!f->on)
        return;
    if (f->note.state != HEALTH_OPEN)
        enter(f, HEALTH_OPEN);
    f->note.filling |= r->root_state == ROOT_CREATED || r->root_state == ROOT_EMPTY;
    f->note.trouble = false;
    f->note.text[0] = '\0';
    f->news = true;
}

void health_feed_level(struct replica *r)
{
    struct health_feed *f = &r->health;
    if (!f->on)
        return;
    f->note.filling = f->carried = false;
    f->note.told = f->note.level = true;
    f->note.owed_paths = f->note.failing = 0;
    f->news = true;
}

/* What an earlier session was owed most likely is among it, however young this primary takes it to
 * be, until nothing is owed once. */
void health_feed_owed(struct replica *r, const struct msg_owed *m)
{
    struct health_feed *f = &r->health;
    const int64_t most = (int64_t)1 << 50;
    if (!f->on)
        return;
    int64_t since = now_ms() - (m->age_ms < (uint64_t)most ? (int64_t)m->age_ms : most);
    f->carried = f->carried && m->paths > 0;
    f->note.told = true;
    f->note.level = m->flags & OWED_LEVEL;
    f->note.paused = m->flags & OWED_PAUSED;
    f->note.owed_paths = m->paths;
    f->note.failing = m->failing;
    f->note.owed_ms = f->carried && f->since_ms < since ? f->since_ms : since;
    f->news = true;
}

/* That another process or another primary serves it is no trouble. */
void health_feed_failed(struct replica *r, uint16_t reason, const struct err *why)
{
    struct health_feed *f = &r->health;
    if (!f->on)
        return;
    enter(f, HEALTH_FAILED);
    if (reason != REASON_YIELD && reason != REASON_FENCED) {
        f->note.trouble_ms = f->note.trouble ? f->note.trouble_ms : now_ms();
        f->note.trouble = true;
        snprintf(f->note.text, sizeof f->note.text, "%.*s", HEALTH_TEXT_MAX, why->text);
    }
    write_note(r);
}

void health_feed_end(struct replica *r)
{
    struct health_feed *f = &r->health;
    if (!f->on || f->note.state == HEALTH_FAILED)
        return;
    enter(f, HEALTH_CLOSED);
    f->note.heard_ms = now_ms();
    write_note(r);
}

void health_feed_leave(struct replica *r)
{
    struct health_feed *f = &r->health;
    if (!f->on)
        return;
    if (f->news)
        write_note(r);
    if (f->mark >= 0)
        close(f->mark);
    f->on = false;
}

void health_feed_commit(struct replica *r, bool done)
{
    if (!r->health.on)
        return;
    if (done)
        health_mark_clear(r->health.mark);
    else
        health_mark_set(r->health.mark);
}

void health_feed_look(struct tools *tools, uint64_t heard_ms)
{
    int64_t now = now_ms(), silent = (int64_t)(io_now_ms() - heard_ms);
    if (now < tools->health_due)
        return;
    tools->health_due = now + LOOK_MS;
    for (struct set_item *i = set_first(tools->replicas); i; i = i->next) {
        struct replica *r = i->value;
        struct health_feed *f = &r->health;
        if (!f->on || (!f->news && now - f->wrote_ms < PULSE_MS))
            continue;
        f->note.heard_ms = now - silent;
        write_note(r);
    }
}
