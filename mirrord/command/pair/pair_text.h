/* The text of an authorized_keys file, and the one line of it that a key of mirrord gets. Pure. */
#ifndef COMMAND_PAIR_PAIR_TEXT_H
#define COMMAND_PAIR_PAIR_TEXT_H

#include <stdbool.h>

#include "base/err.h"

/* 'restrict,command="mirrord receive …" ssh-ed25519 AAAA… mirrord@web1': `command` is the words of
 * what is started, whatever whoever comes with the key asks for; `key` is "TYPE BASE64". -1 where a
 * word has a byte that sshd could not read from that file. The caller frees *out. */
int pair_text_line(
    char *const *command, const char *key, const char *comment, char **out, struct err *err);

/* Is it "TYPE BASE64" and nothing else? What another host calls its key goes into files. */
bool pair_text_is_key(const char *text);

struct pair_text_edit {
    char *text; /* as it should be */
    char *gone; /* the lines that it has no more, each with its newline; "" */
    bool same;  /* there is nothing to do */
};

/* The text with this line. Another one for the same key goes, and, unless keep_older, any other key
 * with the same options and the same comment: the same host's, before it was installed anew. What
 * differs in its comment only stays. */
void pair_text_add(const char *text, const char *line, bool keep_older, struct pair_text_edit *out);

/* The text without the lines for the key of this one. */
void pair_text_remove(const char *text, const char *line, struct pair_text_edit *out);

void pair_text_free(struct pair_text_edit *e);

#endif
