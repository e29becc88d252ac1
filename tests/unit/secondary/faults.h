/*
 * What a test does to its receivers from within: the linker puts functions of faults.c in front of
 * the calls by which a commit changes the disk (see meson.build).
 */
#ifndef TEST_FAULTS_H
#define TEST_FAULTS_H

#include <stdatomic.h>
#include <stdint.h>

struct faults {
    atomic_int countdown; /* killed before so many changes of the disk; 0: not */
    atomic_int commits;   /* killed before so many transactions of the manifest; 0: not */
    atomic_int reads;     /* pieces of content that were read */
    atomic_int no_links;  /* errno of every link; 0: none fails */
    atomic_int rebooted;  /* the machine has another boot id */
    atomic_int at_switch; /* killed before (1) or after (2) the exchange of what is called `name` */
    atomic_int refuse;    /* errno of exchanges of what is called by `name`; 0: none fails */
    char name[32];
    char meddle[512]; /* a shell command to be run before the next exchange of it */
    atomic_int after; /* … or right after the next rename to it */
};

extern struct faults *faults; /* shared with the receivers; all zero: nothing happens */

int faults_init(void); /* -1: no memory */
void faults_clear(void);

/* A fixture: a struct peer, with no faults at its beginning and none left at its end. */
int faults_peer_make(void **state);
int faults_peer_unmake(void **state);

#endif
