/*
 * ENTRYs of small files, packed together. The frames at the end of what waits to be sent are a run
 * as long as only such ENTRYs are added; a run that is full, or that something else comes behind,
 * gives its place to one BUNDLE where that is shorter. A short run, as of a single upload, is
 * packed here and now; a long one, and content, by the packer's thread, which then has all before
 * it too.
 *
 * Where sessions share what they pack, a run ends where its content says (as in content-defined
 * chunking), so that the runs of all of them are the same again soon after something came between.
 */
#include <string.h>

#include "primary/push/pack/shelf.h"
#include "primary/push/push_impl.h"
#include "tree/content/digest.h"

enum {
    RUN_MAX = 64 * 1024,    /* bytes of frames in one BUNDLE: more of them shrink little better */
    THREAD_MIN = 50 * 1024, /* bytes from here on are the thread's, or where it has some already */
    CUT_MIN = 40 * 1024,    /* a shared run is at least so long, … */
    CUT_EVERY = 4,          /* … and from there on every so many-th name is its last */
};

/* Takes n bytes at the front of `out`, of which `out_at` were sent. */
static void take(struct push *p, size_t n)
{
    memmove(p->out.data, p->out.data + n, p->out.len - n);
    p->out.len -= n;
    p->out_at = 0;
    p->bundle.gone += n;
}

static bool knows_bundle(const struct push *p)
{
    return p->version >= MSG_VERSION_BUNDLE;
}

static void pack_here(struct push *p, uint8_t *run, size_t n)
{
    struct bundle *b = &p->bundle;
    struct wire_writer *w = &b->frame;
    packer_pack(&p->packing, run, n, knows_bundle(p), w);
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

bool bundle_is_open(const struct push *p)
{
    return p->bundle.to > p->bundle.from;
}

size_t bundle_ready(const struct push *p)
{
    return bundle_is_open(p) ? p->bundle.from : p->out.len;
}

void bundle_close(struct push *p)
{
    struct bundle *b = &p->bundle;
    size_t n = b->to - b->from;
    if (n && is_for_thread(p, n)) {
        packer_frames(p->packer, p->out.data + p->out_at, b->from - p->out_at);
        packer_run(p->packer, p->out.data + b->from, n, knows_bundle(p));
        take(p, b->to);
    } else if (n) {
        pack_here(p, p->out.data + b->from, n);
    }
    b->from = b->to = 0;
}

void bundle_rest(struct push *p)
{
    bool more = p->more || !pace_is_open(&p->pace);
    bool moves = !packer_is_empty(p->packer) || p->out_at < p->bundle.from || p->pace.count;
    if (!more || !moves || p->out.len > p->bundle.to || !shelf_is_shared(p->o->shelf))
        bundle_close(p);
}

/* Is this name the last of a run that others make, too? */
static bool is_cut(const struct push *p, struct bytes path)
{
    struct digest d;
    if (p->bundle.to - p->bundle.from < CUT_MIN || !shelf_is_shared(p->o->shelf))
        return false;
    digest_plain(path.data, path.len, &d);
    return d.b[0] % CUT_EVERY == 0;
}

void bundle_add(struct push *p, size_t start, struct bytes path)
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
    if (is_cut(p, path))
        bundle_close(p);
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
