/*
 * What a session notes of a site for `mirrord health` (health_note.h): what is news, five times a
 * second at most, and once a minute that there is a session at all.
 */
#ifndef SECONDARY_HEALTH_HEALTH_FEED_H
#define SECONDARY_HEALTH_HEALTH_FEED_H

#include "secondary/health/health_note.h"

struct replica;
struct tools;

struct health_feed {
    struct health_note note;
    bool on;          /* the site is noted of: not in a dry run */
    bool news;        /* that is not written yet */
    bool carried;     /* what an earlier session was owed may be owed still … */
    int64_t since_ms; /* … since then */
    int64_t wrote_ms;
    int mark; /* the mark's descriptor; valid while it is on */
};

/* Its root is locked, and will be walked; `again`: it is taken over open from another process. */
void health_feed_opening(struct replica *r, bool again);
void health_feed_opened(struct replica *r);
void health_feed_level(struct replica *r); /* all that the primary has is there */
void health_feed_owed(struct replica *r, const struct msg_owed *m);

/* The site fails with this SITE_ERROR. */
void health_feed_failed(struct replica *r, uint16_t reason, const struct err *why);

/* The session is over for it; and: its files are closed, whatever comes next. */
void health_feed_end(struct replica *r);
void health_feed_leave(struct replica *r);

/* A commit's journal is complete, and from now on (done: no more) what readers see may be half of
 * it. */
void health_feed_commit(struct replica *r, bool done);

/* Writes what is due. To be called often; heard_ms (io_now_ms) is when the last byte came. */
void health_feed_look(struct tools *tools, uint64_t heard_ms);

#endif
