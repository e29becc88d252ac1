/* The text of a new configuration, made of what `mirrord init` was told. Pure: no file is looked
 * at. */
#ifndef COMMAND_INIT_INIT_TEXT_H
#define COMMAND_INIT_INIT_TEXT_H

#include <stddef.h>

#include "base/err.h"

struct init_host {
    char *name, *address; /* address NULL: the name is it */
    unsigned port;        /* 0: ssh's */
};

struct init_wish {
    struct init_host *hosts;
    size_t host_count;
    char **roots; /* of sites; with a '*': of one site for each directory that matches */
    size_t root_count;
    const char *primary, *preset;
    const char *user; /* whom the key logs in as */
    const char *identity, *known_hosts;
    const char *state_dir, *control; /* NULL: the defaults */
};

/* Adds the hosts of "web1,web2=web2.internal,web3=10.0.0.3:2222,web4=[2001:db8::4]:22". ERR_USAGE
 * says what is wrong with which of them. */
int init_add_hosts(struct init_wish *w, const char *list, struct err *err);

/* Adds a root: absolute, with one '*' at most. */
int init_add_root(struct init_wish *w, const char *root, struct err *err);

const struct init_host *init_find_host(const struct init_wish *w, const char *name); /* or NULL */

/* The file. At least one host and one root are there. The caller frees it. */
char *init_text(const struct init_wish *w);

void init_wish_clear(struct init_wish *w);

#endif
