/* Threads beside the main one, to which signals are delivered. */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>

/* As pthread_create, with default attributes, but to the new thread no signal is delivered except
 * SIGSYS, by which a sandbox tells of what it refuses. 0, or the errno. */
int thread_start(pthread_t *out, void *(*run)(void *), void *arg);

#endif
