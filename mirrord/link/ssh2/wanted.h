/* Which algorithms are wanted of an SSH server, and what each of its lists is called. */
#ifndef LINK_WANTED_H
#define LINK_WANTED_H

#include "link/ssh2/kexinit.h"

/* Comma-separated, the first one best; NULL: whatever the library has. */
const char *wanted_list(enum kexinit_list which);

const char *wanted_name(enum kexinit_list which); /* "cipher" */

#endif
