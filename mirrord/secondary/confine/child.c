/* Questions to the parent; see child.h. Its answers are believed: it is outside of the sandbox. */
#include "secondary/confine/child.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "secondary/confine/packet.h"
#include "secondary/hook/hold.h"
#include "secondary/hook/hook.h"

/* True: it was answered. */
static bool ask(int *socket, const struct ask *question, int fd, struct packet *answer)
{
    return packet_send(*socket, question, fd) && packet_receive(*socket, answer) &&
           answer->ask.kind == ASK_ANSWER;
}

/* The same, and what the answer says of success: its result, or -1 with err. */
static int ask_for(
    int *socket, const struct ask *question, int fd, struct packet *answer, struct err *err)
{
    if (!ask(socket, question, fd, answer))
        return err_set(err, ERR_FAILED, "the receiver's parent does not answer");
    return ask_get_result(&answer->ask, err);
}

static void copy_text(char *out, size_t size, struct bytes text)
{
    snprintf(out, size, "%.*s", (int)text.len, text.len ? (const char *)text.data : "");
}

static int ask_number(void *ctx, bool group, const char *name, unsigned *id)
{
    struct packet p;
    struct ask q = {.kind = ASK_NUMBER_OF, .flag = group, .name = bytes_of(name)};
    if (!ask(ctx, &q, -1, &p) || p.ask.result != 1)
        return 0;
    *id = p.ask.number;
    return 1;
}

static int ask_name(void *ctx, bool group, unsigned id, char name[256])
{
    struct packet p;
    struct ask q = {.kind = ASK_NAME_OF, .flag = group, .number = id};
    if (!ask(ctx, &q, -1, &p) || p.ask.result != 1)
        return 0;
    copy_text(name, 256, p.ask.name);
    return 1;
}

static int ask_mark(void *ctx, const char *name, const struct mark *m, struct err *err)
{
    struct packet p;
    char line[MARK_TEXT_MAX];
    mark_format(m, line);
    struct ask q = {.kind = ASK_MARK, .name = bytes_of(name), .text = bytes_of(line)};
    return ask_for(ctx, &q, -1, &p, err);
}

static int ask_place(
    void *ctx, const struct outside_site *s, bool make, struct outside_place *out, struct err *err)
{
    struct packet p;
    struct ask q = {.kind = ASK_PLACE, .flag = make, .name = s->name, .root = s->asked};
    *out = (struct outside_place){0};
    if (ask_for(ctx, &q, -1, &p, err))
        return -1;
    out->barred = p.ask.flag;
    out->no_way = p.ask.number;
    out->policy = p.ask.policy;
    out->root = mem_copy_bytes(p.ask.root.data, p.ask.root.len);
    copy_text(out->stage, sizeof out->stage, p.ask.name);
    return 0;
}

static int ask_exclude(
    void *ctx, const struct outside_site *s, unsigned number, char **pattern, struct err *err)
{
    struct packet p;
    struct ask q = {.kind = ASK_EXCLUDE, .number = number, .name = s->name, .root = s->asked};
    if (ask_for(ctx, &q, -1, &p, err))
        return -1;
    if (p.ask.flag)
        *pattern = mem_copy_bytes(p.ask.root.data, p.ask.root.len);
    return p.ask.flag;
}

static int ask_in_place(void *ctx, const char *root)
{
    struct packet p;
    struct ask q = {.kind = ASK_IN_PLACE, .root = bytes_of(root)};
    return ask(ctx, &q, -1, &p) && p.ask.result == 0 ? 0 : -1;
}

static int ask_make(void *ctx, const struct outside_site *s, bool away, struct err *err)
{
    struct packet p;
    struct ask q = {.kind = ASK_MAKE, .flag = away, .name = s->name, .root = s->asked};
    return ask_for(ctx, &q, -1, &p, err);
}

static int ask_epoch(void *ctx, const struct outside_site *s, bool take, int lock,
    const struct epoch *presented, struct epoch *now, struct err *err)
{
    struct packet p;
    struct ask q = {.kind = ASK_EPOCH,
        .flag = take,
        .name = s->name,
        .root = s->asked,
        .count = presented->counter,
        .id = presented->id,
        .text = bytes_of(presented->primary)};
    int result = ask_for(ctx, &q, lock, &p, err);
    *now = (struct epoch){0};
    if (result < 0)
        return -1;
    now->counter = p.ask.count;
    now->id = p.ask.id;
    now->role = (enum epoch_role)p.ask.other;
    copy_text(now->primary, sizeof now->primary, p.ask.name);
    return result;
}

static void ask_yield(void *ctx, const struct outside_site *s, const struct digest *owner)
{
    struct packet p;
    struct ask q = {.kind = ASK_YIELD, .name = s->name, .root = s->asked, .id = *owner};
    ask(ctx, &q, -1, &p);
}

static int ask_change(void *ctx, const struct ask *q, int dirfd)
{
    struct packet p;
    if (!ask(ctx, q, dirfd, &p))
        errno = EIO;
    else if (p.ask.result == 0)
        return 0;
    else
        errno = p.ask.sys;
    return -1;
}

static int ask_link(
    void *ctx, int dirfd, const char *name, uid_t uid, gid_t gid, const struct timespec *mtime)
{
    struct ask q = {.kind = ASK_LINK,
        .name = bytes_of(name),
        .number = uid,
        .other = gid,
        .seconds = mtime->tv_sec,
        .nanoseconds = (uint32_t)mtime->tv_nsec};
    return ask_change(ctx, &q, dirfd);
}

static int ask_loosen(void *ctx, int dirfd, const char *name)
{
    struct ask q = {.kind = ASK_LOOSEN, .name = bytes_of(name)};
    return ask_change(ctx, &q, dirfd);
}

static bool ask_hook(void *ctx, const struct outside_site *s, struct bytes records)
{
    struct ask q = {.kind = ASK_HOOK, .name = s->name, .root = s->asked, .records = records};
    return packet_send(*(int *)ctx, &q, -1);
}

static int ask_hook_state(
    void *ctx, const struct outside_site *s, bool opened, struct hook_state *out)
{
    struct packet p;
    struct ask q = {.kind = ASK_HOOK_STATE, .flag = opened, .name = s->name, .root = s->asked};
    if (!ask(ctx, &q, -1, &p) || p.ask.result != 0)
        return -1;
    *out = (struct hook_state){.pending = p.ask.flag};
    out->failing.count = p.ask.number;
    out->failing.since = (int64_t)p.ask.count;
    copy_text(out->failing.text, sizeof out->failing.text, p.ask.text);
    return 0;
}

static bool ask_told(void *ctx, const struct outside_site *s, uint64_t ticket, uint64_t *now)
{
    struct packet p;
    struct ask q = {.kind = ASK_TOLD, .name = s->name, .root = s->asked, .count = ticket};
    bool answered = ask(ctx, &q, -1, &p);
    *now = answered ? p.ask.count : 0;
    return answered && p.ask.flag;
}

/* A parent that is gone held them: this process is to die with it, and switches nothing meanwhile.
 */
static unsigned ask_hold(void *ctx, const struct outside_site *s)
{
    struct packet p;
    struct ask q = {.kind = ASK_HOLD, .name = s->name, .root = s->asked};
    return ask(ctx, &q, -1, &p) ? p.ask.number : HOLD_WAITS;
}

static bool ask_let_go(void *ctx, const struct outside_site *s, struct bytes records, bool last)
{
    struct ask q = {
        .kind = ASK_LET_GO, .flag = last, .name = s->name, .root = s->asked, .records = records};
    return packet_send(*(int *)ctx, &q, -1);
}

struct outside child_outside(int *socket)
{
    return (struct outside){.names = {ask_number, ask_name, socket},
        .marks = {ask_mark, socket},
        .place = ask_place,
        .exclude = ask_exclude,
        .in_place = ask_in_place,
        .make = ask_make,
        .epoch = ask_epoch,
        .yield = ask_yield,
        .set_link = ask_link,
        .loosen = ask_loosen,
        .hook = ask_hook,
        .hook_state = ask_hook_state,
        .told = ask_told,
        .hold = ask_hold,
        .let_go = ask_let_go,
        .ctx = socket};
}

void child_report(int socket, int result, const struct err *err)
{
    struct ask word = {.kind = ASK_REPORT, .result = result};
    if (result < 0)
        ask_set_result(&word, result, err);
    packet_send(socket, &word, -1);
}

void child_refused(int socket, int call)
{
    unsigned n = (unsigned)call;
    uint8_t word[] = {ASK_REFUSED, n & 0xff, n >> 8 & 0xff, n >> 16 & 0xff, (uint8_t)(n >> 24)};
    if (send(socket, word, sizeof word, MSG_NOSIGNAL) < 0) {
        /* nobody is left to be told */
    }
}
