/* The codec of what is left, and the sites taken over one by one; see renewal.h. How one is opened
 * without a walk is opening.c's. */
#include "secondary/confine/renewal.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "protocol/field.h"
#include "secondary/site/drift.h"

enum {
    LEFT_MAX = 64 * 1024 * 1024,
    INPUT_MAX = 1024 * 1024,
};

int renewal_file(struct err *err)
{
    int fd = memfd_create("mirrord-renewal", MFD_CLOEXEC);
    return fd < 0 ? err_sys(err, errno, "memfd_create") : fd;
}

/* --- leaving --- */

static bool is_carried_on(const struct replica *r)
{
    return r->state != REPLICA_FAILED && !(r->flags & OPEN_DRY_RUN);
}

static void put_site(struct wire_writer *w, const struct replica *r)
{
    struct digest filter;
    uint64_t due = r->drift ? drift_due(r->drift) : 0;
    filter_digest(r->filter, &filter);
    wire_blob(w, r->opened_by);
    wire_u8(w, r->state == REPLICA_OPEN);
    wire_u8(w, r->checkpoint != NULL);
    wire_u8(w, r->distrust);
    wire_u8(w, r->settle != NULL);
    wire_u8(w, drift_found(r->drift));
    wire_u32(w, r->flags);
    wire_u64(w, r->session_before);
    wire_u64(w, due);
    wire_u32(w, r->policy.owner);
    wire_u32(w, r->policy.uid);
    wire_u32(w, r->policy.gid);
    wire_raw(w, &filter, sizeof filter);
    wire_short(w, bytes_of(r->path));
}

static void put_session(struct wire_writer *w, const struct tools *t)
{
    wire_u16(w, t->version);
    wire_raw(w, &t->peer, sizeof t->peer);
    wire_short(w, t->peer_host);
    wire_u32(w, t->last_batch);
    wire_u32(w, t->last_atom);
}

int renewal_leave(const struct tools *tools, struct bytes input, int fd, struct err *err)
{
    struct wire_writer w = {.max = LEFT_MAX};
    uint32_t count = 0;
    put_session(&w, tools);
    wire_blob(&w, input);
    for (struct set_item *i = set_first(tools->replicas); i; i = i->next)
        count += is_carried_on(i->value);
    wire_u32(&w, count);
    for (struct set_item *i = set_first(tools->replicas); i; i = i->next)
        if (is_carried_on(i->value))
            put_site(&w, i->value);
    int bad = w.bad ? err_set(err, ERR_FAILED, "too much is open to be handed over")
              : io_pwrite_full(fd, w.data, w.len, 0) < 0 ? err_sys(err, errno, "hand over")
                                                         : 0;
    wire_free(&w);
    return bad;
}

/* --- taking over --- */

static void get_site(struct wire_reader *r, struct bytes *open, struct replica_before *b)
{
    *open = wire_get_blob(r, FRAME_PAYLOAD_MAX);
    b->open = field_get_bool(r);
    b->counted = field_get_bool(r);
    b->distrust = field_get_bool(r);
    b->settling = field_get_bool(r);
    b->drift_found = field_get_bool(r);
    b->flags = wire_get_u32(r);
    b->session_before = wire_get_u64(r);
    b->drift_due = wire_get_u64(r);
    b->owner = wire_get_u32(r);
    b->uid = wire_get_u32(r);
    b->gid = wire_get_u32(r);
    wire_get_raw(r, &b->filter, sizeof b->filter);
    b->path = wire_get_short(r, MSG_ROOT_MAX);
}

static void get_session(struct wire_reader *r, struct tools *t)
{
    t->version = wire_get_u16(r);
    wire_get_raw(r, &t->peer, sizeof t->peer);
    struct bytes host = wire_get_short(r, MSG_TEXT_MAX);
    t->peer_host = (struct bytes){mem_copy_bytes(host.data, host.len), host.len};
    t->last_batch = wire_get_u32(r);
    t->last_atom = wire_get_u32(r);
}

static int nonsense(struct err *err)
{
    return err_set(err, ERR_FAILED, "what the process before left cannot be read");
}

static int take_site(struct tools *t, struct wire_reader *r, struct err *err)
{
    struct replica_before before;
    struct bytes payload;
    struct msg_open *m CLEANUP_FREE = mem_alloc(sizeof *m);
    get_site(r, &payload, &before);
    if (r->bad || !msg_get_open(payload, m))
        return nonsense(err);
    m->flags = before.flags & m->flags;
    return replica_open(t, m, payload, &before, err);
}

static int read_all(int fd, uint8_t **out, size_t *len, struct err *err)
{
    off_t size = lseek(fd, 0, SEEK_END);
    if (size < 0 || size > LEFT_MAX)
        return nonsense(err);
    *out = mem_alloc((size_t)size + 1);
    ssize_t n = io_pread_full(fd, *out, (size_t)size, 0);
    if (n < 0)
        return err_sys(err, errno, "take over");
    *len = (size_t)n;
    return 0;
}

int renewal_take(struct tools *tools, int fd, struct buf *in, struct err *err)
{
    uint8_t *all CLEANUP_FREE = NULL;
    size_t len = 0;
    tools->reason = REASON_INTERNAL;
    if (read_all(fd, &all, &len, err) < 0)
        return -1;
    struct wire_reader r = wire_reader_of(all, len);
    get_session(&r, tools);
    struct bytes input = wire_get_blob(&r, INPUT_MAX);
    uint32_t count = wire_get_u32(&r);
    if (input.len)
        buf_append(in, input.data, input.len);
    for (uint32_t i = 0; i < count && !r.bad; i++)
        if (take_site(tools, &r, err) < 0 || outbox_flush(&tools->out, err) < 0)
            return -1;
    return wire_done(&r) ? 0 : nonsense(err);
}
