/*
 * Which message is legal when, and who takes it: one table, in which legality is checked. PACK and
 * BUNDLE are unpacked here, since what they hold is taken as if it had come in their place.
 */
#include "base/log.h"
#include "base/mem.h"
#include "secondary/commit/atom.h"
#include "secondary/commit/batch.h"
#include "secondary/session/session_impl.h"

/* Messages of batches and atoms: decode, then batch.c and atom.c. */
#define MESSAGE(name, function)                                                                    \
    static int on_##name(struct session *s, struct bytes payload, struct err *err)                 \
    {                                                                                              \
        struct msg_##name m;                                                                       \
        if (!msg_get_##name(payload, &m))                                                          \
            return UNREADABLE;                                                                     \
        return function(&s->tools, &m, err);                                                       \
    }

MESSAGE(begin, batch_open)
MESSAGE(entry, atom_entry)
MESSAGE(data, atom_data)
MESSAGE(range, atom_range)
MESSAGE(finish, atom_finish)
MESSAGE(delete, atom_delete)
MESSAGE(move, atom_move)
MESSAGE(abort, atom_abort)
MESSAGE(commit, batch_commit)
MESSAGE(unit, atom_unit)
MESSAGE(drop, batch_drop)

static message_handler on_pack, on_bundle;

static const struct handler {
    uint8_t type;
    uint8_t legal;  /* enum phase, or'ed */
    uint16_t since; /* the protocol's version; 0: it was always there */
    message_handler *handle;
} handlers[] = {
    {MSG_HELLO, BEFORE_HELLO, 0, on_hello},
    {MSG_ERROR, BEFORE_HELLO | AFTER_HELLO, 0, on_error},
    {MSG_PING, AFTER_HELLO, 0, on_ping},
    {MSG_BYE, AFTER_HELLO, 0, on_bye},
    {MSG_RENEW, AFTER_HELLO, MSG_VERSION_RENEW, on_renew},
    {MSG_OPEN, AFTER_HELLO, 0, on_open},
    {MSG_CLOSE, AFTER_HELLO, 0, on_close},
    {MSG_LIST, AFTER_HELLO, 0, on_list},
    {MSG_LEVEL, AFTER_HELLO, 0, on_level},
    {MSG_OWED, AFTER_HELLO, MSG_VERSION_NEWS, on_owed},
    {MSG_CLAIM, AFTER_HELLO, 0, on_claim},
    {MSG_TELL, AFTER_HELLO, MSG_VERSION_NEWS, on_tell},
    {MSG_BEGIN, AFTER_HELLO, 0, on_begin},
    {MSG_ENTRY, AFTER_HELLO, 0, on_entry},
    {MSG_PACK, AFTER_HELLO, 0, on_pack},
    {MSG_BUNDLE, AFTER_HELLO, MSG_VERSION_BUNDLE, on_bundle},
    {MSG_DATA, AFTER_HELLO, 0, on_data},
    {MSG_RANGE, AFTER_HELLO, 0, on_range},
    {MSG_FINISH, AFTER_HELLO, 0, on_finish},
    {MSG_DELETE, AFTER_HELLO, 0, on_delete},
    {MSG_MOVE, AFTER_HELLO, 0, on_move},
    {MSG_ABORT, AFTER_HELLO, 0, on_abort},
    {MSG_COMMIT, AFTER_HELLO, 0, on_commit},
    {MSG_UNIT, AFTER_HELLO, 0, on_unit},
    {MSG_DROP, AFTER_HELLO, 0, on_drop},
};

static int unreadable(struct session *s, const struct frame *f, struct err *err)
{
    s->tools.reason = msg_fault(f);
    return s->tools.reason == REASON_PATH
               ? err_set(err, ERR_REFUSED, "a refused path in a message: %s", msg_name(f->type))
               : err_set(err, ERR_FAILED, "a malformed %s message", msg_name(f->type));
}

static const struct handler *find_handler(const struct session *s, uint8_t type)
{
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++)
        if (handlers[i].type == type && (handlers[i].legal & s->phase))
            return &handlers[i];
    return NULL;
}

int dispatch(struct session *s, const struct frame *f, struct err *err)
{
    const struct handler *h = find_handler(s, f->type);
    s->tools.reason = REASON_MALFORMED;
    log_debug("%s, %zu bytes", msg_name(f->type), f->payload.len);
    if (!h)
        return err_set(
            err, ERR_FAILED, "message %s (%u) is not legal here", msg_name(f->type), f->type);
    if (s->tools.version < h->since)
        return err_set(
            err, ERR_FAILED, "%s in a session of version %u", msg_name(f->type), s->tools.version);
    int r = h->handle(s, f->payload, err);
    return r == UNREADABLE ? unreadable(s, f, err) : r;
}

/* One ENTRY of what came packed, whose numbers are counted from these. */
static int on_packed(
    struct session *s, struct frame *f, uint32_t batch, uint32_t atom, struct err *err)
{
    uint32_t b, a;
    s->tools.reason = REASON_MALFORMED;
    if (f->type != MSG_ENTRY || f->payload.len < MSG_NUMBERS)
        return err_set(err, ERR_FAILED, "something else than ENTRYs came packed");
    msg_entry_numbers(f->payload.data, &b, &a);
    msg_entry_renumber((uint8_t *)f->payload.data, batch + b, atom + a);
    return dispatch(s, f, err);
}

/* As if what it unpacks to had come in its place. */
static int unpack(
    struct session *s, struct bytes content, uint32_t batch, uint32_t atom, struct err *err)
{
    struct frame f;
    size_t n = 0, at = 0;
    if (!s->plain)
        s->plain = mem_alloc(MSG_CHUNK_MAX);
    if (zip_unpack(s->tools.zip, content.data, content.len, s->plain, MSG_CHUNK_MAX, &n, err) < 0)
        return -1;
    do {
        int length = frame_next(s->plain + at, n - at, &f);
        if (length <= 0) {
            s->tools.reason = REASON_MALFORMED;
            return err_set(err, ERR_FAILED, "part of a message came packed");
        }
        if (on_packed(s, &f, batch, atom, err) < 0)
            return -1;
        at += (size_t)length;
    } while (at < n);
    return 0;
}

static int on_pack(struct session *s, struct bytes payload, struct err *err)
{
    struct msg_pack m;
    return msg_get_pack(payload, &m) ? unpack(s, m.content, 0, 0, err) : UNREADABLE;
}

static int on_bundle(struct session *s, struct bytes payload, struct err *err)
{
    struct msg_bundle m;
    return msg_get_bundle(payload, &m) ? unpack(s, m.content, m.batch, m.atom, err) : UNREADABLE;
}
