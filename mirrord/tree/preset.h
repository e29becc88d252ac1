/*
 * What is known of a kind of site: which paths are left out, which directories are units, what
 * brackets an update (WORDPRESS.md 8 and 9). A preset stands in front of what a configuration says
 * itself. Pure: tables of text.
 */
#ifndef TREE_PRESET_H
#define TREE_PRESET_H

#include <stdint.h>

#include "base/err.h"
#include "tree/filter.h"
#include "tree/unit_rules.h"

struct preset;

/* What a preset leaves out unless, or only if, it is said. */
enum {
    PRESET_MAINTENANCE = 1, /* the file that closes the site during an update is mirrored, too */
    PRESET_LOCAL_CONFIG = 2 /* each server has its own wp-config.php or .env */
};

/* They are: none (the first), wordpress, bedrock and releases; NULL behind the last. */
const struct preset *preset_at(unsigned i);
const char *preset_name(const struct preset *p);

/* By its name. NULL with ERR_USAGE, which lists them. */
const struct preset *preset_find(const char *name, struct err *err);

/* Puts its rules in front of what f has. ERR_USAGE when that makes more than MSG_RULES_MAX; f may
 * have some of them then. */
int preset_add_excludes(
    const struct preset *p, unsigned choices, struct filter *f, struct err *err);

void preset_add_units(const struct preset *p, struct unit_rules *r);
void preset_add_brackets(const struct preset *p, struct unit_rules *r);

uint64_t preset_max_size(const struct preset *p); /* bytes; 0: no limit */

#endif
