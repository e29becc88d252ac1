/*
 * Outlines (tree/content/outline.h) of what one secondary acknowledged, kept between runs in the
 * state directory of the site: STATE/roots/NAME/outlines/DIGEST, a file each, named by the
 * secondary's host id, its root and the path. A cache: what is missing, damaged or of another
 * content costs a question, no more. What fails is logged (debug).
 */
#ifndef PRIMARY_PUSH_SEND_BASE_FILES_H
#define PRIMARY_PUSH_SEND_BASE_FILES_H

#include "protocol/wire.h"
#include "tree/content/outline.h"
#include "tree/state/state.h"

struct base_files;

/* `root` is the secondary's, as it is asked for. Never NULL; the state has to outlive it. */
struct base_files *base_files_new(const struct state *s, const char *root);

/* Which secondary it is: before anything is loaded or saved. */
void base_files_meet(struct base_files *f, const struct digest *host_id);

/* With `most` bytes at most left in the directory: what was written longest ago goes. */
void base_files_free(struct base_files *f, uint64_t most);

struct outline *base_files_load(const struct base_files *f, struct bytes path); /* NULL: none */
void base_files_save(struct base_files *f, struct bytes path, const struct outline *o);
void base_files_remove(const struct base_files *f, struct bytes path);

#endif
