/* Owner, mode, ACLs and times of an entry, set through a descriptor whose inode the caller knows.
 */
#ifndef SECONDARY_STAGE_META_H
#define SECONDARY_STAGE_META_H

#include <sys/stat.h>

#include "base/err.h"
#include "protocol/msg.h"
#include "tree/names.h"

struct outside;

struct meta_rules {
    const struct outside *outside;
    struct names *names;
    const char *host; /* for messages */
    bool owner, acl;  /* what is mirrored */
    bool fixed;       /* everything belongs to these: */
    uid_t uid;
    gid_t gid;
};

struct meta_owner {
    uid_t uid; /* -1: left as it is */
    gid_t gid;
};

/* The numbers of an entry's names here. -1 with err (ERR_PARTIAL): this host does not know one. */
int meta_resolve(
    const struct meta_rules *rules, const struct entry *e, struct meta_owner *out, struct err *err);

/* Makes a file or directory like its entry, times last. `also` is added to the mode for now (u+w of
 * a directory that is still to be filled); a fresh inode has no ACL to be removed. */
int meta_apply(const struct meta_rules *rules, int fd, const struct entry *e, mode_t also,
    bool fresh, struct err *err);

/* The same for a file that was just made with the mode of its entry, in fewer calls: *after is how
 * it was left. */
int meta_apply_new(const struct meta_rules *rules, int fd, const struct entry *e,
    struct stat *after, struct err *err);

/* The same for a link, by name, in a directory that nobody else can write to; done outside. */
int meta_apply_link(const struct meta_rules *rules, int dirfd, const char *name,
    const struct entry *e, struct err *err);

#endif
