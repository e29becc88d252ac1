/* Comma-separated lists of algorithm names. Lists that are returned are the caller's to free. */
#ifndef LINK_ALGS_H
#define LINK_ALGS_H

#include <stdbool.h>
#include <stddef.h>

bool algs_has(const char *list, const char *name); /* is the name in the list? */

/* Whether the two have a name in common. */
bool algs_meet(const char *a, const char *b);

/* The names of the list that are among the given n, in the list's order. */
char *algs_keep(const char *list, const char *const *names, size_t n);

/* The host key methods with those first whose keys are of one of the types; RSA keys ("ssh-rsa")
 * serve the methods rsa-sha2-…, too. */
char *algs_order_hostkeys(const char *methods, const char *types);

#endif
