/* The text of a known_hosts file: what it says of one host, and the same text with another key for
 * that host. Files are the caller's; names are hashed by whoever makes the new line. */
#ifndef LINK_KNOWN_EDIT_H
#define LINK_KNOWN_EDIT_H

#include "link/keys/known.h"

/* The lines that name this host, exactly as ssh writes it ("web2", "[web2]:2222"), plain or hashed.
 * `file` is only for messages and must outlive *out, which known_free frees. */
int known_edit_find(
    const char *text, const char *file, const char *name, struct known *out, struct err *err);

/* The text with `line` behind, and, if replace, without the lines found in it (those that are
 * marked as revoked stay). The caller frees it. */
char *known_edit_add(const char *text, const struct known *found, bool replace, const char *line);

#endif
