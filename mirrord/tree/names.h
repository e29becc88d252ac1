/* Users and groups by name, since numbers differ between hosts: a cache over getpwuid and its
 * siblings. One per thread. */
#ifndef TREE_NAMES_H
#define TREE_NAMES_H

#include <sys/types.h>

#include "protocol/wire.h"

struct names;

/* How names are looked up. The default asks the C library; a sandboxed receiver puts a function
 * here that asks its parent. Returns 1 found, 0 unknown. `group` picks the kind. */
struct names_source {
    int (*id_of)(void *ctx, bool group, const char *name, unsigned *id);
    int (*name_of)(void *ctx, bool group, unsigned id, char name[256]);
    void *ctx;
};

struct names *names_new(const struct names_source *source); /* NULL: the C library */
void names_free(struct names *n);

/* The name of a number: valid as long as `n`; the empty string where it has none. */
struct bytes names_user(struct names *n, uid_t uid);
struct bytes names_group(struct names *n, gid_t gid);

/* The number of a name: 1 with *out, or 0 where this host does not know it. */
int names_uid(struct names *n, struct bytes name, uid_t *out);
int names_gid(struct names *n, struct bytes name, gid_t *out);

#endif
