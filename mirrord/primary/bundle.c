/*
 * ENTRYs of small files, packed together. The frames at the end of what waits to be sent are a run
 * as long as only such ENTRYs are added; a run that is full, or that something else comes behind,
 * gives its place to one PACK where that is shorter.
 */
#include <string.h>

#include "primary/push_impl.h"

enum {
    RUN_MAX = 64 * 1024,     /* bytes of frames in one PACK: more of them shrink little better */
    FRAME_SMALL = 20 * 1024, /* a frame over this shrinks as well alone */
};

void bundle_close(struct push *p)
{
    struct bundle *b = &p->bundle;
    size_t n = b->to - b->from;
    uint8_t *run = p->out.data + b->from;
    size_t packed = n ? zip_pack(p->zip, run, n, p->packed, MSG_PACK_MAX) : 0;
    struct wire_writer *w = &b->frame;
    wire_reset(w);
    if (packed)
        msg_put_pack(w, &(struct msg_pack){{p->packed, packed}});
    if (packed && w->len < n) {
        memcpy(run, w->data, w->len);
        memmove(run + w->len, run + n, p->out.len - b->to);
        p->out.len -= n - w->len;
        b->saved += n - w->len;
    }
    b->from = b->to = 0;
}

void bundle_add(struct push *p, size_t start)
{
    struct bundle *b = &p->bundle;
    size_t n = p->out.len - start;
    if (!p->o->compress || n > FRAME_SMALL || p->out.bad)
        return;
    if (b->to != start || start + n - b->from > RUN_MAX) {
        bundle_close(p);
        start = p->out.len - n;
    }
    if (b->from == b->to)
        b->from = start;
    b->to = start + n;
}

uint64_t bundle_made(const struct push *p)
{
    return p->bundle.saved + p->out.len;
}
