/*
 * What is said of a path with the news that it may differ at the secondaries: by the scanner, which
 * found that, to the queue of what each of them is owed.
 */
#ifndef PRIMARY_OWE_H
#define PRIMARY_OWE_H

enum owe_flags {
    OWE_SUBTREE = 1 << 0, /* the directory and all beneath it */
    OWE_BULK = 1 << 1,    /* behind live changes */
    OWE_KNOWN = 1 << 2,   /* the manifest had this file before: a delta may pay */
    OWE_OPEN = 1 << 3,    /* send it although it has a writer (a log held open) */
    OWE_DIR = 1 << 4,     /* it is, or was, a directory; OWE_SUBTREE says so too */
    OWE_ALONE = 1 << 5,   /* this path, although it lies in a unit */
};

#endif
