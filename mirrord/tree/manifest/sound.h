/*
 * Whether a database is as the process left it that closed it last: then it need not be read to the
 * last byte before it is believed. Said by its inode, size and times in a file beside it; who does
 * not close it, writes to it, or boots the machine anew, makes that wrong. Nothing is said of one
 * that was written to a moment ago, since its times would not tell the next change.
 */
#ifndef TREE_MANIFEST_SOUND_H
#define TREE_MANIFEST_SOUND_H

#include <stdbool.h>

#define SOUND_FILE "sound" /* whoever removes the directory removes it, too */

/* Of the files in this directory. It was closed; a failure only means that it is read again. */
void sound_note(const char *dir);
/* Nothing has happened to it since. */
bool sound_is(const char *dir);

#endif
