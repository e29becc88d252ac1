/* The packets' codec; see asks.h. One table says which fields each kind has. */
#include "secondary/confine/asks.h"

#include <string.h>

#include "protocol/field.h"

enum field {
    FLAG = 1,
    NUMBER = 2,
    OTHER = 4,
    COUNT = 8,
    TIME = 16,
    ID = 32,
    NAME = 64,
    ROOT = 128,
    TEXT = 256,
    RESULT = 512,
    POLICY = 1024,
    RECORDS = 2048,
};

static const uint16_t fields[ASK_LAST + 1] = {
    [ASK_NUMBER_OF] = FLAG | NAME,
    [ASK_NAME_OF] = FLAG | NUMBER,
    [ASK_MARK] = NAME | TEXT,
    [ASK_PLACE] = FLAG | NAME | ROOT,
    [ASK_MAKE] = FLAG | NAME | ROOT,
    [ASK_EPOCH] = FLAG | NAME | ROOT | COUNT | ID | TEXT,
    [ASK_YIELD] = NAME | ROOT | ID,
    [ASK_LINK] = NAME | NUMBER | OTHER | TIME,
    [ASK_LOOSEN] = NAME,
    [ASK_EXCLUDE] = NUMBER | NAME | ROOT,
    [ASK_HOOK] = NAME | ROOT | RECORDS,
    [ASK_HOOK_STATE] = FLAG | NAME | ROOT,
    [ASK_TOLD] = NAME | ROOT | COUNT,
    [ASK_HOLD] = NAME | ROOT,
    [ASK_LET_GO] = FLAG | NAME | ROOT | RECORDS,
    [ASK_IN_PLACE] = ROOT,
    [ASK_ANSWER] = FLAG | NUMBER | OTHER | COUNT | ID | NAME | ROOT | TEXT | RESULT | POLICY,
    [ASK_REPORT] = TEXT | RESULT,
    [ASK_REFUSED] = NUMBER,
};

static void put_policy(struct wire_writer *w, const struct receive_policy *p)
{
    wire_u8(w, p->said);
    wire_u8(w, p->owner);
    wire_u32(w, p->uid);
    wire_u32(w, p->gid);
    wire_u32(w, p->limit.percent);
    wire_u64(w, p->limit.count);
    wire_u32(w, p->keep_days);
    wire_u32(w, p->unit_grace);
    wire_u8(w, p->hook);
    wire_u8(w, p->on_switch);
    wire_u8(w, p->special_bits);
    wire_u32(w, p->min_free.percent);
    wire_u64(w, p->min_free.bytes);
}

static void get_policy(struct wire_reader *r, struct receive_policy *p)
{
    p->said = field_get_bool(r);
    p->owner = field_get_enum(r, RECEIVE_OWNER_FIXED);
    p->uid = wire_get_u32(r);
    p->gid = wire_get_u32(r);
    p->limit.percent = wire_get_u32(r);
    p->limit.count = wire_get_u64(r);
    p->keep_days = wire_get_u32(r);
    p->unit_grace = wire_get_u32(r);
    p->hook = field_get_bool(r);
    p->on_switch = field_get_bool(r);
    p->special_bits = field_get_bool(r);
    p->min_free.percent = wire_get_u32(r);
    p->min_free.bytes = wire_get_u64(r);
}

static void put(struct wire_writer *w, const struct ask *a, unsigned has)
{
    wire_u8(w, a->kind);
    if (has & FLAG)
        wire_u8(w, a->flag);
    if (has & NUMBER)
        wire_u32(w, a->number);
    if (has & OTHER)
        wire_u32(w, a->other);
    if (has & COUNT)
        wire_u64(w, a->count);
    if (has & TIME) {
        wire_u64(w, (uint64_t)a->seconds);
        wire_u32(w, a->nanoseconds);
    }
    if (has & ID)
        wire_raw(w, &a->id, sizeof a->id);
    if (has & NAME)
        wire_short(w, a->name);
    if (has & ROOT)
        wire_short(w, a->root);
    if (has & TEXT)
        wire_short(w, a->text);
    if (has & RESULT) {
        wire_u32(w, (uint32_t)a->result);
        wire_u32(w, (uint32_t)a->code);
        wire_u32(w, (uint32_t)a->sys);
    }
    if (has & POLICY)
        put_policy(w, &a->policy);
    if (has & RECORDS)
        wire_short(w, a->records);
}

static bool has_nul(struct bytes b)
{
    return b.len && memchr(b.data, '\0', b.len);
}

size_t ask_encode(const struct ask *a, uint8_t out[ASK_PACKET_MAX])
{
    struct wire_writer w = {.max = ASK_PACKET_MAX};
    if (has_nul(a->name) || has_nul(a->root) || has_nul(a->text))
        return 0;
    put(&w, a, fields[a->kind]);
    size_t len = w.bad ? 0 : w.len;
    if (len)
        memcpy(out, w.data, len);
    wire_free(&w);
    return len;
}

/* What is used as a C string at the other side must not end early. */
static struct bytes get_text(struct wire_reader *r, size_t max)
{
    struct bytes b = wire_get_short(r, max);
    r->bad |= has_nul(b);
    return b;
}

bool ask_decode(struct bytes packet, struct ask *out)
{
    struct wire_reader r = wire_reader_of(packet.data, packet.len);
    struct ask a = {.kind = wire_get_u8(&r)};
    unsigned has = a.kind <= ASK_LAST ? fields[a.kind] : 0;
    if (has & FLAG)
        a.flag = wire_get_u8(&r);
    if (has & NUMBER)
        a.number = wire_get_u32(&r);
    if (has & OTHER)
        a.other = wire_get_u32(&r);
    if (has & COUNT)
        a.count = wire_get_u64(&r);
    if (has & TIME) {
        a.seconds = (int64_t)wire_get_u64(&r);
        a.nanoseconds = wire_get_u32(&r);
    }
    if (has & ID)
        wire_get_raw(&r, &a.id, sizeof a.id);
    if (has & NAME)
        a.name = get_text(&r, ASK_NAME_MAX);
    if (has & ROOT)
        a.root = get_text(&r, MSG_ROOT_MAX);
    if (has & TEXT)
        a.text = get_text(&r, ASK_TEXT_MAX);
    if (has & RESULT) {
        a.result = (int32_t)wire_get_u32(&r);
        a.code = (int32_t)wire_get_u32(&r);
        a.sys = (int32_t)wire_get_u32(&r);
    }
    if (has & POLICY)
        get_policy(&r, &a.policy);
    if (has & RECORDS)
        a.records = wire_get_short(&r, ASK_RECORDS_MAX);
    if (!has || a.flag > 1 || !wire_done(&r))
        return false;
    *out = a;
    return true;
}

void ask_set_result(struct ask *a, int result, const struct err *err)
{
    a->result = result;
    if (result == 0)
        return;
    a->code = (int32_t)err->code;
    a->sys = err->sys;
    a->text = (struct bytes){err->text, strnlen(err->text, ASK_TEXT_MAX)};
}

int ask_get_result(const struct ask *a, struct err *err)
{
    if (a->result == 0)
        return 0;
    err_set(err, (enum err_code)a->code, "%.*s", (int)a->text.len,
        a->text.len ? (const char *)a->text.data : "");
    err->sys = a->sys;
    return a->result;
}
