/* Two manifests held against each other: only directories whose digests differ are listed, breadth
 * first, several requests under way at once. What differs is collected, matched for moves, judged
 * (would it delete too much? is this the first contact with somebody else's tree?) and then owed.
 * Nothing is changed here. */
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/set.h"
#include "primary/push/peer.h"
#include "primary/push/push_impl.h"
#include "tree/content/digest.h"
#include "tree/manifest/buckets.h"

enum {
    REQUESTS_MAX = 32,
    COPY_MIN = 4096,                   /* smaller files are sent sooner than they are matched */
    CANDIDATE_MAX = 256 * 1024 * 1024, /* larger ones are not read on a guess */
};

struct request { /* a LIST without its last LISTING */
    TAILQ_ENTRY(request) order;
    uint32_t number; /* 0: not asked yet */
    char *path;
    char *last;      /* local name merged last */
    unsigned bits;   /* of the buckets it was asked with; 0: everything is listed */
    uint8_t *differ; /* which of them differ; NULL: not told yet */
};

struct compare {
    struct queue *queue; /* that remembers what is done meanwhile; NULL: of a unit, nothing is */
    struct push_site *ps;
    TAILQ_HEAD(requests, request) requests;
    unsigned asked;
    struct difference *found;
    size_t count, room;
    const struct owed *unit; /* the differences of this unit alone, for whoever asked */
    bool lacking;            /* the directory it is in is not there */
    bool illegal;            /* what was listed is */
    size_t strangers;        /* names that are there alone */
    bool whole;              /* the site, not a subtree: to be judged */
    bool foreign;            /* first contact with a root that holds something */
    uint64_t remote_entries, local_entries;
    uint64_t doomed, newer, older;
    uint64_t other; /* files of which digests alone tell that they differ */
    char *namesake; /* an entry of the far root named as our root is (rsync's habit) */
    char *doomed_example, *newer_example, *other_example;
};

/* A path that was asked for just now and is not under way yet serves. */
static void request_add(struct compare *c, struct bytes path)
{
    const struct request *last = TAILQ_LAST(&c->requests, requests);
    if (last && last->number == 0 && bytes_equal(bytes_of(last->path), path))
        return;
    struct request *r = mem_alloc(sizeof *r);
    r->path = mem_copy_bytes(path.data, path.len);
    TAILQ_INSERT_TAIL(&c->requests, r, order);
}

static void request_free(struct compare *c, struct request *r)
{
    TAILQ_REMOVE(&c->requests, r, order);
    free(r->path);
    free(r->last);
    free(r->differ);
    free(r);
}

void compare_free(struct compare *c)
{
    if (!c)
        return;
    if (c->queue)
        queue_remember(c->queue, c->ps->owed, false);
    while (!TAILQ_EMPTY(&c->requests))
        request_free(c, TAILQ_FIRST(&c->requests));
    for (size_t i = 0; i < c->count; i++) {
        free((void *)c->found[i].path.data);
        free(c->found[i].source);
    }
    free(c->found);
    free(c->namesake);
    free(c->doomed_example);
    free(c->newer_example);
    free(c->other_example);
    free(c);
}

static bool owner_matters(const struct push_site *ps)
{
    return ps->site->options.owner && (ps->caps & CAP_SET_OWNER);
}

static bool sums_equal(
    const struct push_site *ps, const struct msg_sums *a, const struct msg_sums *b)
{
    bool proven = a->unproven == 0 && b->unproven == 0;
    if (ps->site->lost && !proven)
        return false;
    return a->entries == b->entries && digest_equal(&a->meta, &b->meta) &&
           (!owner_matters(ps) || digest_equal(&a->owner, &b->owner)) &&
           (!proven || digest_equal(&a->content, &b->content));
}

static struct difference *add(
    struct compare *c, const char *dir, struct bytes name, enum owed_kind kind)
{
    if (c->count == c->room) {
        c->room = c->room ? c->room * 2 : 64;
        c->found = mem_resize(c->found, c->room, sizeof *c->found);
    }
    struct difference *d = &c->found[c->count++];
    char *path = dir[0] ? mem_format("%s/%.*s", dir, (int)name.len, (const char *)name.data)
                        : mem_copy_bytes(name.data, name.len);
    *d = (struct difference){.path = {path, strlen(path)}, .kind = kind};
    return d;
}

static void describe(struct difference *d, const struct entry *e, const struct msg_sums *sums)
{
    d->type = e->type;
    d->bytes = e->type == ENTRY_DIR ? sums->bytes : e->size;
    d->entries = 1 + (e->type == ENTRY_DIR ? sums->entries : 0);
    d->files = e->type == ENTRY_DIR ? sums->files : 1;
    d->subtree = e->type == ENTRY_DIR;
    d->has_digest = e->has_digest;
    d->digest = e->digest;
    if (sums)
        d->sums = *sums;
}

/* Of a unit: not what is beside it. */
static bool is_meant(const struct compare *c, const char *dir, struct bytes name)
{
    const struct unit_rules *rules = c->ps->site->options.units;
    struct bytes key;
    if (!c->unit)
        return true;
    char *path CLEANUP_FREE =
        dir[0] ? mem_format("%s/%.*s", dir, (int)name.len, (const char *)name.data)
               : mem_copy_bytes(name.data, name.len);
    return unit_rules_match(rules, bytes_of(path), true, &key) &&
           bytes_equal(key, queue_path(c->unit));
}

/* Somebody else's doing, which is left as it is? `ours`: NULL where nothing is here. */
static bool is_left(
    const struct compare *c, const char *dir, struct bytes name, const struct entry *ours)
{
    if (!push_site_leaves_drift(c->ps))
        return false;
    char *path CLEANUP_FREE =
        dir[0] ? mem_format("%s/%.*s", dir, (int)name.len, (const char *)name.data)
               : mem_copy_bytes(name.data, name.len);
    return drifted_leave(c->ps->drifted, bytes_of(path), ours, owner_matters(c->ps));
}

/* It is to be missing there. */
static bool is_lacked(
    const struct compare *c, const char *dir, struct bytes name, const struct record *r)
{
    if (!c->ps->without)
        return false;
    char *path CLEANUP_FREE =
        dir[0] ? mem_format("%s/%.*s", dir, (int)name.len, (const char *)name.data)
               : mem_copy_bytes(name.data, name.len);
    return push_site_lacks(c->ps, bytes_of(path), r->entry.type == ENTRY_DIR);
}

static void only_here(struct compare *c, const char *dir, struct bytes name, const struct record *r,
    const struct msg_sums *sums)
{
    if (is_lacked(c, dir, name, r))
        return;
    if ((dir[0] || name.len) && is_meant(c, dir, name) && !is_left(c, dir, name, &r->entry))
        describe(add(c, dir, name, OWED_CREATE), &r->entry, sums);
}

static void example(char **at, const char *dir, struct bytes name)
{
    if (!*at)
        *at = dir[0] ? mem_format("%s/%.*s", dir, (int)name.len, (const char *)name.data)
                     : mem_copy_bytes(name.data, name.len);
}

static void only_there(struct compare *c, const char *dir, const struct msg_item *i)
{
    if (c->ps->site->options.no_delete || !is_meant(c, dir, i->name) ||
        is_left(c, dir, i->name, NULL))
        return;
    c->strangers++;
    struct difference *d = add(c, dir, i->name, OWED_DELETE);
    describe(d, &i->entry, &i->sums);
    c->doomed += d->entries;
    example(&c->doomed_example, dir, i->name);
}

static bool is_newer(const struct entry *a, const struct entry *b)
{
    return a->mtime > b->mtime || (a->mtime == b->mtime && a->mtime_nsec > b->mtime_nsec);
}

/* What has to be done so that the far entry becomes ours; OWED_ANY: nothing. */
static enum owed_kind difference_of(
    const struct push_site *ps, const struct entry *ours, const struct entry *theirs)
{
    bool meta =
        entry_meta_equal(ours, theirs) && (!owner_matters(ps) || entry_owner_equal(ours, theirs));
    if (ours->type != theirs->type || ours->type == ENTRY_LINK)
        return meta ? OWED_ANY : OWED_UPDATE;
    if (ours->type == ENTRY_DIR)
        return meta ? OWED_ANY : OWED_META;
    bool known = ours->has_digest && theirs->has_digest;
    bool same_time = ours->mtime == theirs->mtime && ours->mtime_nsec == theirs->mtime_nsec;
    if (!entry_content_equal(ours, theirs) || (!known && !same_time))
        return OWED_UPDATE;
    /* After a power loss at this end the far one may have lost content under an unchanged time.
     * What it has is known there, what it should have only by reading: then the digest is sent. */
    bool doubtful = ps->site->lost && !ours->has_digest && theirs->has_digest;
    return meta && !doubtful ? OWED_ANY : OWED_META;
}

/* Neither size nor time tell: was it changed under them, or taken over so? */
static void note_other(struct compare *c, const char *dir, struct bytes name,
    const struct entry *ours, const struct entry *theirs)
{
    if (ours->type != ENTRY_FILE || theirs->type != ENTRY_FILE || ours->size != theirs->size ||
        ours->mtime != theirs->mtime || ours->mtime_nsec != theirs->mtime_nsec ||
        entry_content_equal(ours, theirs) || digest_is_doubt(&ours->digest))
        return;
    c->other++;
    example(&c->other_example, dir, name);
}

static void on_both(struct compare *c, const char *dir, const struct msg_item *theirs,
    const struct record *ours, const struct msg_sums *sums)
{
    bool dirs = ours->entry.type == ENTRY_DIR && theirs->entry.type == ENTRY_DIR;
    enum owed_kind kind = difference_of(c->ps, &ours->entry, &theirs->entry);
    if ((kind != OWED_ANY || dirs) && !is_meant(c, dir, theirs->name))
        return;
    if (kind != OWED_ANY && is_left(c, dir, theirs->name, &ours->entry))
        kind = OWED_ANY;
    if (kind != OWED_ANY) {
        struct difference *d = add(c, dir, theirs->name, kind);
        describe(d, &ours->entry, sums);
        d->has_theirs = theirs->entry.type == ENTRY_FILE && theirs->entry.has_digest &&
                        theirs->entry.size == ours->entry.size;
        d->theirs = theirs->entry.digest;
        d->was_dir = theirs->entry.type == ENTRY_DIR;
        note_other(c, dir, theirs->name, &ours->entry, &theirs->entry);
        if (dirs) { /* the directory alone; what is in it is listed */
            d->subtree = false;
            d->entries = 1;
            d->bytes = 0;
        } else if (is_newer(&theirs->entry, &ours->entry)) {
            c->newer++;
            example(&c->newer_example, dir, theirs->name);
        } else {
            c->older++;
        }
    }
    if (!dirs || sums_equal(c->ps, sums, &theirs->sums))
        return;
    char *path CLEANUP_FREE =
        dir[0] ? mem_format("%s/%.*s", dir, (int)theirs->name.len, (const char *)theirs->name.data)
               : mem_copy_bytes(theirs->name.data, theirs->name.len);
    request_add(c, bytes_of(path));
}

static void note_namesake(struct compare *c, const char *dir, struct bytes name)
{
    if (dir[0] || !c->foreign || c->namesake)
        return;
    const char *last = strrchr(root_path(c->ps->site->root), '/');
    if (last && last[1] && bytes_equal(name, bytes_of(last + 1)))
        c->namesake = mem_copy_bytes(name.data, name.len);
}

/* The local side of a merge. */
struct local {
    struct manifest_txn *t;
    uint64_t dir;
    bool there; /* name and record are valid */
    struct bytes name;
    struct record record;
    struct msg_sums sums;
};

static int local_next(struct local *l, struct bytes after, struct err *err)
{
    struct bytes name;
    int r = manifest_next(l->t, l->dir, after, &name, &l->record, err);
    if (r < 0)
        return -1;
    l->there = r == 1;
    l->name = name;
    l->sums = (struct msg_sums){0};
    if (l->there && l->record.entry.type == ENTRY_DIR)
        return manifest_sums(l->t, l->record.dir, &l->sums, err);
    return 0;
}

/* A name that was not listed may be there, too: its bucket does not differ. */
static bool is_missing_there(const struct request *r, struct bytes name)
{
    return r->bits == 0 || buckets_differ(r->differ, buckets_index(name, r->bits));
}

/* Our names up to `upto` (all, when it is NULL) that the far end has not. */
static int pass_over(struct compare *c, struct request *r, struct local *l,
    const struct bytes *upto, struct err *err)
{
    while (l->there && (!upto || bytes_compare(l->name, *upto) < 0)) {
        if (is_missing_there(r, l->name))
            only_here(c, r->path, l->name, &l->record, &l->sums);
        if (local_next(l, l->name, err) < 0)
            return -1;
    }
    return 0;
}

/* A far end that lists names without end would be believed, and take all memory. */
static int check_strangers(
    const struct push *p, const struct compare *c, const struct request *r, struct err *err)
{
    size_t limit = p->o->strangers ? p->o->strangers : MSG_STRANGERS_MAX;
    if (c->strangers <= limit)
        return 0;
    return err_set(err, ERR_REFUSED,
        "it lists more than %zu names that are not here, the last ones in /%s: exclude what they "
        "are "
        "in, or remove them there",
        limit, QUOTED(r->path, strlen(r->path)));
}

static int merge_items(struct compare *c, struct request *r, struct local *l,
    const struct msg_listing *m, struct err *err)
{
    struct wire_reader items = wire_reader_of(m->items.data, m->items.len);
    struct msg_item i = {.name = bytes_of(r->last)}; /* names rise across frames, too */
    for (unsigned n = 0; n < m->count; n++) {
        struct bytes before = i.name;
        msg_item_decode(&items, &i);
        c->illegal = items.bad || bytes_compare(before, i.name) >= 0;
        if (c->illegal)
            return err_set(err, ERR_FAILED, "its listing of a directory is malformed");
        note_namesake(c, r->path, i.name);
        if (pass_over(c, r, l, &i.name, err) < 0)
            return -1;
        if (l->there && bytes_equal(l->name, i.name)) {
            on_both(c, r->path, &i, &l->record, &l->sums);
            if (local_next(l, l->name, err) < 0)
                return -1;
        } else {
            only_there(c, r->path, &i);
        }
    }
    if (m->last)
        return pass_over(c, r, l, NULL, err);
    char *last = mem_copy_bytes(i.name.data, i.name.len); /* may be the one before */
    free(r->last);
    r->last = last;
    return 0;
}

static int merge(struct compare *c, struct request *r, const struct msg_listing *m, struct err *err)
{
    struct local l = {0};
    struct record dir;
    uint64_t parent;
    if (manifest_begin(c->ps->site->manifest, false, &l.t, err) < 0)
        return -1;
    int found = manifest_lookup(l.t, bytes_of(r->path), &dir, &parent, err);
    if (found == 1 && (dir.entry.type == ENTRY_DIR || !r->path[0])) {
        l.dir = r->path[0] ? dir.dir : MANIFEST_ROOT;
        found = local_next(&l, bytes_of(r->last), err);
        if (found == 0)
            found = merge_items(c, r, &l, m, err);
    }
    manifest_abort(l.t);
    return found < 0 ? -1 : 0;
}

/* A directory under both digests that only equal subtrees share. */
static void directory_key(const struct msg_sums *s, uint8_t key[32])
{
    memcpy(key, s->meta.b, 16);
    memcpy(key + 16, s->content.b, 16);
}

static bool movable_file(const struct difference *d)
{
    return d->type == ENTRY_FILE && d->has_digest && d->bytes >= COPY_MIN;
}

static bool movable_dir(const struct difference *d)
{
    return d->type == ENTRY_DIR && d->subtree && d->sums.unproven == 0 && d->sums.entries > 0;
}

static size_t key_of(const struct difference *d, uint8_t key[32])
{
    if (movable_dir(d)) {
        directory_key(&d->sums, key);
        return 32;
    }
    memcpy(key, d->digest.b, 16);
    return movable_file(d) ? 16 : 0;
}

/* A new file of a size that is to be deleted there: its content may be the same, which is worth
 * reading it. */
static void read_candidate(struct compare *c, const struct set *sizes, struct difference *d)
{
    struct stat st;
    struct err err;
    if (d->kind != OWED_CREATE || d->type != ENTRY_FILE || d->has_digest || d->bytes < COPY_MIN ||
        d->bytes > CANDIDATE_MAX || !set_find(sizes, &d->bytes, sizeof d->bytes))
        return;
    int fd CLEANUP_FD = root_open_file(c->ps->site->root, d->path, &st);
    d->has_digest = fd >= 0 && (uint64_t)st.st_size == d->bytes &&
                    digest_of_fd(fd, d->bytes, &d->digest, &err) == 0;
}

/* What is to be deleted there: by content, and (files) by size. */
static void collect_doomed(struct compare *c, struct set *doomed, struct set *sizes)
{
    uint8_t key[32];
    for (size_t i = 0; i < c->count; i++) {
        struct difference *d = &c->found[i];
        size_t n = d->kind == OWED_DELETE ? key_of(d, key) : 0;
        if (n)
            set_add(doomed, key, n)->value = d;
        if (n && d->type == ENTRY_FILE)
            set_add(sizes, &d->bytes, sizeof d->bytes);
    }
}

/* What is new here and equal to something that is to be deleted there was moved. */
static void match_moves(struct compare *c)
{
    struct set *doomed = set_new(), *sizes = set_new();
    uint8_t key[32];
    collect_doomed(c, doomed, sizes);
    for (size_t i = 0; i < c->count && set_count(doomed) > 0; i++) {
        struct difference *d = &c->found[i];
        read_candidate(c, sizes, d);
        size_t n = d->kind == OWED_CREATE ? key_of(d, key) : 0;
        struct set_item *match = n ? set_find(doomed, key, n) : NULL;
        if (!match)
            continue;
        struct difference *from = match->value;
        if (!push_site_may_move(c->ps, from->path, d->path))
            continue;
        d->source = mem_copy_bytes(from->path.data, from->path.len);
        if (d->type != ENTRY_DIR)
            continue; /* copied; the source is deleted when that is done */
        d->kind = OWED_MOVE;
        from->taken = true;
        c->doomed -= from->entries;
        set_remove(doomed, match);
    }
    set_free(doomed);
    set_free(sizes);
}

static bool adopts(const struct push_site *ps)
{
    return ps->site->options.adopt || ps->adopt;
}

static int judge_first_contact(const struct compare *c, struct err *err)
{
    if (!c->foreign || adopts(c->ps) || c->ps->force)
        return 0;
    if (c->namesake)
        return err_set(err, ERR_REFUSED,
            "the far root was not made by mirrord and already holds an entry named %s: did you "
            "mean "
            "that one? (SRC and SRC/ both mean the content of SRC.) Nothing was changed; "
            "--adopt goes on all the same",
            QUOTED(c->namesake, strlen(c->namesake)));
    if (c->doomed)
        return err_set(err, ERR_REFUSED,
            "the far root was not made by mirrord and %llu of its %llu entries would be deleted, "
            "for "
            "example %s. Nothing was changed; look with -n --itemize, then allow it with --adopt",
            (unsigned long long)c->doomed, (unsigned long long)c->remote_entries,
            QUOTED(c->doomed_example, strlen(c->doomed_example)));
    if (c->newer > c->older)
        return err_set(err, ERR_REFUSED,
            "the far root was not made by mirrord and %llu of the %llu differing files are newer "
            "there, for example %s. Is this the right direction? Nothing was changed; --adopt "
            "goes on all the same",
            (unsigned long long)c->newer, (unsigned long long)(c->newer + c->older),
            QUOTED(c->newer_example, strlen(c->newer_example)));
    return 0;
}

static int judge_deletions(const struct compare *c, struct err *err)
{
    const struct site_options *o = &c->ps->site->options;
    struct deletions_limit limit = site_limit(c->ps->site);
    if (o->force || c->ps->force || (c->foreign && adopts(c->ps)) || limit.percent >= 100 ||
        !c->doomed)
        return 0;
    if (c->local_entries == 0)
        return err_set(err, ERR_REFUSED,
            "the root is empty, and all %llu entries there would be deleted. Nothing was changed; "
            "if that is right, use --force",
            (unsigned long long)c->remote_entries);
    if (!deletions_too_many(&limit, c->doomed + c->ps->deleted, c->ps->deleted_from))
        return 0;
    if (c->ps->deleted)
        return err_set(err, ERR_REFUSED,
            "%llu entries would be deleted, after %llu within the last minutes, of %llu: more than "
            "max-delete allows (%u %% and %u), for example %s. Nothing was changed; if that is "
            "right, use --force",
            (unsigned long long)c->doomed, (unsigned long long)c->ps->deleted,
            (unsigned long long)c->ps->deleted_from, o->max_delete_percent, o->max_delete_count,
            QUOTED(c->doomed_example, strlen(c->doomed_example)));
    return err_set(err, ERR_REFUSED,
        "%llu of %llu entries would be deleted, more than max-delete allows (%u %% and %u), for "
        "example %s. Nothing was changed; if that is right, use --force",
        (unsigned long long)c->doomed, (unsigned long long)c->remote_entries, o->max_delete_percent,
        o->max_delete_count, QUOTED(c->doomed_example, strlen(c->doomed_example)));
}

static void owe(struct push *p, struct compare *c, const struct difference *d)
{
    struct push_site *ps = c->ps;
    unsigned flags =
        OWE_BULK | (d->subtree ? OWE_SUBTREE : 0) | (d->type == ENTRY_DIR ? OWE_DIR : 0);
    if (d->taken ||
        (!d->subtree && d->kind != OWED_MOVE && queue_sent(c->queue, ps->owed, d->path)))
        return;
    ps->counts.owed += d->entries;
    ps->counts.owed_bytes += d->kind == OWED_DELETE ? 0 : d->bytes;
    if (d->kind == OWED_MOVE)
        queue_move(p->o->queue, ps->owed, bytes_of(d->source), d->path);
    else
        queue_owe(p->o->queue, ps->owed, d->path, flags, d->kind, bytes_of(d->source),
            d->subtree ? 0 : d->bytes, d->files);
    queue_backdate(p->o->queue, ps->owed, d->path);
}

static void finish(struct push *p, struct compare *c)
{
    struct push_site *ps = c->ps;
    struct err err;
    match_moves(c);
    bool held = c->whole && (judge_first_contact(c, &err) < 0 || judge_deletions(c, &err) < 0);
    if (held && ps->site->options.dry_run) { /* shown all the same: nothing is changed */
        log_warn(
            "%s: %s: without --dry-run this is refused: %s", p->o->name, ps->site->label, err.text);
        held = false;
    }
    for (size_t i = 0; i < c->count && !held; i++)
        if (c->found[i].kind != OWED_DELETE)
            owe(p, c, &c->found[i]);
    for (size_t i = 0; i < c->count && !held; i++)
        if (c->found[i].kind == OWED_DELETE)
            owe(p, c, &c->found[i]);
    if (c->other && !held && !p->o->once)
        log_warn("%s: %s: %llu file%s had the size and time of ours there, but other content, for "
                 "example %s: sent anew",
            p->o->name, ps->site->label, (unsigned long long)c->other, c->other == 1 ? "" : "s",
            QUOTED(c->other_example, strlen(c->other_example)));
    log_debug("%s: %s: compared, %zu differences%s", p->o->name, ps->site->label, c->count,
        held ? ", held" : "");
    ps->state = held ? PUSH_HELD : PUSH_OPEN;
    ps->unjudged = false;
    if (held)
        push_site_error(ps, &err, (struct bytes){0});
    compare_free(c);
    ps->compare = NULL;
    ps->comparing = false;
    p->o->hooks.changed(p->o->hooks.ctx);
}

/* The root itself, and whether anything beneath it has to be looked at. */
static int start_whole(
    struct push *p, struct compare *c, const struct msg_opened *m, struct err *err)
{
    struct push_site *ps = c->ps;
    struct manifest_txn *t;
    struct msg_sums ours;
    struct record root;
    uint64_t parent;
    if (manifest_begin(ps->site->manifest, false, &t, err) < 0)
        return -1;
    int r = manifest_sums(t, MANIFEST_ROOT, &ours, err);
    if (r == 0)
        r = manifest_lookup(t, (struct bytes){0}, &root, &parent, err);
    if (r == 1) {
        ps->counts.examined = ours.entries;
        c->local_entries = ours.entries;
        push_proof_begin(ps, ours.unproven, m->sums.unproven);
        if (difference_of(ps, &root.entry, &m->root) != OWED_ANY &&
            !is_left(c, "", (struct bytes){0}, &root.entry))
            queue_owe(p->o->queue, ps->owed, (struct bytes){0}, OWE_BULK, OWED_META,
                (struct bytes){0}, 0, 0);
        if (!sums_equal(ps, &ours, &m->sums))
            request_add(c, (struct bytes){0});
    }
    manifest_abort(t);
    return r == 1 ? 0 : r == 0 ? err_set(err, ERR_FAILED, "the root is not in the manifest") : -1;
}

void compare_start(
    struct push *p, struct push_site *ps, struct bytes top, const struct msg_opened *m)
{
    struct err err;
    if (ps->compare) { /* one at a time: the next looks at everything */
        if (m) {
            compare_free(ps->compare);
            ps->compare = NULL;
        } else {
            request_add(ps->compare, top);
            return;
        }
    }
    struct compare *c = mem_alloc(sizeof *c);
    c->ps = ps;
    c->queue = p->o->queue;
    queue_remember(c->queue, ps->owed, true);
    TAILQ_INIT(&c->requests);
    ps->compare = c;
    ps->comparing = true;
    if (!m) {
        request_add(c, top);
        return;
    }
    c->whole = true;
    c->foreign = m->state == ROOT_FOREIGN;
    c->remote_entries = m->sums.entries;
    ps->state = PUSH_COMPARING;
    ps->unjudged = c->foreign;
    if (start_whole(p, c, m, &err) == 0)
        return;
    push_site_error(ps, &err, (struct bytes){0});
    ps->state = PUSH_FAILED;
    compare_free(c);
    ps->compare = NULL;
    ps->comparing = false;
}

/* What we have of the directory, in buckets. False: it is to be listed whole. At the first contact
 * every name of the far root is of interest. */
static bool make_buckets(const struct compare *c, const struct request *r, struct buckets *out)
{
    struct manifest *manifest = c->ps->site->manifest;
    struct manifest_txn *t;
    struct record dir = {.dir = MANIFEST_ROOT};
    uint64_t parent;
    struct err err;
    if (c->foreign || manifest_begin(manifest, false, &t, &err) < 0)
        return false;
    int found = r->path[0] ? manifest_lookup(t, bytes_of(r->path), &dir, &parent, &err) : 1;
    manifest_abort(t);
    if (found != 1 || !dir.dir ||
        buckets_make(manifest, dir.dir, owner_matters(c->ps), BUCKETS_BITS_MAX, out, &err) < 0)
        return false;
    buckets_fold(out, buckets_suit(out->entries));
    return out->bits > 0;
}

static void ask(struct push *p, const struct compare *c, struct request *r)
{
    struct msg_list m = {.request = r->number, .site = c->ps->number, .path = bytes_of(r->path)};
    struct buckets *b = mem_alloc(sizeof *b);
    uint8_t *encoded CLEANUP_FREE = NULL;
    if (make_buckets(c, r, b)) {
        r->bits = b->bits;
        encoded = mem_alloc(BUCKETS_BYTES(b->bits));
        buckets_encode(b, encoded);
        m.buckets = (struct bytes){encoded, BUCKETS_BYTES(b->bits)};
    }
    msg_put_list(&p->out, &m);
    free(b);
}

bool compare_step(struct push *p, struct push_site *ps)
{
    struct compare *c = ps->compare;
    if (!c)
        return false;
    if (TAILQ_EMPTY(&c->requests)) {
        finish(p, c);
        return true;
    }
    return compare_ask(p, c);
}

struct compare *compare_unit(struct push_site *ps, const struct owed *unit)
{
    struct compare *c = mem_alloc(sizeof *c);
    c->ps = ps;
    c->unit = unit;
    TAILQ_INIT(&c->requests);
    request_add(c, unit_rules_parent(ps->site->options.units, queue_path(unit)));
    return c;
}

bool compare_is_over(const struct compare *c)
{
    return TAILQ_EMPTY(&c->requests);
}

bool compare_lacks_parent(const struct compare *c)
{
    return c->lacking;
}

const struct difference *compare_found(const struct compare *c, size_t i)
{
    return i < c->count ? &c->found[i] : NULL;
}

bool compare_is_asking(const struct compare *c)
{
    return c->asked > 0;
}

bool compare_ask(struct push *p, struct compare *c)
{
    if (c->asked >= REQUESTS_MAX)
        return false;
    struct request *r;
    TAILQ_FOREACH (r, &c->requests, order)
        if (r->number == 0)
            break;
    if (!r)
        return false;
    r->number = ++p->next_request;
    c->asked++;
    ask(p, c, r);
    return true;
}

/* Keeps which buckets differ; false where the answer does not fit the question. */
static bool take_differ(struct request *r, const struct msg_listing *m)
{
    if (m->missing)
        r->bits = 0;
    bool expected = r->bits > 0 && !r->differ;
    if (m->differ.len != (expected ? BUCKETS_DIFFER(r->bits) : 0))
        return false;
    if (expected)
        r->differ = memcpy(mem_alloc(m->differ.len), m->differ.data, m->differ.len);
    return true;
}

static struct request *find_in(struct compare *c, uint32_t number)
{
    struct request *r;
    if (c)
        TAILQ_FOREACH (r, &c->requests, order)
            if (r->number == number)
                return r;
    return NULL;
}

static struct request *find(struct push *p, uint32_t number, struct compare **c)
{
    struct push_site *ps;
    struct request *r;
    TAILQ_FOREACH (ps, p->o->sites, order)
        if ((r = find_in(ps->compare, number))) {
            *c = ps->compare;
            return r;
        }
    for (struct unit_push *u = NULL; (u = unit_push_each(p, u, c));)
        if ((r = find_in(*c, number)))
            return r;
    return NULL;
}

int compare_listing(struct push *p, const struct msg_listing *m, struct err *err)
{
    struct compare *c = NULL;
    struct request *r = m->request ? find(p, m->request, &c) : NULL;
    if (m->request == 0 || m->request > p->next_request)
        return err_set(err, ERR_FAILED, "it answered a LIST that it was not sent");
    if (!r)
        return 0; /* of a comparison that was given up meanwhile */
    if (!take_differ(r, m))
        return err_set(err, ERR_FAILED, "its listing of a directory is malformed");
    if (merge(c, r, m, err) < 0) {
        p->complaint = c->illegal ? REASON_MALFORMED : REASON_INTERNAL;
        return -1;
    }
    if (check_strangers(p, c, r, err) < 0) {
        push_site_give_up(p, c->ps, err); /* and with it this comparison */
        return 0;
    }
    if (!m->last)
        return 0;
    c->lacking |= c->unit && m->missing;
    if (m->missing && r->path[0] && !c->unit) {
        queue_owe(p->o->queue, c->ps->owed, bytes_of(r->path), OWE_BULK | OWE_SUBTREE, OWED_CREATE,
            (struct bytes){0}, 0, 0);
        queue_backdate(p->o->queue, c->ps->owed, bytes_of(r->path));
    }
    c->asked--;
    request_free(c, r);
    return 0;
}
