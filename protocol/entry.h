/*
 * An entry: what a path is. The same encoding travels in messages and stands in manifests, and the
 * digests over it are what two ends compare, so it changes only with the protocol's version.
 */
#ifndef PROTOCOL_ENTRY_H
#define PROTOCOL_ENTRY_H

#include "protocol/wire.h"

enum entry_type {
    ENTRY_NONE = 0, /* nothing there */
    ENTRY_FILE = 1,
    ENTRY_DIR = 2,
    ENTRY_LINK = 3,
};

enum {
    ENTRY_OWNER_MAX = 255, /* a user's or group's name */
    ENTRY_ACL_MAX = 8192,  /* bytes of one POSIX ACL as text; PROTOCOL.md has the form */
};

#define ENTRY_SIZE_MAX INT64_MAX /* a file's size; what the kernel's off_t holds */

struct digest {
    uint8_t b[16]; /* XXH3-128, canonical (big-endian) form */
};

/* All pointers are somebody else's; entry_decode points into its input. */
struct entry {
    uint8_t type;        /* enum entry_type */
    bool has_digest;     /* files: the content's digest is known */
    uint16_t mode;       /* permission bits, 07777; 0 for links */
    int64_t mtime;       /* seconds since the epoch */
    uint32_t mtime_nsec; /* 0 to 999,999,999 */
    uint64_t size;       /* files: bytes; else 0 */
    struct bytes owner;  /* names; empty: not known or not mirrored */
    struct bytes group;
    struct bytes target;      /* links: what they hold, 1 to PATH_TARGET_MAX bytes */
    struct bytes acl;         /* system.posix_acl_access as text with names; empty: none */
    struct bytes default_acl; /* directories: system.posix_acl_default, the same */
    struct digest digest;     /* zeros unless has_digest */
};

void entry_encode(struct wire_writer *w, const struct entry *e);

/* Leaves the reader bad on an unknown type, a mode over 07777, nanoseconds out of range, a link
 * without target, a size on what is not a file, any other field that the type does not have
 * (ENTRY_NONE has none), a NUL in a name or a target, or anything over its limit. */
void entry_decode(struct wire_reader *r, struct entry *out);

#endif
