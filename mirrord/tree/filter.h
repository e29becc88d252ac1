/*
 * Which paths are mirrored. Rules in order, the last that matches wins; without a match a path is
 * mirrored. What lies beneath an excluded directory is excluded.
 *
 * A pattern with a slash at its start or middle is anchored at the root ("wp-content/cache/",
 * "/.maintenance"); one without matches a name at any depth (".git/", ".nfs*"). A slash at the
 * end matches directories only. "*" and "?" and "[a-z]" stop at slashes, "**" does not; as a whole
 * component it stands for any number of directories, none too. A backslash takes the next byte as
 * it is.
 * Names that begin with PATH_RESERVED are always excluded.
 */
#ifndef TREE_FILTER_H
#define TREE_FILTER_H

#include "base/err.h"
#include "protocol/entry.h"
#include "protocol/msg.h"

struct filter;

struct filter *filter_new(void);
void filter_free(struct filter *f);
struct filter *filter_copy(const struct filter *f);

/* ERR_USAGE for an empty or over-long pattern or when there are MSG_RULES_MAX already. */
int filter_add(struct filter *f, bool include, struct bytes pattern, struct err *err);

/* Exclusions, the list ended by NULL, in front of what is there. Nothing is added when that makes
 * more than MSG_RULES_MAX (ERR_USAGE). */
int filter_prepend(struct filter *f, const char *const *excludes, struct err *err);

size_t filter_count(const struct filter *f);
void filter_rule(const struct filter *f, size_t i, struct msg_rule *out);

/* Is this path excluded, given that its parent is not? */
bool filter_excludes(const struct filter *f, struct bytes path, bool is_dir);

/* The same, looking at every directory above it too. */
bool filter_excludes_deep(const struct filter *f, struct bytes path, bool is_dir);

/* May a rule that is anchored match at this path, above it or beneath it? Those that are not match
 * a name wherever it is moved to. */
bool filter_touches(const struct filter *f, struct bytes path);

/* Over all rules: manifests made under another filter do not compare. */
void filter_digest(const struct filter *f, struct digest *out);

#endif
