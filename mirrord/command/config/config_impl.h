/* Shared by the config_*.c files only. */
#ifndef COMMAND_CONFIG_CONFIG_IMPL_H
#define COMMAND_CONFIG_CONFIG_IMPL_H

#include <time.h>

#include "command/config/config.h"

/* A file or a section of one, as it is written. */
struct config_value {
    char *key;
    char **texts; /* one, or a list's */
    size_t count;
    unsigned line;
};

struct config_block {
    char *kind;  /* "root" for a file, "host", "defaults", "site", "sites", "at" */
    char *title; /* "" where the kind has none */
    char *file;
    unsigned line;
    struct config_value *values;
    size_t value_count;
    struct config_block *blocks;
    size_t block_count;
};

/* Where a configuration is from. */
struct config_sources {
    char **files; /* the main one first */
    char **dirs;  /* in which its includes' patterns look, whether they are there or not */
    size_t file_count, dir_count;
};

/* Reads the file and what it includes: the result's blocks are the files. Syntax errors and unknown
 * or repeated keys are ERR_USAGE with "file:line: …". config_file_free frees it all; NULL is fine.
 * *from is filled as far as it went; config_sources_free. */
int config_file_read(
    const char *path, struct config_block **out, struct config_sources *from, struct err *err);
void config_file_free(struct config_block *files);
void config_sources_free(struct config_sources *from);

/* The value of a key, or NULL where it is not set. */
const struct config_value *config_value(const struct config_block *b, const char *key);

/* Sets "FILE:LINE: host web2: port: …" (ERR_USAGE): at the key, where it is set, else where the
 * block begins; an empty key is the block itself. Always -1. */
int config_fail_at(const struct config_block *b, const char *key, struct err *err, const char *fmt,
    ...) __attribute__((format(printf, 4, 5)));

/* Values by type. Where the key is not set, *out stays. Texts replace what *out owned. 0 or -1. */
int config_take_word(const struct config_block *b, const char *key, const char *const *words,
    unsigned *out, struct err *err);   /* *out: the index in words */
bool config_is_bool(const char *text); /* is it a word that config_take_bool takes? */
int config_take_bool(const struct config_block *b, const char *key, bool *out, struct err *err);
int config_take_number(const struct config_block *b, const char *key, unsigned min, unsigned max,
    unsigned *out, struct err *err);
int config_take_percent(
    const struct config_block *b, const char *key, unsigned *out, struct err *err);
int config_take_size(const struct config_block *b, const char *key, uint64_t *out, struct err *err);
int config_take_duration(
    const struct config_block *b, const char *key, unsigned *out_ms, struct err *err);
int config_take_text(const struct config_block *b, const char *key, char **out, struct err *err);
int config_take_path(const struct config_block *b, const char *key, char **out, struct err *err);
int config_take_root(const struct config_block *b, const char *key, char **out, struct err *err);

/* on-commit, on-switch, on-commit-user and their time limits. */
int config_take_hook(const struct config_block *b, struct config_hook *h, struct err *err);
struct config_hook config_hook_copy(const struct config_hook *h);
void config_hook_free(struct config_hook *h);

/* The block's title, checked: hosts and sites are named on command lines, in logs and on the wire.
 */
int config_take_title(const struct config_block *b, char **out, struct err *err);

/* Notes what they are now. What changed since `began` (CLOCK_REALTIME, from before they were read)
 * may be what was read or not: it counts as changed. */
void config_note_sources(
    struct config *c, const struct config_sources *from, const struct timespec *began);
void config_free_sources(struct config *c);

/* A configuration file's text with its comments blanked out, so that every byte keeps its line (the
 * parser miscounts lines that have comments). 0 with *out (the caller frees); ERR_USAGE. */
int config_text_read(const char *path, char **out, size_t *len, struct err *err);

#define CONFIG_NOT_SAID UINT64_MAX /* of a size, until all that may say it was read */

/* A site, or with root_key "glob" a block of them; `defaults` may be NULL, `self` too. *s is filled
 * as far as it went, for freeing. */
int config_read_site(const struct config_block *b, const struct config_block *defaults,
    const char *root_key, const char *self, struct config_site *s, struct err *err);

/* Turns the `sites` blocks into one site for each directory that matches on the host `self`. */
int config_expand(struct config *c, struct err *err);

/* The rules between hosts and sites. The first takes one site or block by itself (as a glob: with
 * a pattern for a root), the second all sites against each other. */
int config_validate_site(
    const struct config *c, const struct config_site *s, bool glob, struct err *err);
int config_validate_all(const struct config *c, struct err *err);

/* Takes the site over: appends it to the list. */
void config_add_site(struct config_site **list, size_t *count, const struct config_site *s);
void config_free_site(struct config_site *s); /* what it holds */

#endif
