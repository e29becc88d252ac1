/* The files of a database, in a directory of its own, and who may use them. Knows nothing of LMDB
 * but their names. */
#ifndef TREE_MANIFEST_STORE_FILES_H
#define TREE_MANIFEST_STORE_FILES_H

#include <stdbool.h>

#include "base/err.h"

/* The right to use this directory's database: a descriptor, held until it is closed. -1 with err,
 * ERR_TEMPORARY where another process has had it for a second. */
int store_lock(const char *dir, struct err *err);

/* LMDB would follow a link that a receiver left which was taken over: is one of the files none? */
bool store_has_links(const char *dir);

#endif
