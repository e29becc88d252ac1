/*
 * A regular file: is it ready (WORDPRESS.md 8: closed, no writer has it open, not empty), has it
 * changed, was it renamed. Content is read here only where validators do not prove it, and only of
 * small files; larger ones go to the prover.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "primary/owe.h"
#include "primary/scan/examine_impl.h"
#include "primary/scan/source.h"
#include "tree/content/digest.h"

enum {
    EMPTY_MS = 5000,           /* an empty file is probably about to be written: */
    EMPTY_FLUSHED_MS = 200,    /* while somebody waits, that is ten times Imagick's longest pause */
    QUIET_MS = 50,             /* where leases do not work */
    PROBE_LINKED_MS = 500,     /* the same, of one whose close may be reported for another name */
    PROBE_MAX_MS = 10000,      /* between looks at a file that is held open */
    OPEN_FIRST_MS = 2000,      /* a file held open is pushed first after this, */
    OPEN_EVERY_MAX_MS = 10000, /* then at longer and longer intervals up to this, */
    OPEN_SIZE_MAX = 16 * 1024 * 1024, /* and not at all above this size */
    PROVE_HERE_MAX = 1024 * 1024,
};

enum readiness { READY, NOT_YET, READY_OPEN };

/* It is held open. A log is sent now and then nevertheless. */
static enum readiness writer_readiness(struct look *l, bool changed)
{
    struct hint *h = l->h;
    uint64_t wait = 5u << (h->tries < 11 ? h->tries : 11);
    if (!h->first_ms)
        h->first_ms = l->now;
    if (!h->push_every_ms) {
        h->push_every_ms = OPEN_FIRST_MS;
        h->next_push_ms = h->first_ms + OPEN_FIRST_MS;
    }
    h->writer = true;
    h->tries++;
    bool send = changed && l->st.st_size > 0 && l->st.st_size <= OPEN_SIZE_MAX;
    if (send && l->now >= h->next_push_ms) {
        h->push_every_ms *= 2;
        if (h->push_every_ms > OPEN_EVERY_MAX_MS)
            h->push_every_ms = OPEN_EVERY_MAX_MS;
        h->next_push_ms = l->now + h->push_every_ms;
        examine_later(l, h->push_every_ms);
        return READY_OPEN;
    }
    uint64_t most = l->st.st_nlink > 1 ? PROBE_LINKED_MS : PROBE_MAX_MS;
    if (wait > most)
        wait = most;
    if (send && l->now + wait > h->next_push_ms)
        wait = h->next_push_ms - l->now;
    examine_later(l, wait);
    return NOT_YET;
}

/* Until when is an empty file held back that nobody has open (now)? Whoever flushes need not wait
 * for long: what goes on writing has it open again by then, and that is seen. */
static uint64_t empty_until(const struct hint *h)
{
    uint64_t most = h->first_ms + EMPTY_MS, soon = h->last_ms + EMPTY_FLUSHED_MS;
    return h->hurried && soon < most ? soon : most;
}

/* A file that was empty before, or has been for long, may stay so. */
static bool hold_empty(const struct look *l)
{
    struct timespec now;
    bool was_empty = l->known && l->record.entry.type == ENTRY_FILE && l->record.entry.size == 0;
    struct bytes key; /* the unit waits in its own way */
    if (unit_rules_match(l->s->site->options.units, look_path(l), false, &key))
        return false;
    clock_gettime(CLOCK_REALTIME, &now);
    return l->st.st_size == 0 && !was_empty && l->now < empty_until(l->h) &&
           now.tv_sec - l->st.st_ctim.tv_sec <= EMPTY_MS / 1000;
}

static bool is_busy_now(int fd)
{
    struct stat st;
    return fstat(fd, &st) < 0 || source_is_busy(fd, &st);
}

static enum readiness readiness(struct look *l, int fd, bool changed)
{
    int writer = source_has_writer(fd);
    if (writer > 0)
        return writer_readiness(l, changed);
    l->h->writer = false;
    if (writer < 0 && (l->now < l->h->last_ms + QUIET_MS || is_busy_now(fd))) {
        examine_later(l, QUIET_MS);
        return NOT_YET;
    }
    if (hold_empty(l)) {
        batch_postpone(l->s->batch, l->h, empty_until(l->h));
        return NOT_YET;
    }
    return READY;
}

/* The validators are those of the manifest, but something was written, or they prove nothing: the
 * content decides. */
static enum examine_outcome check_content(struct look *l)
{
    struct record r = {0};
    if (l->st.st_size > PROVE_HERE_MAX) {
        prover_ask(l->s->scan->prover, l->s->site, look_path(l));
        return EXAMINE_DONE;
    }
    int outcome = prove_read(l->s->site->root, look_path(l), NULL, &r, &l->err);
    struct validators v = validators_of(&l->st);
    if (outcome < 0) {
        log_warn("%s: read %s: %s", l->s->site->label, QUOTED(l->path, l->path_len), l->err.text);
        return EXAMINE_DONE;
    }
    if (outcome != SOURCE_OK || !validators_equal(&r.validators, &v))
        return examine_backoff(l, 1000);
    bool equal = digest_equal(&r.entry.digest, &l->record.entry.digest);
    l->entry.has_digest = true;
    l->entry.digest = r.entry.digest;
    if (examine_put(l, r.flags) < 0)
        return examine_failed(l);
    l->put = !equal;
    if (!equal || (l->h->flags & HINT_OWE))
        examine_owe(l, OWE_KNOWN);
    if (!(r.flags & RECORD_RACY))
        return EXAMINE_DONE;
    l->h->flags = HINT_PROVE;
    return examine_later(l, validators_pause_ms(&v));
}

static unsigned racy_flag(const struct look *l)
{
    struct validators v = validators_of(&l->st);
    return validators_racy(&v, &l->seen) ? RECORD_RACY : 0;
}

static bool same_time_and_size(const struct entry *a, const struct entry *b)
{
    return a->type == ENTRY_FILE && b->type == ENTRY_FILE && a->size == b->size &&
           a->mtime == b->mtime && a->mtime_nsec == b->mtime_nsec;
}

static bool in_doubt(const struct entry *e)
{
    return e->has_digest && digest_is_doubt(&e->digest);
}

/* Time and size may well be what a secondary has already; then only the content can tell that it
 * is behind. No digest would mean that they are believed. So the record equals nobody's until the
 * content was read, even if this process ends before that. */
static unsigned doubt_content(struct look *l)
{
    if (!l->known || l->record.entry.type != ENTRY_FILE)
        return 0;
    l->entry.has_digest = true;
    l->entry.digest = (struct digest){0};
    return RECORD_RACY;
}

/* A large file that was renamed to here and not written since: moved in the manifest, with what is
 * known of its content. 1, 0 it is not that, -1. */
static int follow_rename(struct look *l)
{
    struct record r;
    struct hint *h = l->h, *left;
    char from[PATH_TOTAL_MAX + 1];
    size_t len;
    if (!h->from.dir || (h->flags & HINT_CONTENT) || l->st.st_size < RENAME_FILE_MIN)
        return 0;
    left = batch_find(l->s->batch, h->from);
    if (left && (left->flags & (HINT_CONTENT | HINT_MOVED)))
        return 0; /* written before, or the name is in use again */
    int found = manifest_get(l->t, h->from.dir, h->from.name, &r, &l->err);
    if (found <= 0)
        return found;
    if (r.validators.inode != l->st.st_ino || !same_time_and_size(&r.entry, &l->entry))
        return 0;
    found = manifest_dir_path(l->t, h->from.dir, from, &len, &l->err);
    if (found <= 0 || len + 1 + h->from.name.len > PATH_TOTAL_MAX)
        return found < 0 ? -1 : 0;
    if (len)
        from[len++] = '/';
    memcpy(from + len, h->from.name.data, h->from.name.len);
    len += h->from.name.len;
    struct stat st;
    if (root_stat(l->s->site->root, (struct bytes){from, len}, &st) == 0)
        return 0; /* something is there: two names of one file, or a new one */
    bool proven = r.entry.has_digest && !(r.flags & RECORD_RACY);
    bool doubt = in_doubt(&r.entry);
    struct digest digest = r.entry.digest;
    if (manifest_move(l->t, h->from.dir, h->from.name, l->dir, l->name, &l->err) <= 0)
        return -1;
    outbox_move(&l->s->outbox, (struct bytes){from, len}, look_path(l));
    found = manifest_get(l->t, l->dir, l->name, &l->record, &l->err);
    l->known = found > 0;
    l->entry.has_digest = proven || doubt;
    if (l->entry.has_digest)
        l->entry.digest = digest;
    return found;
}

static enum examine_outcome put_moved(struct look *l)
{
    bool meta = entry_meta_equal(&l->entry, &l->record.entry) &&
                entry_owner_equal(&l->entry, &l->record.entry);
    if (examine_put(l, racy_flag(l) | (in_doubt(&l->entry) ? RECORD_RACY : 0)) < 0)
        return examine_failed(l);
    if (!meta || (l->h->flags & HINT_OWE))
        examine_owe(l, OWE_KNOWN);
    return EXAMINE_DONE;
}

static enum examine_outcome put_changed(struct look *l, bool same, bool open)
{
    unsigned known = l->known && l->record.entry.type == ENTRY_FILE ? OWE_KNOWN : 0;
    bool content = l->h->flags & HINT_CONTENT;
    if (same && !content && !open) { /* owed again only: what is known stays */
        examine_owe(l, known);
        return EXAMINE_DONE;
    }
    if (examine_put(l, racy_flag(l) | doubt_content(l)) < 0)
        return examine_failed(l);
    examine_owe(l, known | (open ? OWE_OPEN : 0));
    if (open) /* next time if it changed again */
        l->h->flags &= ~(unsigned)HINT_OWE;
    return open ? EXAMINE_LATER : EXAMINE_DONE;
}

/* Has nothing changed that the manifest does not know? *checked: the outcome if it can be told. */
static bool settled(struct look *l, enum examine_outcome *outcome)
{
    unsigned flags = l->h->flags;
    bool digest = l->known && l->record.entry.has_digest && !in_doubt(&l->record.entry);
    bool racy = l->record.flags & RECORD_RACY;
    *outcome = EXAMINE_DONE;
    if (!(flags & (HINT_CONTENT | HINT_OWE))) {
        if ((flags & HINT_PROVE) && digest && racy)
            *outcome = check_content(l);
        return true;
    }
    if (!digest || !(flags & HINT_CONTENT))
        return false; /* to be sent (again) */
    *outcome = check_content(l);
    return true;
}

/* The file as it is once nobody writes it: l->st is taken again through fd, and l->entry where that
 * is another; an ACL does not change without the ctime. */
static bool still_the_one(struct look *l, int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_ino != l->st.st_ino)
        return false;
    struct validators before = validators_of(&l->st), now = validators_of(&st);
    l->st = st;
    return validators_equal(&before, &now) || examine_read(l) == 0;
}

static enum examine_outcome put_ready(struct look *l, bool open)
{
    bool same = examine_same(l);
    enum examine_outcome outcome;
    if (same && !open && settled(l, &outcome))
        return outcome;
    if (!same)
        examine_links(l);
    int moved = same || open ? 0 : follow_rename(l);
    if (moved < 0)
        return examine_failed(l);
    return moved ? put_moved(l) : put_changed(l, same, open);
}

enum examine_outcome examine_file(struct look *l)
{
    char name[PATH_NAME_MAX + 1] = "";
    bool same = examine_same(l);
    if (same && !(l->h->flags & (HINT_CONTENT | HINT_OWE | HINT_PROVE)))
        return EXAMINE_DONE;
    memcpy(name, l->name.data, l->name.len);
    int fd CLEANUP_FD =
        openat(l->fd, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ELOOP))
        return examine_later(l, 1);
    if (fd < 0) /* nobody can read it who is like us: whoever sends it will say so */
        return put_ready(l, false);
    enum readiness ready = readiness(l, fd, !same || (l->h->flags & HINT_OWE));
    if (ready == NOT_YET)
        return EXAMINE_LATER;
    if (!still_the_one(l, fd))
        return examine_later(l, 1);
    return put_ready(l, ready == READY_OPEN);
}
