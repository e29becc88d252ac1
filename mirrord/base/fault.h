/*
 * Fault points, for tests: in a build with -Dfaults=true each has a name and may be told to end the
 * process, or to let a call fail. In any other build nothing of it is there.
 *
 * MIRRORD_FAULT=NAME[:N][=ERRNO]  the N-th passing of NAME (first, if not said) kills the process
 *                                 by SIGKILL, or makes the call fail with this error ("ENOSPC")
 * MIRRORD_FAULT_LIST=FILE         each passing appends its name and a newline to FILE
 *
 * MIRRORD_SLOW=[FILE:]MS          that file's loop rests this long each time round; without a name
 *                                 each does now and then, up to this long: what is right only while
 *                                 one thread is faster than another shows itself
 *
 * MIRRORD_UNCONFINED=1            paths beneath a root are opened without its confinement
 * MIRRORD_SANDBOX=LAYERS          of a receiver's sandbox only these are there (sandbox.h, or'ed)
 *
 * A call that changes state passes "FILE:FUNCTION:CALL@LINE<" before and the same with ">" after;
 * see fault_calls.h.
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#ifdef MIRRORD_FAULTS

#include <errno.h>
#include <stdbool.h>

/* True: go on; false: the call is to fail, errno says how. */
bool fault_before(const char *file, const char *function, const char *call, int line);
void fault_after(const char *file, const char *function, const char *call, int line);
bool fault_creates(int flags, ...); /* of open */

void fault_slow(const char *file);

/* A call that returns an int, -1 being a failure. */
#define FAULT_CALL(name, call)                                                                     \
    (__extension__({                                                                               \
        int fault_result_ = -1;                                                                    \
        if (fault_before(__FILE_NAME__, __func__, name, __LINE__)) {                               \
            fault_result_ = (call);                                                                \
            fault_after(__FILE_NAME__, __func__, name, __LINE__);                                  \
        }                                                                                          \
        fault_result_;                                                                             \
    }))

/* A moment that is no call. */
#define FAULT(name) fault_after(__FILE_NAME__, __func__, name, __LINE__)

/* Once each time round a thread's loop. */
#define FAULT_SLOW() fault_slow(__FILE_NAME__)

#else

#define FAULT_CALL(name, call) (call)
#define FAULT(name)            ((void)0)
#define FAULT_SLOW()           ((void)0)

#endif
#endif
