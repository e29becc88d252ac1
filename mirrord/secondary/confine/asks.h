/*
 * What the receiver's two processes say to each other: packets of one socket, each a request, its
 * answer, or a last word. Bytes in and out only. The parent decodes what a process sent that the
 * peer may have taken over: strictly, every length against a limit, nothing left over.
 */
#ifndef SECONDARY_CONFINE_ASKS_H
#define SECONDARY_CONFINE_ASKS_H

#include "base/err.h"
#include "protocol/msg.h"
#include "secondary/receive.h"

enum ask_kind {
    ASK_NUMBER_OF = 1, /* of a user, or (flag) a group: name → number */
    ASK_NAME_OF,       /* number, flag → name */
    ASK_MARK,          /* write the mark `text` into the state directory `name` */
    ASK_PLACE,         /* which root: site `name`, `root` as it was asked for; flag: what is above
                          it may be made */
    ASK_MAKE,          /* make that root; flag: take away again what was just made */
    ASK_EPOCH,         /* present an epoch for it; flag: raise it here; its lock may come, too */
    ASK_YIELD,         /* whoever holds the root's lock for this primary (id) is to end */
    ASK_LINK,          /* owner and times of the link `name` in the directory that comes with it */
    ASK_LOOSEN,        /* u+rwx for the directory `name` in the directory that comes with it */
    ASK_EXCLUDE,       /* which `number`-th path of the site is excluded on this host besides */
    ASK_HOOK,          /* the site `name`: these paths changed; it is not answered */
    ASK_HOOK_STATE,    /* how its command goes; flag: it was opened just now */
    ASK_TOLD,          /* is it through with what had the ticket `count`? */
    ASK_HOLD,          /* its readers, while units are switched; asked until they are */
    ASK_LET_GO,        /* of them: these paths changed; flag: all are told. It is not answered */
    ASK_IN_PLACE,      /* does the path `root` lead to what the sandbox has? */
    ASK_ANSWER,
    ASK_REPORT,  /* the child's last word */
    ASK_REFUSED, /* it made the system call `number`, which it may not */
    ASK_LAST = ASK_REFUSED,
};

enum {
    ASK_NAME_MAX = 255,
    ASK_TEXT_MAX = ERR_TEXT_MAX - 1,
    ASK_RECORDS_MAX = 8192, /* of hook_changes.h */
    ASK_PACKET_MAX =
        64 + ASK_RECORDS_MAX + ASK_NAME_MAX + ASK_TEXT_MAX + MSG_ROOT_MAX + sizeof(struct digest),
};

/* Which fields a kind has is in asks.c's table; the others are zeros. */
struct ask {
    uint8_t kind;
    uint8_t flag;
    uint32_t number, other; /* uid and gid of a link; role of an epoch */
    uint64_t count;         /* an epoch */
    int64_t seconds;
    uint32_t nanoseconds;
    struct digest id;
    struct bytes name; /* without NUL; as all of these, in the bytes that were decoded */
    struct bytes root; /* the same */
    struct bytes text;
    struct bytes records; /* may have NULs */
    struct receive_policy policy;
    int32_t result, code, sys;
};

/* Returns the packet's length; 0: a string is too long for its field, or has a NUL. */
size_t ask_encode(const struct ask *a, uint8_t out[ASK_PACKET_MAX]);

/* False: it is not one. *out's strings point into the packet. */
bool ask_decode(struct bytes packet, struct ask *out);

/* What a function came to: 0, or anything else and then with err, whose text is pointed to. */
void ask_set_result(struct ask *a, int result, const struct err *err);
/* That result; but for 0 with err as it was there. */
int ask_get_result(const struct ask *a, struct err *err);

#endif
