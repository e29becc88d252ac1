/*
 * Which parts of a site are units, switched as a whole, what brackets an update of them, and how
 * long they must have been quiet. Pure: knows patterns and paths, not the disk.
 *
 * A unit is written as a path with patterns for names ("wp-content/themes/twenty?": each
 * directory there is one), or as several parts with one directory above them that are one unit
 * together ("wp-admin + wp-includes + *.php"). Its key is the directory's path, for a unit of
 * parts what was written. Where several match, the outermost counts.
 */
#ifndef TREE_UNIT_RULES_H
#define TREE_UNIT_RULES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "protocol/wire.h"

enum { UNIT_SETTLE_MS = 1500, UNIT_SETTLE_MAX_MS = 600000, UNIT_RULES_MAX = 256 };

struct unit_rules;

/* Without units or brackets, with the times above. */
struct unit_rules *unit_rules_new(void);
struct unit_rules *unit_rules_copy(const struct unit_rules *r); /* NULL: a new one */
void unit_rules_free(struct unit_rules *r);                     /* NULL is fine */

/* ERR_USAGE with what is wrong with it. A bracket is a path; "/" at its end: a directory. */
int unit_rules_add(struct unit_rules *r, const char *unit, struct err *err);
int unit_rules_add_bracket(struct unit_rules *r, const char *bracket, struct err *err);
void unit_rules_clear(struct unit_rules *r);
void unit_rules_clear_brackets(struct unit_rules *r);

void unit_rules_set_times(struct unit_rules *r, unsigned settle_ms, unsigned settle_max_ms);
unsigned unit_rules_settle(const struct unit_rules *r);
unsigned unit_rules_settle_max(const struct unit_rules *r);

/* As they were written. NULL behind the last. */
const char *unit_rules_unit(const struct unit_rules *r, size_t i);
const char *unit_rules_bracket(const struct unit_rules *r, size_t i);

/* Does the path lie in a unit? *key (of the path or of the rules) says in which. is_dir matters
 * where it is the top of one: a file beside plugins is none. */
bool unit_rules_match(
    const struct unit_rules *r, struct bytes path, bool is_dir, struct bytes *key);

/* May units lie beneath this path? */
bool unit_rules_above(const struct unit_rules *r, struct bytes path);

/* Does the path lie in the unit of this key, or the unit, in part or whole, beneath it? */
bool unit_rules_touches(const struct unit_rules *r, struct bytes key, struct bytes path);

/* The directory in which the unit's top, or its parts, are. */
struct bytes unit_rules_parent(const struct unit_rules *r, struct bytes key);

#endif
