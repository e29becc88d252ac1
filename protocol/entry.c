/*
 * The encoding of an entry, and which combinations of its fields make sense. There is exactly one
 * encoding for an entry, so equal entries are equal bytes.
 */
#include "protocol/entry.h"

#include "protocol/field.h"
#include "protocol/path.h"

enum { ENTRY_HAS_DIGEST = 1, ENTRY_MODE_MAX = 07777, ENTRY_NSEC_MAX = 999999999 };

void entry_encode(struct wire_writer *w, const struct entry *e)
{
    wire_u8(w, e->type);
    wire_u8(w, e->has_digest ? ENTRY_HAS_DIGEST : 0);
    wire_u16(w, e->mode);
    wire_u64(w, (uint64_t)e->mtime);
    wire_u32(w, e->mtime_nsec);
    wire_u64(w, e->size);
    wire_short(w, e->owner);
    wire_short(w, e->group);
    wire_short(w, e->target);
    wire_short(w, e->acl);
    wire_short(w, e->default_acl);
    if (e->has_digest)
        field_put_digest(w, &e->digest);
}

static bool entry_is_nothing(const struct entry *e)
{
    return !e->has_digest && e->mode == 0 && e->mtime == 0 && e->mtime_nsec == 0 && e->size == 0 &&
           e->owner.len == 0 && e->group.len == 0 && e->target.len == 0 && e->acl.len == 0 &&
           e->default_acl.len == 0;
}

/* Each type has its own fields, and none of another's. */
static bool entry_fits_type(const struct entry *e)
{
    switch (e->type) {
    case ENTRY_NONE: return entry_is_nothing(e);
    case ENTRY_FILE: return e->target.len == 0 && e->default_acl.len == 0;
    case ENTRY_DIR: return e->target.len == 0 && e->size == 0 && !e->has_digest;
    case ENTRY_LINK:
        return e->target.len > 0 && e->mode == 0 && e->size == 0 && !e->has_digest &&
               e->acl.len == 0 && e->default_acl.len == 0;
    default: return false;
    }
}

void entry_decode(struct wire_reader *r, struct entry *out)
{
    *out = (struct entry){.type = field_get_enum(r, ENTRY_LINK)};
    out->has_digest = field_get_bool(r);
    out->mode = wire_get_u16(r);
    out->mtime = (int64_t)wire_get_u64(r);
    out->mtime_nsec = wire_get_u32(r);
    out->size = field_get_size(r);
    out->owner = field_get_text(r, ENTRY_OWNER_MAX);
    out->group = field_get_text(r, ENTRY_OWNER_MAX);
    out->target = field_get_text(r, PATH_TARGET_MAX);
    out->acl = wire_get_short(r, ENTRY_ACL_MAX);
    out->default_acl = wire_get_short(r, ENTRY_ACL_MAX);
    if (out->has_digest)
        field_get_digest(r, &out->digest);
    field_require(r, out->mode <= ENTRY_MODE_MAX && out->mtime_nsec <= ENTRY_NSEC_MAX);
    field_require(r, entry_fits_type(out));
}
