/*
 * The messages about a site: opening and closing it, its errors and progress, and the listings by
 * which two manifests are compared.
 */
#include <string.h>

#include "protocol/field.h"
#include "protocol/msg_impl.h"

void msg_put_open(struct wire_writer *w, const struct msg_open *m)
{
    size_t start = frame_begin(w, MSG_OPEN);
    wire_u32(w, m->site);
    wire_short(w, m->name);
    wire_short(w, m->root);
    wire_u64(w, m->epoch);
    field_put_digest(w, &m->epoch_id);
    wire_u64(w, m->session);
    wire_u64(w, m->known);
    wire_u32(w, m->flags);
    wire_u8(w, m->max_delete_percent);
    wire_u32(w, m->max_delete_count);
    wire_u16(w, m->keep_days);
    wire_u32(w, m->unit_grace);
    wire_u16(w, m->rule_count);
    for (size_t i = 0; i < m->rule_count; i++) {
        wire_u8(w, m->rules[i].include);
        wire_short(w, m->rules[i].pattern);
    }
    frame_end(w, start);
}

/* A site's name becomes a file's name at the far end. */
static bool msg_site_name_valid(struct bytes name)
{
    return name.len == 0 || path_name_valid(name);
}

/* Absolute, and no way up: a fence is compared by its leading part. */
static bool msg_root_valid(struct bytes root)
{
    const char *p = root.data;
    if (root.len == 0)
        return true;
    if (p[0] != '/')
        return false;
    for (size_t at = 1; at < root.len;) {
        const char *slash = memchr(p + at, '/', root.len - at);
        size_t end = slash != NULL ? (size_t)(slash - p) : root.len;
        if (end - at == 2 && memcmp(p + at, "..", 2) == 0)
            return false;
        at = end + 1;
    }
    return true;
}

static void msg_get_rule(struct wire_reader *r, struct msg_rule *out)
{
    out->include = field_get_bool(r);
    out->pattern = field_get_text(r, MSG_RULE_MAX);
    field_require(r, out->pattern.len > 0);
}

void msg_read_open(struct wire_reader *r, struct msg_open *out)
{
    out->site = wire_get_u32(r);
    out->name = wire_get_short(r, UINT16_MAX);
    field_require_name(r, msg_site_name_valid(out->name));
    out->root = field_get_text(r, MSG_ROOT_MAX);
    field_require_name(r, msg_root_valid(out->root));
    out->epoch = wire_get_u64(r);
    field_get_digest(r, &out->epoch_id);
    out->session = wire_get_u64(r);
    out->known = wire_get_u64(r);
    out->flags = wire_get_u32(r);
    out->max_delete_percent = wire_get_u8(r);
    out->max_delete_count = wire_get_u32(r);
    out->keep_days = wire_get_u16(r);
    out->unit_grace = wire_get_u32(r);
    out->rule_count = wire_get_u16(r);
    field_require(r, (out->flags & ~(uint32_t)OPEN_FLAGS_ALL) == 0);
    field_require(r, out->max_delete_percent <= 100);
    field_require(r, out->keep_days <= MSG_KEEP_DAYS_MAX);
    field_require(r, out->unit_grace <= MSG_UNIT_GRACE_MAX);
    field_require(r, out->rule_count <= MSG_RULES_MAX);
    for (size_t i = 0; !r->bad && i < out->rule_count; i++)
        msg_get_rule(r, &out->rules[i]);
}

bool msg_get_open(struct bytes payload, struct msg_open *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    msg_read_open(&r, out);
    return wire_done(&r);
}

static void msg_put_sums(struct wire_writer *w, const struct msg_sums *s)
{
    field_put_digest(w, &s->meta);
    field_put_digest(w, &s->owner);
    field_put_digest(w, &s->content);
    wire_u64(w, s->entries);
    wire_u64(w, s->files);
    wire_u64(w, s->bytes);
    wire_u64(w, s->unproven);
}

static void msg_get_sums(struct wire_reader *r, struct msg_sums *out)
{
    field_get_digest(r, &out->meta);
    field_get_digest(r, &out->owner);
    field_get_digest(r, &out->content);
    out->entries = wire_get_u64(r);
    out->files = wire_get_u64(r);
    out->bytes = wire_get_u64(r);
    out->unproven = wire_get_u64(r);
}

void msg_put_opened(struct wire_writer *w, const struct msg_opened *m)
{
    size_t start = frame_begin(w, MSG_OPENED);
    wire_u32(w, m->site);
    wire_u8(w, m->state);
    wire_u32(w, m->caps);
    entry_encode(w, &m->root);
    msg_put_sums(w, &m->sums);
    wire_u64(w, m->free_bytes);
    wire_u64(w, m->deleted);
    wire_u64(w, m->deleted_from);
    wire_u64(w, m->session);
    frame_end(w, start);
}

/* A root is a directory; only one that a dry run did not make is nothing. */
static bool msg_opened_fits(const struct msg_opened *m)
{
    if (m->state < ROOT_CREATED || (m->caps & ~(uint32_t)CAPS_ALL) != 0)
        return false;
    return m->root.type == ENTRY_DIR || (m->root.type == ENTRY_NONE && m->state == ROOT_CREATED);
}

bool msg_get_opened(struct bytes payload, struct msg_opened *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->site = wire_get_u32(&r);
    out->state = field_get_enum(&r, ROOT_OURS);
    out->caps = wire_get_u32(&r);
    entry_decode(&r, &out->root);
    msg_get_sums(&r, &out->sums);
    out->free_bytes = wire_get_u64(&r);
    out->deleted = wire_get_u64(&r);
    out->deleted_from = wire_get_u64(&r);
    out->session = wire_get_u64(&r);
    field_require(&r, msg_opened_fits(out));
    return wire_done(&r);
}

void msg_put_close(struct wire_writer *w, const struct msg_close *m)
{
    size_t start = frame_begin(w, MSG_CLOSE);
    wire_u32(w, m->site);
    frame_end(w, start);
}

bool msg_get_close(struct bytes payload, struct msg_close *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->site = wire_get_u32(&r);
    return wire_done(&r);
}

void msg_put_site_error(struct wire_writer *w, const struct msg_site_error *m)
{
    size_t start = frame_begin(w, MSG_SITE_ERROR);
    wire_u32(w, m->site);
    wire_u16(w, m->reason);
    wire_u32(w, m->errno_value);
    wire_short(w, m->text);
    wire_u64(w, m->epoch);
    field_put_digest(w, &m->epoch_id);
    wire_short(w, m->primary);
    frame_end(w, start);
}

bool msg_get_site_error(struct bytes payload, struct msg_site_error *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->site = wire_get_u32(&r);
    out->reason = field_get_reason(&r);
    out->errno_value = wire_get_u32(&r);
    out->text = field_get_text(&r, MSG_TEXT_MAX);
    out->epoch = wire_get_u64(&r);
    field_get_digest(&r, &out->epoch_id);
    out->primary = field_get_text(&r, MSG_HOST_MAX);
    return wire_done(&r);
}

void msg_put_level(struct wire_writer *w, const struct msg_level *m)
{
    size_t start = frame_begin(w, MSG_LEVEL);
    wire_u32(w, m->site);
    frame_end(w, start);
}

bool msg_get_level(struct bytes payload, struct msg_level *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->site = wire_get_u32(&r);
    return wire_done(&r);
}

void msg_put_owed(struct wire_writer *w, const struct msg_owed *m)
{
    size_t start = frame_begin(w, MSG_OWED);
    wire_u32(w, m->site);
    wire_u8(w, m->flags);
    wire_u64(w, m->paths);
    wire_u64(w, m->failing);
    wire_u64(w, m->age_ms);
    frame_end(w, start);
}

bool msg_get_owed(struct bytes payload, struct msg_owed *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->site = wire_get_u32(&r);
    out->flags = wire_get_u8(&r);
    out->paths = wire_get_u64(&r);
    out->failing = wire_get_u64(&r);
    out->age_ms = wire_get_u64(&r);
    field_require(&r, !(out->flags & ~(OWED_LEVEL | OWED_PAUSED)));
    field_require(&r, out->failing <= out->paths && (out->paths || !out->age_ms));
    field_require(&r, !(out->flags & OWED_LEVEL) || out->paths == 0);
    return wire_done(&r);
}

void msg_put_progress(struct wire_writer *w, const struct msg_progress *m)
{
    size_t start = frame_begin(w, MSG_PROGRESS);
    wire_u32(w, m->site);
    wire_u64(w, m->done);
    frame_end(w, start);
}

bool msg_get_progress(struct bytes payload, struct msg_progress *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->site = wire_get_u32(&r);
    out->done = wire_get_u64(&r);
    return wire_done(&r);
}

void msg_put_trash(struct wire_writer *w, const struct msg_trash *m)
{
    size_t start = frame_begin(w, MSG_TRASH);
    wire_u32(w, m->site);
    wire_u64(w, m->foreign);
    wire_u64(w, m->foreign_bytes);
    wire_u64(w, m->kept);
    frame_end(w, start);
}

bool msg_get_trash(struct bytes payload, struct msg_trash *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->site = wire_get_u32(&r);
    out->foreign = wire_get_u64(&r);
    out->foreign_bytes = wire_get_u64(&r);
    out->kept = wire_get_u64(&r);
    return wire_done(&r);
}

void msg_put_hook(struct wire_writer *w, const struct msg_hook *m)
{
    size_t start = frame_begin(w, MSG_HOOK);
    wire_u32(w, m->site);
    wire_u32(w, m->failures);
    wire_u64(w, m->since);
    wire_short(w, m->text);
    frame_end(w, start);
}

bool msg_get_hook(struct bytes payload, struct msg_hook *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->site = wire_get_u32(&r);
    out->failures = wire_get_u32(&r);
    out->since = wire_get_u64(&r);
    out->text = field_get_text(&r, MSG_TEXT_MAX);
    field_require(&r, out->failures || (!out->since && !out->text.len));
    return wire_done(&r);
}

static void put_token(struct wire_writer *w, enum msg_type type, const struct msg_tell *m)
{
    size_t start = frame_begin(w, type);
    wire_u32(w, m->site);
    wire_u64(w, m->token);
    frame_end(w, start);
}

void msg_put_tell(struct wire_writer *w, const struct msg_tell *m)
{
    put_token(w, MSG_TELL, m);
}

void msg_put_told(struct wire_writer *w, const struct msg_tell *m)
{
    put_token(w, MSG_TOLD, m);
}

bool msg_get_tell(struct bytes payload, struct msg_tell *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->site = wire_get_u32(&r);
    out->token = wire_get_u64(&r);
    return wire_done(&r);
}

void msg_put_proving(struct wire_writer *w, const struct msg_proving *m)
{
    size_t start = frame_begin(w, MSG_PROVING);
    wire_u32(w, m->site);
    wire_u64(w, m->unproven);
    frame_end(w, start);
}

bool msg_get_proving(struct bytes payload, struct msg_proving *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->site = wire_get_u32(&r);
    out->unproven = wire_get_u64(&r);
    return wire_done(&r);
}

void msg_put_space(struct wire_writer *w, const struct msg_space *m)
{
    size_t start = frame_begin(w, MSG_SPACE);
    wire_u32(w, m->site);
    wire_u64(w, m->free_bytes);
    wire_u64(w, m->all_bytes);
    wire_u64(w, m->free_files);
    wire_u64(w, m->all_files);
    wire_u64(w, m->keep_bytes);
    wire_u64(w, m->keep_files);
    frame_end(w, start);
}

bool msg_get_space(struct bytes payload, struct msg_space *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->site = wire_get_u32(&r);
    out->free_bytes = wire_get_u64(&r);
    out->all_bytes = wire_get_u64(&r);
    out->free_files = wire_get_u64(&r);
    out->all_files = wire_get_u64(&r);
    out->keep_bytes = wire_get_u64(&r);
    out->keep_files = wire_get_u64(&r);
    return wire_done(&r);
}

void msg_put_drift(struct wire_writer *w, const struct msg_drift *m)
{
    size_t start = frame_begin(w, MSG_DRIFT);
    wire_u32(w, m->site);
    wire_u8(w, m->kind);
    wire_short(w, m->path);
    entry_encode(w, &m->committed);
    frame_end(w, start);
}

void msg_read_drift(struct wire_reader *r, struct msg_drift *out)
{
    out->site = wire_get_u32(r);
    out->kind = field_get_enum(r, DRIFT_TIMES);
    field_require(r, out->kind >= DRIFT_CHANGED);
    out->path = field_get_path(r);
    entry_decode(r, &out->committed);
    bool none = out->committed.type == ENTRY_NONE, dir = out->committed.type == ENTRY_DIR;
    field_require(r, none == (out->kind == DRIFT_ADDED));
    field_require(r, dir || (out->kind != DRIFT_TIMES && out->path.len > 0));
}

bool msg_get_drift(struct bytes payload, struct msg_drift *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    msg_read_drift(&r, out);
    return wire_done(&r);
}

void msg_put_list(struct wire_writer *w, const struct msg_list *m)
{
    size_t start = frame_begin(w, MSG_LIST);
    wire_u32(w, m->request);
    wire_u32(w, m->site);
    wire_short(w, m->path);
    wire_blob(w, m->buckets);
    frame_end(w, start);
}

/* None, or as many as a power of two. */
static bool buckets_valid(struct bytes buckets)
{
    size_t n = buckets.len / sizeof(uint64_t);
    return buckets.len % sizeof(uint64_t) == 0 && n != 1 && (n & (n - 1)) == 0;
}

void msg_read_list(struct wire_reader *r, struct msg_list *out)
{
    out->request = wire_get_u32(r);
    out->site = wire_get_u32(r);
    out->path = field_get_path(r);
    out->buckets = wire_get_blob(r, MSG_BUCKETS_MAX * sizeof(uint64_t));
    field_require(r, buckets_valid(out->buckets));
}

bool msg_get_list(struct bytes payload, struct msg_list *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    msg_read_list(&r, out);
    return wire_done(&r);
}

void msg_item_encode(struct wire_writer *w, const struct msg_item *m)
{
    wire_short(w, m->name);
    entry_encode(w, &m->entry);
    if (m->entry.type == ENTRY_DIR)
        msg_put_sums(w, &m->sums);
}

void msg_item_decode(struct wire_reader *r, struct msg_item *out)
{
    out->name = field_get_name(r);
    out->sums = (struct msg_sums){0};
    entry_decode(r, &out->entry);
    field_require(r, out->entry.type != ENTRY_NONE);
    if (out->entry.type == ENTRY_DIR)
        msg_get_sums(r, &out->sums);
}

void msg_put_listing(struct wire_writer *w, const struct msg_listing *m)
{
    size_t start = frame_begin(w, MSG_LISTING);
    wire_u32(w, m->request);
    wire_u8(w, m->last);
    wire_u8(w, m->missing);
    wire_u16(w, m->count);
    wire_short(w, m->differ);
    wire_blob(w, m->items);
    frame_end(w, start);
}

/* Exactly `count` valid items, their names rising; a fault among them is one of the message. */
static void msg_check_items(struct wire_reader *whole, struct bytes items, size_t count)
{
    struct wire_reader r = wire_reader_of(items.data, items.len);
    struct bytes before = {NULL, 0};
    for (size_t i = 0; !r.bad && i < count; i++) {
        struct msg_item item;
        msg_item_decode(&r, &item);
        field_require(&r, bytes_compare(before, item.name) < 0);
        before = item.name;
    }
    field_require_name(whole, !r.refused);
    field_require(whole, wire_done(&r));
}

void msg_read_listing(struct wire_reader *r, struct msg_listing *out)
{
    out->request = wire_get_u32(r);
    out->last = field_get_bool(r);
    out->missing = field_get_bool(r);
    out->count = wire_get_u16(r);
    out->differ = wire_get_short(r, MSG_BUCKETS_MAX / 8);
    out->items = wire_get_blob(r, MSG_LISTING_MAX);
    field_require(r, out->count <= MSG_ITEMS_MAX);
    field_require(r, !out->missing || (out->last && out->count == 0 && out->differ.len == 0));
    if (!r->bad)
        msg_check_items(r, out->items, out->count);
}

bool msg_get_listing(struct bytes payload, struct msg_listing *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    msg_read_listing(&r, out);
    return wire_done(&r);
}
