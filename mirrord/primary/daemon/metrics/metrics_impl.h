/* What the parts of the metrics share: metrics.c (the file, when), metrics_rows.c (names, and the
 * numbers), metrics_text.c (the format). Private to them. */
#ifndef PRIMARY_DAEMON_METRICS_METRICS_IMPL_H
#define PRIMARY_DAEMON_METRICS_METRICS_IMPL_H

#include "primary/daemon/daemon_impl.h"

enum { METRICS_COLUMNS = 16, METRICS_LABEL_MAX = 1024 };

#define LABEL(text) metrics_label((char[METRICS_LABEL_MAX]){0}, METRICS_LABEL_MAX, (text))

struct family { /* all rows of one name */
    const char *name, *type, *help;
};

struct row {
    char *labels;              /* 'site="x"' */
    double n[METRICS_COLUMNS]; /* NAN: not told */
};

struct rows {
    const struct family *families; /* one for each column */
    size_t columns;
    struct row *rows;
    size_t count;
};

struct gathered {
    struct rows secondaries, disks, sites, pairs;
};

/* metrics_rows.c: what there is to tell of each secondary, filesystem, site, and pair; freed with
 * metrics_release. */
void metrics_gather(struct daemon *d, struct gathered *g);
void metrics_release(struct gathered *g);

/* metrics_text.c: all of it. An error shows in the stream. */
void metrics_put(FILE *f, struct daemon *d);

#endif
