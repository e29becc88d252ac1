/* The ledger's files; see ledger.h. A commit is a row of frames, each {u32 length, digest,
 * payload}; the payload: {u8 version, u64 number, u32 how many of the commit's steps follow in
 * other frames, u32 steps here}, and the steps. Knows nothing of manifests. */
#include "secondary/commit/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "tree/content/digest.h"

#define LEDGER_FILE   "ledger"
#define LEDGER_BEFORE "ledger.before" /* from before the copy that is being made */

enum {
    LEDGER_VERSION = 1,
    LEDGER_HEAD = 4 + sizeof(struct digest),
    LEDGER_STEPS = 256,
    LEDGER_FRAME = 16 << 20, /* the longest paths and ACLs that so many steps can have */
};

struct ledger {
    int dir; /* borrowed */
    int fd;  /* -1: not open */
};

struct ledger *ledger_new(int state_fd)
{
    struct ledger *l = mem_alloc(sizeof *l);
    *l = (struct ledger){.dir = state_fd, .fd = -1};
    return l;
}

static void shut(struct ledger *l)
{
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
}

void ledger_free(struct ledger *l)
{
    if (!l)
        return;
    shut(l);
    free(l);
}

bool ledger_exists(const struct ledger *l)
{
    struct stat st;
    return fstatat(l->dir, LEDGER_FILE, &st, AT_SYMLINK_NOFOLLOW) == 0 ||
           fstatat(l->dir, LEDGER_BEFORE, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* --- writing --- */

static void put_step(struct wire_writer *w, const struct step *s)
{
    struct step bare = *s;
    bare.staged = (struct bytes){0};
    size_t at = w->len;
    wire_u32(w, 0);
    step_encode(w, &bare);
    wire_patch_u32(w, at, (uint32_t)(w->len - at - 4));
    validators_encode(w, &s->after);
}

/* A unit's own step leaves nothing in the manifest. */
static bool is_noted(const struct step *s)
{
    return s->state == STEP_DONE && s->kind <= STEP_MOVE;
}

static size_t count_noted(struct step **steps, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += is_noted(steps[i]);
    return count;
}

/* The next steps from *at on. */
static void make_frame(
    struct wire_writer *w, uint64_t number, struct step **steps, size_t *at, size_t *left)
{
    struct digest digest = {0};
    size_t count = *left < LEDGER_STEPS ? *left : LEDGER_STEPS;
    wire_reset(w);
    wire_u32(w, 0);
    wire_raw(w, &digest, sizeof digest);
    wire_u8(w, LEDGER_VERSION);
    wire_u64(w, number);
    wire_u32(w, (uint32_t)(*left - count));
    wire_u32(w, (uint32_t)count);
    for (size_t put = 0; put < count; ++*at) {
        if (!is_noted(steps[*at]))
            continue;
        put_step(w, steps[*at]);
        put++;
    }
    *left -= count;
    if (w->bad)
        return;
    wire_patch_u32(w, 0, (uint32_t)(w->len - LEDGER_HEAD));
    digest_plain(w->data + LEDGER_HEAD, w->len - LEDGER_HEAD, &digest);
    memcpy(w->data + 4, &digest, sizeof digest);
}

static int write_frames(
    struct ledger *l, uint64_t number, struct step **steps, size_t left, struct err *err)
{
    struct wire_writer w = {.max = LEDGER_HEAD + LEDGER_FRAME};
    size_t at = 0;
    int bad = 0;
    while (left && !bad) {
        make_frame(&w, number, steps, &at, &left);
        if (w.bad)
            bad = err_set(err, ERR_FAILED, "a step cannot be encoded for the ledger");
        else if (io_write_full(l->fd, w.data, w.len) < 0)
            bad = err_sys(err, errno, "write the ledger");
    }
    wire_free(&w);
    return bad;
}

static int open_file(struct ledger *l, struct err *err)
{
    if (l->fd < 0)
        l->fd =
            openat(l->dir, LEDGER_FILE, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    return l->fd < 0 ? err_sys(err, errno, "open the ledger") : 0;
}

int ledger_append(struct ledger *l, uint64_t number, struct step **steps, size_t n, struct err *err)
{
    size_t left = count_noted(steps, n);
    if (!left)
        return 0;
    if (open_file(l, err) < 0)
        return -1;
    off_t end = lseek(l->fd, 0, SEEK_END);
    if (end >= 0 && write_frames(l, number, steps, left, err) == 0)
        return 0;
    if (end < 0)
        err_sys(err, errno, "seek in the ledger");
    else if (ftruncate(l->fd, end) < 0)
        log_debug("cut the ledger: %s", strerror(errno));
    return -1;
}

void ledger_push(struct ledger *l)
{
    if (l->fd >= 0)
        sync_file_range(l->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

int ledger_sync(struct ledger *l, struct err *err)
{
    return l->fd >= 0 && fdatasync(l->fd) < 0 ? err_sys(err, errno, "sync the ledger") : 0;
}

/* One from before stays until a copy counts: that which it was for did not. */
void ledger_turn(struct ledger *l)
{
    if (renameat2(l->dir, LEDGER_FILE, l->dir, LEDGER_BEFORE, RENAME_NOREPLACE) == 0)
        shut(l);
}

void ledger_turned(struct ledger *l)
{
    unlinkat(l->dir, LEDGER_BEFORE, 0);
}

void ledger_forget(struct ledger *l)
{
    shut(l);
    unlinkat(l->dir, LEDGER_BEFORE, 0);
    unlinkat(l->dir, LEDGER_FILE, 0);
}

/* --- reading --- */

/* The steps of a commit as far as its frames were read. */
struct reading {
    uint64_t number;
    struct step **steps;
    size_t count, left;
};

static void drop(struct reading *d)
{
    for (size_t i = 0; i < d->count; i++) {
        step_clear(d->steps[i]);
        free(d->steps[i]);
    }
    free(d->steps);
    *d = (struct reading){0};
}

/* False: it makes no sense. */
static bool get_step(struct wire_reader *r, struct reading *d)
{
    struct step s;
    if (step_decode(wire_get_blob(r, LEDGER_FRAME), &s) < 0)
        return false;
    s.after = validators_decode(r);
    s.state = STEP_DONE;
    d->steps[d->count] = mem_alloc(sizeof s);
    *d->steps[d->count++] = s;
    return !r->bad;
}

/* Adds a frame to what is being read. False: it makes no sense. */
static bool take_frame(struct reading *d, struct bytes payload)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    uint8_t version = wire_get_u8(&r);
    uint64_t number = wire_get_u64(&r);
    uint32_t left = wire_get_u32(&r), count = wire_get_u32(&r);
    if (r.bad || version != LEDGER_VERSION || count > LEDGER_STEPS)
        return false;
    if (d->number != number || d->left != (size_t)left + count)
        drop(d); /* the one before was not written to its end */
    d->number = number;
    d->left = left;
    d->steps = mem_resize(d->steps, d->count + count + 1, sizeof *d->steps);
    for (uint32_t i = 0; i < count; i++)
        if (!get_step(&r, d))
            return false;
    return wire_done(&r);
}

/* The frame at this place, in *out, which is the caller's to free. False: there is none. */
static bool read_frame(int fd, uint64_t at, uint8_t **out, size_t *len)
{
    uint8_t head[LEDGER_HEAD];
    struct digest digest;
    if (io_pread_full(fd, head, sizeof head, at) != sizeof head)
        return false;
    struct wire_reader r = wire_reader_of(head, sizeof head);
    *len = wire_get_u32(&r);
    if (*len == 0 || *len > LEDGER_FRAME)
        return false;
    uint8_t *data CLEANUP_FREE = mem_alloc(*len);
    if (io_pread_full(fd, data, *len, at + LEDGER_HEAD) != (ssize_t)*len)
        return false;
    digest_plain(data, *len, &digest);
    if (memcmp(&digest, head + 4, sizeof digest) != 0)
        return false;
    *out = TAKE_PTR(data);
    return true;
}

struct replaying {
    uint64_t after;
    int (*each)(void *ctx, uint64_t number, struct step **steps, size_t n, struct err *err);
    void *ctx;
    int count;
};

/* Until its end, or to where it is damaged, which is left in *end. */
static int replay_file(int fd, struct replaying *p, uint64_t *end, struct err *err)
{
    struct reading d = {0};
    uint8_t *data;
    size_t len;
    int bad = 0;
    *end = 0;
    while (!bad && read_frame(fd, *end, &data, &len)) {
        bool good = take_frame(&d, (struct bytes){data, len});
        free(data);
        if (!good)
            break;
        *end += LEDGER_HEAD + len;
        if (d.left)
            continue;
        if (d.number > p->after) {
            bad = p->each(p->ctx, d.number, d.steps, d.count, err);
            p->count++;
        }
        drop(&d);
    }
    drop(&d);
    return bad;
}

static int replay(struct ledger *l, const char *name, struct replaying *p, struct err *err)
{
    uint64_t end;
    int fd CLEANUP_FD = openat(l->dir, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "open the ledger");
    if (replay_file(fd, p, &end, err) < 0)
        return -1;
    if (ftruncate(fd, (off_t)end) < 0)
        log_debug("cut the ledger: %s", strerror(errno));
    return 0;
}

int ledger_replay(struct ledger *l, uint64_t after,
    int (*each)(void *ctx, uint64_t number, struct step **steps, size_t n, struct err *err),
    void *ctx, struct err *err)
{
    struct replaying p = {.after = after, .each = each, .ctx = ctx};
    if (replay(l, LEDGER_BEFORE, &p, err) < 0 || replay(l, LEDGER_FILE, &p, err) < 0)
        return -1;
    return p.count;
}
