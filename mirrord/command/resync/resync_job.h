/*
 * One resync: a site walked and pushed to one secondary, over a session that ends when it is level.
 * No daemon, no thread but the one that walks while the link is opened.
 */
#ifndef COMMAND_RESYNC_RESYNC_JOB_H
#define COMMAND_RESYNC_RESYNC_JOB_H

#include <stdio.h>

#include "link/conn.h"
#include "primary/push/push.h"
#include "tree/state/epoch.h"
#include "tree/walk/walk.h"

struct resync_target {
    const char *name;  /* for messages */
    const char *place; /* the root there, for messages */
    struct conn_options link;
    const char *remote_root;      /* NULL: the far end's configuration says */
    const struct filter *without; /* what is not mirrored there besides; NULL: nothing */
    int compress;
    uint64_t bwlimit;
    unsigned keepalive_ms;
};

struct resync_error {
    char *path; /* bytes as in the tree */
    char *text;
};

/* What a job came to. Zero it before; free it with resync_result_free. */
struct resync_result {
    struct walk_counts walk;
    struct push_counts push;
    uint64_t items; /* changes, as --itemize names them */
    uint64_t bytes_sent, bytes_received;
    double seconds;
    struct resync_error *errors;
    size_t error_count;
    char *kind; /* of the link */
};

struct resync_job {
    struct site_options site;
    const struct resync_target *target;
    struct digest host_id;
    const char *host;
    struct epoch epoch; /* to be presented where the state is a scratch one */
    FILE *progress;     /* a terminal, or NULL */
    FILE *itemize;      /* where each change is named, or NULL */
    bool name_skipped;  /* devices, sockets and FIFOs by name */
    const atomic_bool *stop;
};

/* 0 equal (or, in a dry run, compared); -1 with err and its exit code: ERR_PARTIAL when only the
 * named paths failed. *out is filled as far as it went. */
int resync_job_run(const struct resync_job *j, struct resync_result *out, struct err *err);
void resync_result_free(struct resync_result *r);

#endif
