/*
 * The manifest in the root's state directory, and, when the filter has changed, the one of the
 * filter before, beside it until the new one has inherited from it; see former.h. Knows which
 * manifest is of which filter, not what is in them.
 */
#include "secondary/site/former.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/recover.h"
#include "secondary/site/checkpoint.h"
#include "secondary/stage/bin.h"
#include "tree/manifest/sound.h"

/* In the state directory of the root. */
#define MANIFEST_DIR "manifest"
#define FILTER_FILE  "filter"          /* in a manifest's directory: hex of its filter's digest */
#define FORMER_DIR   "manifest.former" /* of the filter before, until it was inherited from */
#define COPY_DIR     "manifest.copy"   /* as it was at the last checkpoint */
#define COPY_NEW     "manifest.new"    /* a copy that does not count yet */

enum { FILTER_HEX = 2 * sizeof(struct digest) };

static int open_state_dir(struct replica *r, const char *name)
{
    return openat(state_fd(r->locked), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* The filter that the manifest in this directory is of. 1, 0 not known, -1. */
static int read_filter(struct replica *r, const char *dir, struct digest *out, struct err *err)
{
    char *text CLEANUP_FREE = NULL;
    size_t len = 0;
    int fd CLEANUP_FD = open_state_dir(r, dir);
    int got = fd < 0 ? 1 : io_slurp(fd, FILTER_FILE, FILTER_HEX, &text, &len, err);
    if (got != 0)
        return got < 0 ? -1 : 0;
    struct digest d = {0};
    for (size_t i = 0; i < sizeof d.b && len == FILTER_HEX; i++) {
        unsigned byte = 0;
        if (sscanf(text + 2 * i, "%2x", &byte) != 1)
            return 0;
        d.b[i] = (uint8_t)byte;
    }
    *out = d;
    return len == FILTER_HEX;
}

static int keep_filter(
    struct replica *r, const char *dir, const struct digest *filter, struct err *err)
{
    char hex[FILTER_HEX + 1];
    struct digest last;
    int fd CLEANUP_FD = open_state_dir(r, dir);
    int known = read_filter(r, dir, &last, err);
    if (known < 0)
        return -1;
    if (known && memcmp(&last, filter, sizeof last) == 0)
        return 0;
    if (fd < 0)
        return err_sys(err, errno, "open %s/%s", state_path(r->locked), dir);
    io_hex(filter->b, sizeof filter->b, hex);
    return io_publish(fd, FILTER_FILE, hex, FILTER_HEX, err);
}

static bool former_exists(struct replica *r)
{
    struct stat st;
    return fstatat(state_fd(r->locked), FORMER_DIR, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* It has grown with the tree, and goes while the session is at work. */
static void remove_file(struct replica *r, int dir, const char *name)
{
    struct stat st;
    bool there = r->stage && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    int held = there ? bin_hold(dir, name, (uint64_t)st.st_size) : -1;
    unlinkat(dir, name, 0);
    if (held >= 0)
        bin_put(r->stage->bin, held);
}

static void remove_manifest(struct replica *r, const char *name)
{
    static const char *const files[] = {
        "data.mdb", "lock.mdb", "manifest.lock", SOUND_FILE, FILTER_FILE};
    int dir CLEANUP_FD = open_state_dir(r, name);
    for (size_t i = 0; dir >= 0 && i < sizeof files / sizeof *files; i++)
        remove_file(r, dir, files[i]);
    unlinkat(state_fd(r->locked), name, AT_REMOVEDIR);
}

static int rename_manifest(struct replica *r, const char *from, const char *to, struct err *err)
{
    int state = state_fd(r->locked);
    return renameat(state, from, state, to) < 0 ? err_sys(err, errno, "rename %s", from) : 0;
}

static bool exists(struct replica *r, const char *name)
{
    struct stat st;
    return fstatat(state_fd(r->locked), name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* *lost: it cannot be used, though something is known of what was in it; then it is left as it is,
 * and not opened. NULL: it is made anew, then. */
static int open_manifest(struct replica *r, const char *name, const struct digest *filter,
    struct manifest **out, bool *lost, struct err *err)
{
    bool fresh;
    char *dir CLEANUP_FREE = mem_format("%s/%s", state_path(r->locked), name);
    if (!lost || !(former_has_copy(r) || checkpoint_has_ledger(r)))
        return manifest_open(dir, filter, out, &fresh, err);
    int rc = manifest_open_existing(dir, filter, out, err);
    *lost |= rc == 1;
    return rc < 0 ? -1 : 0;
}

/* The manifest of another filter finishes its commit and makes room. */
static int put_aside(struct replica *r, const struct digest *last, bool *lost, struct err *err)
{
    if (open_manifest(r, MANIFEST_DIR, last, &r->manifest, lost, err) < 0)
        return -1;
    if (lost && *lost)
        return 0;
    int bad = (r->flags & OPEN_DRY_RUN) ? checkpoint_replay(r, err) : recover_run(r, err);
    manifest_close(TAKE_PTR(r->manifest));
    return bad ? -1 : rename_manifest(r, MANIFEST_DIR, FORMER_DIR, err);
}

/* Makes the manifest's directory ready for this filter. A former one that is there already has not
 * been inherited from yet: nothing was committed since, so it is the one that counts. */
static int change_filter(
    struct replica *r, const struct digest *filter, bool *lost, struct err *err)
{
    struct digest last;
    int known = read_filter(r, MANIFEST_DIR, &last, err);
    bool same = known == 1 && memcmp(&last, filter, sizeof last) == 0;
    if (known < 0)
        return -1;
    if (known && !same && !former_exists(r) && put_aside(r, &last, lost, err) < 0)
        return -1;
    if (lost && *lost)
        return 0;
    if (former_exists(r)) {
        known = read_filter(r, FORMER_DIR, &last, err);
        if (known < 0)
            return -1;
        if (known == 1 && memcmp(&last, filter, sizeof last) == 0) {
            remove_manifest(r, MANIFEST_DIR);
            if (rename_manifest(r, FORMER_DIR, MANIFEST_DIR, err) < 0)
                return -1;
        }
    }
    if (mkdirat(state_fd(r->locked), MANIFEST_DIR, 0700) < 0 && errno != EEXIST)
        return err_sys(err, errno, "create %s", state_manifest_dir(r->locked));
    return 0;
}

static void open_former(struct replica *r, bool *lost)
{
    struct digest last;
    struct err why;
    if (former_exists(r) && (read_filter(r, FORMER_DIR, &last, &why) != 1 ||
                                open_manifest(r, FORMER_DIR, &last, &r->former, lost, &why) < 0))
        log_warn("%s: what was committed under the former filter is not known any more", r->path);
}

static int open_all(struct replica *r, const struct digest *filter, bool *lost, struct err *err)
{
    if (change_filter(r, filter, lost, err) < 0)
        return -1;
    if (lost && *lost)
        return 0;
    bool inherits = former_exists(r); /* then it may well be new */
    if (open_manifest(r, MANIFEST_DIR, filter, &r->manifest, inherits ? NULL : lost, err) < 0)
        return -1;
    if (lost && *lost)
        return 0;
    if (keep_filter(r, MANIFEST_DIR, filter, err) < 0)
        return -1;
    open_former(r, lost);
    return 0;
}

static void close_all(struct replica *r)
{
    manifest_close(TAKE_PTR(r->former));
    manifest_close(TAKE_PTR(r->manifest));
}

/* What is damaged is put back from the copy and the ledger, as after a power loss; when the copy is
 * damaged, too, from the ledger alone. */
int former_open_manifest(struct replica *r, const struct digest *filter, struct err *err)
{
    for (;;) {
        bool lost = false, restored = checkpoint_is_restored(r);
        bool more = !restored || former_has_copy(r);
        int bad = open_all(r, filter, more ? &lost : NULL, err);
        if (bad || !lost)
            return bad;
        close_all(r);
        if (restored)
            former_forget_copy(r);
        if (checkpoint_restore(r, err) < 0)
            return -1;
    }
}

void former_forget(struct replica *r)
{
    manifest_close(TAKE_PTR(r->former));
    remove_manifest(r, FORMER_DIR);
}

int former_last_filter(struct replica *r, struct digest *out, struct err *err)
{
    return former_exists(r) ? 0 : read_filter(r, MANIFEST_DIR, out, err);
}

/* From the copy into the manifest's directory. The copy stays, since the power may go again. */
static int copy_file(struct replica *r, const char *name)
{
    int from_dir CLEANUP_FD = open_state_dir(r, COPY_DIR);
    int to_dir CLEANUP_FD = open_state_dir(r, MANIFEST_DIR);
    int from CLEANUP_FD = openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    int to CLEANUP_FD =
        openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    struct stat st;
    if (from < 0 || to < 0 || fstat(from, &st) < 0)
        return -1;
    for (off_t left = st.st_size; left > 0;) {
        ssize_t n = copy_file_range(from, NULL, to, NULL, (size_t)left, 0);
        if (n <= 0)
            return -1;
        left -= n;
    }
    return 0;
}

int former_restore(struct replica *r, const char *why, struct err *err)
{
    bool any = exists(r, MANIFEST_DIR "/data.mdb"), copy = exists(r, COPY_DIR "/data.mdb");
    remove_manifest(r, COPY_NEW);
    if (!any && !copy)
        return 0;
    log_warn("%s: %s: the manifest is %s, and what was written since is read again", r->path, why,
        copy ? "put back as it was at the last checkpoint" : "rebuilt");
    remove_manifest(r, MANIFEST_DIR);
    remove_manifest(r, FORMER_DIR);
    if (mkdirat(state_fd(r->locked), MANIFEST_DIR, 0700) < 0 && errno != EEXIST)
        return err_sys(err, errno, "create %s", state_manifest_dir(r->locked));
    if (!copy || (copy_file(r, "data.mdb") == 0 && copy_file(r, FILTER_FILE) == 0))
        return 0;
    remove_manifest(r, MANIFEST_DIR); /* no room for both */
    return rename_manifest(r, COPY_DIR, MANIFEST_DIR, err);
}

bool former_has_copy(struct replica *r)
{
    return exists(r, COPY_DIR "/data.mdb");
}

void former_forget_copy(struct replica *r)
{
    remove_manifest(r, COPY_DIR);
}

int former_copy(struct replica *r, struct err *err)
{
    struct digest filter;
    char *dir CLEANUP_FREE = mem_format("%s/" COPY_NEW, state_path(r->locked));
    remove_manifest(r, COPY_NEW);
    if (mkdirat(state_fd(r->locked), COPY_NEW, 0700) < 0)
        return err_sys(err, errno, "create %s", dir);
    int known = read_filter(r, MANIFEST_DIR, &filter, err);
    if (known <= 0)
        return known < 0 ? -1 : err_set(err, ERR_FAILED, "the manifest has no filter");
    return keep_filter(r, COPY_NEW, &filter, err) < 0 ? -1 : manifest_copy(r->manifest, dir, err);
}

int former_keep_copy(struct replica *r, struct err *err)
{
    int state = state_fd(r->locked);
    if (!exists(r, COPY_DIR))
        return rename_manifest(r, COPY_NEW, COPY_DIR, err);
    if (renameat2(state, COPY_NEW, state, COPY_DIR, RENAME_EXCHANGE) < 0)
        remove_manifest(r, COPY_DIR);
    else {
        remove_manifest(r, COPY_NEW);
        return 0;
    }
    return rename_manifest(r, COPY_NEW, COPY_DIR, err);
}
