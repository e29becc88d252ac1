/*
 * Reading a live file (RULES 1): fstat, writer probe, read, writer probe, fstat. What was read is
 * the file's content at one moment only if both probes pass and both fstats agree, and if what was
 * read so soon after the last change that another would have left the same times is found once
 * more; everything else is "changed", never an error and never a mixture.
 */
#ifndef PRIMARY_SCAN_SOURCE_H
#define PRIMARY_SCAN_SOURCE_H

#include <sys/stat.h>

#include "base/err.h"
#include "tree/content/outline.h"
#include "tree/manifest/manifest.h"
#include "tree/root.h"

/* Has somebody this file open for writing? 1 yes, 0 no; -1 leases do not work here (another owner's
 * file without CAP_LEASE, NFS, FUSE, overlayfs). A read lease is set and taken back at once. */
int source_has_writer(int fd);

/* The same, where -1 is replaced by "changed within the last 50 ms". */
bool source_is_busy(int fd, const struct stat *st);

struct source;

enum { SOURCE_OK = 0, SOURCE_BUSY = 1, SOURCE_GONE = 2 };

/* Opens the regular file at this path. SOURCE_BUSY: it has a writer
 * (with open_too a writer is no hindrance, and the record will be racy). SOURCE_GONE: nothing
 * there, or not a regular file. -1 with err: it cannot be read. */
int source_open(
    struct root *root, struct bytes path, bool open_too, struct source **out, struct err *err);
/* The same for a name in a directory that was opened beneath the root. `seen` is of a stat of that
 * name from before; a file that is not as it says is SOURCE_BUSY, now or when it is settled. */
int source_open_at(int dirfd, const char *name, const struct stat *seen, bool open_too,
    struct source **out, struct err *err);
void source_free(struct source *s);

const struct stat *source_stat(const struct source *s); /* as it was at opening */

/* The next bytes, which go into the digest; 0 at the size of opening (or where it now ends earlier,
 * which source_settle reports). */
ssize_t source_read(struct source *s, void *p, size_t n, struct err *err);

/* By extents instead: the whole leaf of the digest at `at`, a multiple of its size, or what the
 * file has from there on; *leaf is its plain digest. Those read for the first time, in order, go
 * into the file's digest; any may be read again. */
ssize_t source_read_leaf(
    struct source *s, uint64_t at, void *p, struct digest *leaf, struct err *err);
bool source_all_read(const struct source *s, uint64_t *next); /* else from here on it is not */

/* Bytes that were read before, once more; fewer where the file became shorter. */
ssize_t source_read_again(struct source *s, uint64_t at, void *p, size_t n, struct err *err);

/* From now on, before the first byte, what is read is also kept in the form of outline.h. */
void source_outline(struct source *s);
/* That, once it is settled: the caller's; NULL: it was not asked for, or taken already. */
struct outline *source_take_outline(struct source *s);

/* After the last byte: SOURCE_OK when what was read is one state of the file, with its digest,
 * validators and RECORD_RACY in *r (the entry's other fields are left alone); else SOURCE_BUSY. */
int source_settle(struct source *s, struct record *r);

#endif
