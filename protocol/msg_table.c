/* Names of message types and reasons, for logs and for people. */
#include "protocol/msg.h"

struct msg_name_row {
    uint16_t value;
    const char *name;
};

static const struct msg_name_row msg_types[] = {
    {MSG_HELLO, "HELLO"},
    {MSG_ERROR, "ERROR"},
    {MSG_PING, "PING"},
    {MSG_PONG, "PONG"},
    {MSG_BYE, "BYE"},
    {MSG_OPEN, "OPEN"},
    {MSG_LIST, "LIST"},
    {MSG_BEGIN, "BEGIN"},
    {MSG_ENTRY, "ENTRY"},
    {MSG_DATA, "DATA"},
    {MSG_FINISH, "FINISH"},
    {MSG_DELETE, "DELETE"},
    {MSG_MOVE, "MOVE"},
    {MSG_ABORT, "ABORT"},
    {MSG_COMMIT, "COMMIT"},
    {MSG_CLOSE, "CLOSE"},
    {MSG_UNIT, "UNIT"},
    {MSG_DROP, "DROP"},
    {MSG_LEVEL, "LEVEL"},
    {MSG_CLAIM, "CLAIM"},
    {MSG_RANGE, "RANGE"},
    {MSG_PACK, "PACK"},
    {MSG_RENEW, "RENEW"},
    {MSG_TELL, "TELL"},
    {MSG_BUNDLE, "BUNDLE"},
    {MSG_OWED, "OWED"},
    {MSG_OPENED, "OPENED"},
    {MSG_LISTING, "LISTING"},
    {MSG_SIGNATURE, "SIGNATURE"},
    {MSG_ACK, "ACK"},
    {MSG_PROGRESS, "PROGRESS"},
    {MSG_SITE_ERROR, "SITE_ERROR"},
    {MSG_CLAIMED, "CLAIMED"},
    {MSG_TRASH, "TRASH"},
    {MSG_DRIFT, "DRIFT"},
    {MSG_HOOK, "HOOK"},
    {MSG_EXTENTS, "EXTENTS"},
    {MSG_RENEWED, "RENEWED"},
    {MSG_SPACE, "SPACE"},
    {MSG_TOLD, "TOLD"},
    {MSG_PROVING, "PROVING"},
};

static const struct msg_name_row msg_reasons[] = {
    {REASON_NONE, "none"},
    {REASON_MALFORMED, "malformed"},
    {REASON_VERSION, "version"},
    {REASON_PATH, "path"},
    {REASON_LIMIT, "limit"},
    {REASON_LOCKED, "locked"},
    {REASON_NO_ROOT, "no-root"},
    {REASON_FENCED, "fenced"},
    {REASON_HELD, "held"},
    {REASON_IO, "io"},
    {REASON_NEED_CONTENT, "need-content"},
    {REASON_NO_PARENT, "no-parent"},
    {REASON_OWNER, "owner"},
    {REASON_INTERNAL, "internal"},
    {REASON_YIELD, "yield"},
    {REASON_FULL, "full"},
};

static const char *msg_find_name(const struct msg_name_row *rows, size_t n, uint16_t value)
{
    for (size_t i = 0; i < n; i++)
        if (rows[i].value == value)
            return rows[i].name;
    return "unknown";
}

const char *msg_name(uint8_t type)
{
    return msg_find_name(msg_types, sizeof(msg_types) / sizeof(msg_types[0]), type);
}

const char *msg_reason_name(uint16_t reason)
{
    return msg_find_name(msg_reasons, sizeof(msg_reasons) / sizeof(msg_reasons[0]), reason);
}

const char *msg_piecemeal_text(unsigned flags)
{
    if (flags & ACK_MOUNT)
        return "another filesystem is mounted in it";
    if (flags & ACK_EXCLUDED)
        return "it holds entries that are not mirrored";
    if (flags & ACK_EXCHANGE)
        return "directories cannot be exchanged on that filesystem";
    return flags & ACK_LINK ? "files cannot be linked there" : "unknown";
}
