/* One row a message type: how to decode it and encode it again. It judges nothing itself. */
#include "tests/fuzz/again.h"

#define AGAIN(name, what, type, put)                                                               \
    static bool again_##name(struct bytes payload, struct wire_writer *w)                          \
    {                                                                                              \
        type m;                                                                                    \
        if (!msg_get_##what(payload, &m))                                                          \
            return false;                                                                          \
        msg_put_##put(w, &m);                                                                      \
        return true;                                                                               \
    }

AGAIN(hello, hello, struct msg_hello, hello)
AGAIN(error, error, struct msg_error, error)
AGAIN(ping, ping, struct msg_ping, ping)
AGAIN(pong, ping, struct msg_ping, pong)
AGAIN(open, open, struct msg_open, open)
AGAIN(opened, opened, struct msg_opened, opened)
AGAIN(close, close, struct msg_close, close)
AGAIN(site_error, site_error, struct msg_site_error, site_error)
AGAIN(level, level, struct msg_level, level)
AGAIN(owed, owed, struct msg_owed, owed)
AGAIN(claim, claim, struct msg_claim, claim)
AGAIN(claimed, claimed, struct msg_claimed, claimed)
AGAIN(progress, progress, struct msg_progress, progress)
AGAIN(trash, trash, struct msg_trash, trash)
AGAIN(hook, hook, struct msg_hook, hook)
AGAIN(tell, tell, struct msg_tell, tell)
AGAIN(told, tell, struct msg_tell, told)
AGAIN(space, space, struct msg_space, space)
AGAIN(proving, proving, struct msg_proving, proving)
AGAIN(drift, drift, struct msg_drift, drift)
AGAIN(list, list, struct msg_list, list)
AGAIN(listing, listing, struct msg_listing, listing)
AGAIN(begin, begin, struct msg_begin, begin)
AGAIN(entry, entry, struct msg_entry, entry)
AGAIN(data, data, struct msg_data, data)
AGAIN(finish, finish, struct msg_finish, finish)
AGAIN(delete, delete, struct msg_delete, delete)
AGAIN(unit, unit, struct msg_unit, unit)
AGAIN(drop, drop, struct msg_drop, drop)
AGAIN(move, move, struct msg_move, move)
AGAIN(abort, abort, struct msg_abort, abort)
AGAIN(commit, commit, struct msg_commit, commit)
AGAIN(pack, pack, struct msg_pack, pack)
AGAIN(bundle, bundle, struct msg_bundle, bundle)
AGAIN(signature, signature, struct msg_signature, signature)
AGAIN(ack, ack, struct msg_ack, ack)
AGAIN(extents, extents, struct msg_extents, extents)
AGAIN(range, range, struct msg_range, range)
AGAIN(renewed, renewed, struct msg_renewed, renewed)

static bool again_bye(struct bytes payload, struct wire_writer *w)
{
    if (!msg_get_bye(payload))
        return false;
    msg_put_bye(w);
    return true;
}

static bool again_renew(struct bytes payload, struct wire_writer *w)
{
    if (!msg_get_renew(payload))
        return false;
    msg_put_renew(w);
    return true;
}

static const struct {
    uint8_t type;
    bool (*again)(struct bytes payload, struct wire_writer *w);
} again_rows[] = {
    {MSG_HELLO, again_hello},
    {MSG_ERROR, again_error},
    {MSG_PING, again_ping},
    {MSG_PONG, again_pong},
    {MSG_BYE, again_bye},
    {MSG_OPEN, again_open},
    {MSG_LIST, again_list},
    {MSG_BEGIN, again_begin},
    {MSG_ENTRY, again_entry},
    {MSG_DATA, again_data},
    {MSG_FINISH, again_finish},
    {MSG_DELETE, again_delete},
    {MSG_UNIT, again_unit},
    {MSG_DROP, again_drop},
    {MSG_MOVE, again_move},
    {MSG_ABORT, again_abort},
    {MSG_COMMIT, again_commit},
    {MSG_CLOSE, again_close},
    {MSG_LEVEL, again_level},
    {MSG_OWED, again_owed},
    {MSG_CLAIM, again_claim},
    {MSG_PACK, again_pack},
    {MSG_BUNDLE, again_bundle},
    {MSG_OPENED, again_opened},
    {MSG_LISTING, again_listing},
    {MSG_SIGNATURE, again_signature},
    {MSG_ACK, again_ack},
    {MSG_PROGRESS, again_progress},
    {MSG_SITE_ERROR, again_site_error},
    {MSG_CLAIMED, again_claimed},
    {MSG_TRASH, again_trash},
    {MSG_SPACE, again_space},
    {MSG_TELL, again_tell},
    {MSG_TOLD, again_told},
    {MSG_PROVING, again_proving},
    {MSG_DRIFT, again_drift},
    {MSG_HOOK, again_hook},
    {MSG_EXTENTS, again_extents},
    {MSG_RANGE, again_range},
    {MSG_RENEW, again_renew},
    {MSG_RENEWED, again_renewed},
};

bool again_message(uint8_t type, struct bytes payload, struct wire_writer *w)
{
    for (size_t i = 0; i < sizeof(again_rows) / sizeof(again_rows[0]); i++)
        if (again_rows[i].type == type)
            return again_rows[i].again(payload, w);
    return false;
}
