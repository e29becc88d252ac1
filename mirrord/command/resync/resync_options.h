/* The command line of `mirrord resync` and `mirrord verify`: what was said, and nothing done yet.
 */
#ifndef COMMAND_RESYNC_RESYNC_OPTIONS_H
#define COMMAND_RESYNC_RESYNC_OPTIONS_H

#include <limits.h>

#include "link/conn.h"
#include "tree/filter.h"
#include "tree/unit_rules.h"

enum { RESYNC_NOT_SAID = UINT_MAX }; /* of max_delete_percent: the default, or the site's */

struct resync_options {
    struct filter *filter; /* --exclude and --include, in order */
    const char *config, *as, *control;
    unsigned port;                                                            /* 0: not said */
    const char *identity, *known_hosts, *remote_command, *state_dir, *preset; /* NULL: not said */
    enum conn_transport transport;
    bool verify; /* `mirrord verify`: compare content, change nothing */
    bool dry_run, itemize, no_delete, force, adopt, checksum, json, progress;
    unsigned max_delete_percent, max_delete_count;
    uint64_t bwlimit; /* bytes a second; 0: not said */
    int compress;     /* -1 auto, 0 none, 1 zstd */
    int verbosity;    /* -v more, -q less */
    char **operands;  /* argv's */
    int operand_count;
};

/* As options_parse; in either case free it with resync_options_free. */
int resync_options_parse(
    struct resync_options *o, bool verify, int argc, char **argv, struct err *err);
void resync_options_free(struct resync_options *o); /* what it holds */

/* Is the last operand [USER@]HOST:DEST? */
bool resync_options_name_dest(const struct resync_options *o);

#endif
