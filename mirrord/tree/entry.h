/* From what the disk says to an entry, and from an entry to the digests that two ends compare. */
#ifndef TREE_ENTRY_H
#define TREE_ENTRY_H

#include <sys/stat.h>

#include "base/err.h"
#include "protocol/entry.h"
#include "tree/names.h"

/* What tells that an entry need not be read again. */
struct validators {
    uint64_t inode;
    int64_t ctime;
    uint32_t ctime_nsec;
    uint64_t size;
    int64_t mtime;
    uint32_t mtime_nsec;
};

struct validators validators_of(const struct stat *st);
bool validators_equal(const struct validators *a, const struct validators *b);
void validators_encode(struct wire_writer *w, const struct validators *v);
struct validators validators_decode(struct wire_reader *r);

/* The clock that files are stamped by: behind CLOCK_REALTIME by a tick, or by more where the
 * machine stood still. What is changed later is not stamped earlier. */
void validators_clock(struct timespec *now);
/* True when ctime is not older than `now`, of validators_clock before whatever is to be believed
 * was looked at, by the granule: a later change might leave the same validators, so they must not
 * be relied on (RULES 1). A ctime without nanoseconds is taken for one of a filesystem that keeps
 * none (ext4 with inodes of 128 bytes, HFS+). */
bool validators_racy(const struct validators *v, const struct timespec *now);
enum { VALIDATORS_GRANULE_MS = 10, VALIDATORS_SECOND_MS = 1010 };
/* How long after it was found racy what has these validators is to be read again, milliseconds. */
unsigned validators_pause_ms(const struct validators *v);

/* Storage behind an entry's pointers, when it was read from disk. */
struct entry_store {
    char target[4096];
    uint8_t acl[8192];
    uint8_t default_acl[8192];
};

/* The entry of dirfd/name as the disk has it (name "" with AT_EMPTY_PATH semantics: dirfd itself).
 * st must come from it. Files get no digest. Strips setuid and setgid of regular files unless
 * keep_special. ACLs are converted between ids and names. Returns 0; 1 for what is not mirrored
 * (device, socket, FIFO); -1 with err (sys = errno; ENOENT or EINVAL: it changed meanwhile). */
int entry_read(int dirfd, const char *name, const struct stat *st, struct names *names,
    bool keep_special, struct entry_store *store, struct entry *out, struct err *err);

/* getxattr of dirfd/name, which is not followed; name "": of dirfd. */
ssize_t entry_attribute(int dirfd, const char *name, const char *attribute, void *out, size_t size);

/* Sets an ACL on a descriptor: text form as in struct entry; empty removes it. 0; 1 when there is
 * one to set and the filesystem has none; -1 with err (an unknown name: ERR_PARTIAL). */
int entry_set_acl(int fd, bool of_default, struct bytes acl, struct names *names, struct err *err);

/* Equality by parts; meta is type, mode, mtime, size, target, ACLs (mtime and size only where the
 * type has them). */
bool entry_meta_equal(const struct entry *a, const struct entry *b);
bool entry_owner_equal(const struct entry *a, const struct entry *b);
/* Both digests known and equal, or sizes equal and one unknown; true for what is not a file. */
bool entry_content_equal(const struct entry *a, const struct entry *b);

/* The digests of one named entry, as they are summed up in its directory. */
void entry_digest_meta(struct bytes name, const struct entry *e, struct digest *out);
void entry_digest_owner(struct bytes name, const struct entry *e, struct digest *out);
void entry_digest_content(struct bytes name, const struct entry *e, struct digest *out);

#endif
