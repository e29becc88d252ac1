/*
 * What a process may still do once it speaks to somebody who may be hostile. In layers, each of
 * which holds without the others:
 *
 *   mounts         for root: nothing is there but directories that are shown (enclosure.h)
 *   Landlock       opening, making, renaming and removing beneath the allowed directories only; no
 *                  TCP; no signals and no abstract sockets beyond itself
 *   system calls   a list of those that a receiver needs; any other one ends the process. Metadata
 *                  is changed through descriptors only, since Landlock does not govern that
 *   capabilities   what root needs to write as any owner; no others
 *   limits         no core file
 *
 * A kernel or a build that lacks a layer is named, never silently accepted.
 */
#ifndef SECONDARY_CONFINE_SANDBOX_H
#define SECONDARY_CONFINE_SANDBOX_H

#include <stdbool.h>

#include "base/err.h"

struct sandbox;

struct enclosure;

struct sandbox *sandbox_new(void); /* never NULL */
void sandbox_free(struct sandbox *s);

enum sandbox_access {
    SANDBOX_TREE, /* everything that a receiver does with files, in this directory and beneath */
    SANDBOX_READ, /* reading this file, or all that is in this directory */
};

/* The descriptor (O_PATH will do) stays the caller's. */
void sandbox_allow(struct sandbox *s, int fd, enum sandbox_access access);

/* The sandbox's own; NULL: this user can have none, or a test does without. */
struct enclosure *sandbox_enclosure(const struct sandbox *s);

/* What is lacking, in words that go on "not confined by …"; NULL: nothing. Complete once it was
 * entered. The sandbox's own, until the next call. */
const char *sandbox_lacks(struct sandbox *s);

/* The same as enum sandbox_layer's; 0: nothing. */
unsigned sandbox_lacking(const struct sandbox *s);

/* It was entered, and with the layer of mounts. */
bool sandbox_encloses(const struct sandbox *s);

/* Where a refused system call is told: `refused` runs in a signal handler of the process, which
 * ends after it. */
struct sandbox_alarm {
    void (*refused)(int socket, int call);
    int socket;
};

enum sandbox_layer {
    SANDBOX_LIMITS = 1,
    SANDBOX_CAPABILITIES = 2,
    SANDBOX_LANDLOCK = 4,
    SANDBOX_CALLS = 8,
    SANDBOX_MOUNTS = 16,
    SANDBOX_ALL = 31,
};

/* For the rest of this process's life; before it has threads. `layers` is SANDBOX_ALL, except for
 * tests. -1 with err: it must not go on. */
int sandbox_enter(
    struct sandbox *s, unsigned layers, const struct sandbox_alarm *alarm, struct err *err);

/* The call's name, for people. The caller frees it. */
char *sandbox_call_name(int call);

/* syscalls.c, for sandbox.c: false, it was not built in. */
bool syscalls_known(void);
int syscalls_restrict(const struct sandbox_alarm *alarm, struct err *err);

#endif
