/*
 * Parts: what had arrived of a large file when its session ended. The next session takes it as the
 * base of a delta, so that only the rest travels; nothing is believed of it, since the digest of
 * the result decides. A part's name is made of its path, so that what a killed receiver left is
 * recognised too. The newest few are kept, for a day.
 */
#ifndef SECONDARY_STAGE_PARTS_H
#define SECONDARY_STAGE_PARTS_H

#include <sys/stat.h>

#include "secondary/stage/stage.h"

enum {
    PARTS_MIN_SIZE = 1024 * 1024, /* less is sent again */
    PARTS_AGE_S = 24 * 3600,
};

/* A new name for the content of this path, recognised later. Returns its length. */
size_t parts_name(struct stage *s, struct bytes path, char out[STAGE_NAME_MAX]);

/* Looks for what earlier sessions left; what is too old or too many is dead from now on. */
void parts_find(struct stage *s);

/* The part of this path, opened for reading; -1: none. */
int parts_open(const struct stage *s, struct bytes path, struct stat *st);

/* The staged file of this session stays for the next one, if it is worth it. */
bool parts_keep(struct stage *s, struct bytes path, struct bytes staged);

/* The path's content has come: its part is dropped. With the empty path: all of them. */
void parts_drop(struct stage *s, struct bytes path);

#endif
