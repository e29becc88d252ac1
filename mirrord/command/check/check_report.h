/* What `mirrord check` finds: problems with their place and repair, and notes. */
#ifndef COMMAND_CHECK_CHECK_REPORT_H
#define COMMAND_CHECK_CHECK_REPORT_H

#include "command/config/config.h"

struct check_report {
    const struct config *config;
    unsigned problems;
};

/* "FILE:LINE: site x: what is wrong" and "    repair: …". line 0: the file as a whole. */
void check_report_problem(
    struct check_report *r, const char *file, unsigned line, const char *what, const char *repair);

/* The parts of the check; each reports what it finds. */
void check_report_places(struct check_report *r);  /* state, control, keys, this host itself */
void check_report_metrics(struct check_report *r); /* where they are written */
void check_report_sockets(struct check_report *r); /* the sites' own: who can use them */
void check_report_roots(struct check_report *r);
void check_report_sandbox(void); /* what confines this host's receivers */
void check_report_hooks(struct check_report *r);
void check_report_layouts(struct check_report *r); /* which preset fits; notes, no problems */
void check_report_limits(struct check_report *r); /* inotify's, against the directories there are */
void check_report_reach(struct check_report *r, unsigned timeout_ms); /* the secondaries */

#endif
