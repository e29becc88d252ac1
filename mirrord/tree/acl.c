/* POSIX ACLs as bytes of the kernel and as text; see acl.h. Knows nothing of files: entry.c reads
 * and sets the extended attributes. */
#include "tree/acl.h"

#include <endian.h>
#include <linux/posix_acl_xattr.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

enum {
    TAG_USER_OBJ = 0x01,
    TAG_USER = 0x02,
    TAG_GROUP_OBJ = 0x04,
    TAG_GROUP = 0x08,
    TAG_MASK = 0x10,
    TAG_OTHER = 0x20,
};

enum {
    ACES_MAX = ENTRY_ACL_MAX / 7, /* the shortest entry, "u::rwx,", has 7 bytes */
    ACE_NAME_MAX = ENTRY_OWNER_MAX + 1,
};

struct ace {
    uint16_t tag;
    uint16_t perm;
    char name[ACE_NAME_MAX]; /* of TAG_USER and TAG_GROUP */
};

static bool tag_has_name(unsigned tag)
{
    return tag == TAG_USER || tag == TAG_GROUP;
}

static char tag_letter(unsigned tag)
{
    switch (tag) {
    case TAG_USER_OBJ:
    case TAG_USER: return 'u';
    case TAG_GROUP_OBJ:
    case TAG_GROUP: return 'g';
    case TAG_MASK: return 'm';
    case TAG_OTHER: return 'o';
    default: return 0;
    }
}

static unsigned tag_of(char letter, bool named)
{
    switch (letter) {
    case 'u': return named ? TAG_USER : TAG_USER_OBJ;
    case 'g': return named ? TAG_GROUP : TAG_GROUP_OBJ;
    case 'm': return named ? 0 : TAG_MASK;
    case 'o': return named ? 0 : TAG_OTHER;
    default: return 0;
    }
}

static int compare_aces(const void *a, const void *b)
{
    const struct ace *x = a, *y = b;
    if (x->tag != y->tag)
        return x->tag < y->tag ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* The name of the number, unless the text could not be read back with it. */
static void name_ace(struct ace *ace, uint32_t id, struct names *names)
{
    struct bytes n = ace->tag == TAG_USER ? names_user(names, id) : names_group(names, id);
    bool usable = n.len > 0 && n.len < ACE_NAME_MAX && !memchr(n.data, ',', n.len) &&
                  !memchr(n.data, ':', n.len);
    if (usable)
        snprintf(ace->name, sizeof ace->name, "%.*s", (int)n.len, (const char *)n.data);
    else
        snprintf(ace->name, sizeof ace->name, "#%u", id);
}

static int read_raw(const void *raw, size_t n, struct names *names, struct ace *aces, size_t *count,
    struct err *err)
{
    struct posix_acl_xattr_header head;
    struct posix_acl_xattr_entry e;
    if (n < sizeof head || (n - sizeof head) % sizeof e != 0 ||
        (n - sizeof head) / sizeof e > ACES_MAX)
        return err_set(err, ERR_FAILED, "ACL of %zu bytes is malformed", n);
    memcpy(&head, raw, sizeof head);
    if (le32toh(head.a_version) != POSIX_ACL_XATTR_VERSION)
        return err_set(err, ERR_FAILED, "ACL has an unknown version");
    *count = (n - sizeof head) / sizeof e;
    for (size_t i = 0; i < *count; i++) {
        memcpy(&e, (const uint8_t *)raw + sizeof head + i * sizeof e, sizeof e);
        aces[i].tag = le16toh(e.e_tag);
        aces[i].perm = le16toh(e.e_perm);
        if (!tag_letter(aces[i].tag))
            return err_set(err, ERR_FAILED, "ACL has an unknown tag %u", aces[i].tag);
        if (tag_has_name(aces[i].tag))
            name_ace(&aces[i], le32toh(e.e_id), names);
    }
    return 0;
}

int acl_to_text(const void *raw, size_t n, bool of_default, struct names *names,
    uint8_t out[ENTRY_ACL_MAX], size_t *len, struct err *err)
{
    struct ace *aces CLEANUP_FREE = mem_array(ACES_MAX, sizeof *aces);
    size_t count = 0, used = 0;
    if (read_raw(raw, n, names, aces, &count, err) != 0)
        return -1;
    if (count <= 3 && !of_default) {
        *len = 0;
        return 0;
    }
    qsort(aces, count, sizeof *aces, compare_aces);
    for (size_t i = 0; i < count; i++) {
        char text[ACE_NAME_MAX + 16];
        int k = snprintf(text, sizeof text, "%s%c:%s:%c%c%c", i ? "," : "", tag_letter(aces[i].tag),
            aces[i].name, aces[i].perm & 4 ? 'r' : '-', aces[i].perm & 2 ? 'w' : '-',
            aces[i].perm & 1 ? 'x' : '-');
        if (used + (size_t)k > ENTRY_ACL_MAX)
            return err_set(err, ERR_FAILED, "ACL is longer than %d bytes", ENTRY_ACL_MAX);
        memcpy(out + used, text, (size_t)k);
        used += (size_t)k;
    }
    *len = used;
    return 0;
}

/* One "u:alice:rw-". */
static int parse_ace(struct bytes text, struct ace *out)
{
    const char *p = text.data;
    if (text.len < 6 || p[1] != ':' || p[text.len - 4] != ':')
        return -1;
    size_t name_len = text.len - 6;
    if (name_len >= ACE_NAME_MAX || memchr(p + 2, '\0', name_len))
        return -1;
    out->tag = (uint16_t)tag_of(p[0], name_len > 0);
    memcpy(out->name, p + 2, name_len);
    out->name[name_len] = '\0';
    out->perm = 0;
    for (unsigned i = 0; i < 3; i++) {
        char c = p[text.len - 3 + i];
        if (c != '-' && c != "rwx"[i])
            return -1;
        out->perm = (uint16_t)(out->perm << 1 | (c != '-'));
    }
    return out->tag && !strchr(out->name, ':') ? 0 : -1;
}

static int number_ace(const struct ace *ace, struct names *names, uint32_t *id, struct err *err)
{
    *id = (uint32_t)-1;
    if (!tag_has_name(ace->tag))
        return 0;
    bool user = ace->tag == TAG_USER;
    struct bytes name = bytes_of(ace->name);
    bool found = ace->name[0] != '#' &&
                 (user ? names_uid(names, name, id) : names_gid(names, name, id)) == 1;
    if (!found)
        return err_set(err, ERR_PARTIAL, "ACL names the %s %s, unknown on this host",
            user ? "user" : "group", QUOTED(name.data, name.len));
    return 0;
}

int acl_from_text(struct bytes text, struct names *names, void **out, size_t *len, struct err *err)
{
    const char *p = text.data, *end = p + text.len;
    size_t max =
        sizeof(struct posix_acl_xattr_header) + ACES_MAX * sizeof(struct posix_acl_xattr_entry);
    if (text.len == 0 || text.len > ENTRY_ACL_MAX)
        return err_set(err, ERR_FAILED, "ACL has %zu bytes of text", text.len);
    uint8_t *raw CLEANUP_FREE = mem_alloc(max);
    struct posix_acl_xattr_header head = {htole32(POSIX_ACL_XATTR_VERSION)};
    size_t used = sizeof head;
    memcpy(raw, &head, sizeof head);
    for (;;) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        const char *stop = comma ? comma : end;
        struct ace ace;
        uint32_t id;
        if (parse_ace((struct bytes){p, (size_t)(stop - p)}, &ace) != 0)
            return err_set(err, ERR_FAILED, "ACL \"%s\" is malformed", QUOTED(text.data, text.len));
        if (number_ace(&ace, names, &id, err) != 0)
            return -1;
        struct posix_acl_xattr_entry e = {htole16(ace.tag), htole16(ace.perm), htole32(id)};
        memcpy(raw + used, &e, sizeof e);
        used += sizeof e;
        if (!comma)
            break;
        p = comma + 1;
    }
    *out = TAKE_PTR(raw);
    *len = used;
    return 0;
}
