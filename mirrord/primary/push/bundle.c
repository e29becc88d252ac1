/*
 * ENTRYs of small files, packed together. The frames at the end of what waits to be sent are a run
 * as long as only such ENTRYs are added; a run that is full, or that something else comes behind,
 * gives its place to one PACK where that is shorter. A short run, as of a single upload, is packed
 * here and now; a long one, and content, by the packer's thread, which then has all before it too.
 */
#include <string.h>

#include "primary/push/push_impl.h"

enum {
    RUN_MAX = 64 * 1024,    /* bytes of frames in one PACK: more of them shrink little better */
    THREAD_MIN = 50 * 1024, /* bytes from here on are the thread's, or where it has some already */
};

/* Takes n bytes at the front of `out`, of which `out_at` were sent. */
static void take(struct push *p, size_t n)
{
    memmove(p->out.data, p->out.data + n, p->out.len - n);
    p->out.len -= n;
    p->out_at = 0;
    p->bundle.gone += n;
}

static void pack_here(struct push *p, uint8_t *run, size_t n)
{
    struct bundle *b = &p->bundle;
    struct wire_writer *w = &b->frame;
    packer_pack(p->zip, run, n, p->packed, w);
    if (w->len == 0)
        return;
    memcpy(run, w->data, w->len);
    memmove(run + w->len, run + n, p->out.len - b->to);
    p->out.len -= n - w->len;
    b->gone += n - w->len;
}

static bool is_for_thread(const struct push *p, size_t n)
{
    return n >= THREAD_MIN || !packer_is_empty(p->packer);
}

void bundle_close(struct push *p)
{
    struct bundle *b = &p->bundle;
    size_t n = b->to - b->from;
    if (n && is_for_thread(p, n)) {
        packer_frames(p->packer, p->out.data + p->out_at, b->from - p->out_at);
        packer_run(p->packer, p->out.data + b->from, n);
        take(p, b->to);
    } else if (n) {
        pack_here(p, p->out.data + b->from, n);
    }
    b->from = b->to = 0;
}

void bundle_add(struct push *p, size_t start)
{
    struct bundle *b = &p->bundle;
    size_t n = p->out.len - start;
    if (!p->o->compress || p->out.bad)
        return;
    if (b->to != start || start + n - b->from > RUN_MAX) {
        bundle_close(p);
        start = p->out.len - n;
    }
    if (b->from == b->to)
        b->from = start;
    b->to = start + n;
}

bool bundle_data(struct push *p, const struct msg_data *m, const void *plain, size_t n)
{
    if (!is_for_thread(p, n))
        return false;
    bundle_close(p);
    packer_frames(p->packer, p->out.data + p->out_at, p->out.len - p->out_at);
    take(p, p->out.len);
    packer_data(p->packer, m, plain, n);
    p->bundle.gone += n;
    return true;
}

uint64_t bundle_made(const struct push *p)
{
    return p->bundle.gone + p->out.len;
}
