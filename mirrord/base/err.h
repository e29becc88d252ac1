/*
 * Errors for people: what failed, where and why, and how the program should end.
 *
 * A function that can fail returns 0 or -1 and fills a `struct err` where the failure happens;
 * callers on the way up put context in front of it (err_prefix: "web2: stage wp-content/x.jpg:
 * write: No space left on device"), and whoever decides what happens next prints it, once.
 * Positive results are documented conditions that the caller must handle, never failures.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdbool.h>

/* The values are mirrord's exit codes. */
enum err_code {
    ERR_NONE = 0,
    ERR_FAILED = 1,    /* it did not work */
    ERR_USAGE = 2,     /* command line or configuration */
    ERR_PARTIAL = 3,   /* done but for the named paths */
    ERR_BEHIND = 4,    /* drift, not level, not in time, held by something */
    ERR_REFUSED = 5,   /* for safety */
    ERR_TEMPORARY = 6, /* unreachable, locked, disk full: worth another try */
};

#define ERR_TEXT_MAX 1024

struct err {
    enum err_code code;
    int sys; /* the errno behind it, or 0 */
    char text[ERR_TEXT_MAX];
};

/* Sets code and text; sys becomes 0. Over-long text is cut. err may be NULL. Always returns -1. */
int err_set(struct err *err, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for a failed system call: ": " and strerror(errnum) are appended. The code is
 * ERR_TEMPORARY for ENOSPC, EDQUOT, EMFILE, ENFILE and ENOMEM, else ERR_FAILED. Always -1. */
int err_sys(struct err *err, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts the formatted words and ": " in front of the text. Always -1. */
int err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void err_clear(struct err *err);

#endif
