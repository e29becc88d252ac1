/*
 * A child process whose standard input and output are one stream socket and whose standard error is
 * remembered by its end. For `ssh` and for a receiver on this host.
 */
#ifndef LINK_PROC_H
#define LINK_PROC_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "link/net/patience.h"
#include "link/process/tail.h"

struct proc {
    pid_t pid;        /* 0: none, or reaped */
    int pidfd;        /* readable once it has ended */
    int stream;       /* its standard input and output; non-blocking */
    int errors;       /* its standard error; non-blocking; -1 once it ended */
    int status;       /* exit status, 128 + the signal, or -1 while it runs */
    bool beside;      /* in our process group */
    struct tail said; /* on standard error */
};

/* Starts argv[0], searched in PATH, in a process group of its own (a Ctrl-C is for mirrord, which
 * ends its links itself). 1 with p untouched: there is no such program. Nobody else may
 * wait for this child. */
int proc_start(struct proc *p, char *const *argv, struct err *err);

/* The same in our own process group and with our own standard error: for what may ask the person at
 * the terminal for a password. Nothing is remembered of what it says. */
int proc_start_beside(struct proc *p, char *const *argv, struct err *err);

/* Takes what waits on standard error. */
void proc_listen(struct proc *p);

/* Waits up to ms for its end, listening. True: it has ended, status is set, all is heard. */
bool proc_wait(struct proc *p, int ms);

/* Closes the stream, then ends it: a short grace, SIGTERM, SIGKILL; reaps it. */
void proc_end(struct proc *p);

/* Runs argv with no input and collects up to max bytes of output, which the caller frees. 0 with
 * its exit status and the end of its standard error; 1: there is no such program. */
struct proc_result {
    char *output;
    int status;
    struct tail said;
};
int proc_capture(char *const *argv, size_t max, const struct patience *patience,
    struct proc_result *out, struct err *err);

#endif
