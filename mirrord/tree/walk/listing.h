/* The names in a directory, read at once and in memcmp order. */
#ifndef TREE_WALK_LISTING_H
#define TREE_WALK_LISTING_H

#include <stddef.h>
#include <stdint.h>

struct listing_name {
    const char *name; /* NUL-terminated, in the listing's memory */
    uint16_t len;     /* may be over PATH_NAME_MAX on filesystems that count characters */
    uint8_t type;     /* DT_…: a hint */
};

struct listing {
    struct listing_name *names;
    size_t count, room;
    char *text;
    size_t used, size;
};

/* Replaces the content by the names in this directory, from where the descriptor stands, without
 * "." and "..". 0, or -1 with errno. */
int listing_read(struct listing *l, int fd);
/* Collects names: empty it, add copies, and seal it before `names` is read. */
void listing_clear(struct listing *l);
void listing_add(struct listing *l, const char *name, size_t len, uint8_t type);
void listing_seal(struct listing *l);
void listing_free(struct listing *l);

#endif
