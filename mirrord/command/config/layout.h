/* What kind of site a document root holds, as far as its files tell. */
#ifndef COMMAND_CONFIG_LAYOUT_H
#define COMMAND_CONFIG_LAYOUT_H

#include <stdbool.h>

enum { LAYOUT_NAME = 256 };

struct layout {
    const char *preset;        /* that fits; NULL: nothing is recognised */
    char version[16];          /* of WordPress; empty: not known */
    char core[LAYOUT_NAME];    /* where its core is, a directory of the root; empty: the root */
    char content[LAYOUT_NAME]; /* the content directory, likewise; empty: the preset's */
    bool multisite;
    bool within; /* the root is the `web` of a Bedrock project: its parent should be mirrored */
};

/* Reads regular files only, never through a link, and at most 256 KiB of each: it may be root that
 * looks and a stranger who wrote them. A root that cannot be read is not recognised. */
void layout_recognise(const char *root, struct layout *out);

#endif
