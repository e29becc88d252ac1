/* Names as they may stand on the wire: the first of the checks on what a peer asks for. */
#ifndef PROTOCOL_PATH_H
#define PROTOCOL_PATH_H

#include <stdbool.h>

#include "protocol/wire.h"

enum {
    PATH_NAME_MAX = 255,    /* one component */
    PATH_TOTAL_MAX = 32768, /* a path beneath a root; longer than the kernel's PATH_MAX */
    PATH_TARGET_MAX = 4095, /* what a symbolic link may hold */
};

/* Everything mirrord makes for itself inside a tree begins so; refused on the wire, excluded by
 * every filter. */
#define PATH_RESERVED ".mirrord-"

/* One component: 1 to 255 bytes, not "." or "..", no '/', no NUL, not reserved. */
bool path_name_valid(struct bytes name);

/* Components joined by single slashes, none in front or behind, PATH_TOTAL_MAX in all. The empty
 * path is the root itself and is valid. */
bool path_valid(struct bytes path);

bool path_is_reserved(struct bytes name); /* begins with PATH_RESERVED */

/* The part before the last slash ("" at the top) and the part behind it. */
struct bytes path_parent(struct bytes path);
struct bytes path_name(struct bytes path);

/* True when `path` is `top` or lies beneath it; everything lies beneath "". */
bool path_beneath(struct bytes path, struct bytes top);

#endif
