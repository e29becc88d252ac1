/* How long a frame has been on its way; see crawl.h. */
#include "secondary/session/crawl.h"

uint64_t crawl_look(struct crawl *c, bool anew, uint64_t now_ms)
{
    uint64_t gap = now_ms - c->looked_ms;
    c->looked_ms = now_ms;
    c->under_way_ms = anew ? 0 : c->under_way_ms + (gap < CRAWL_GAP_MS ? gap : CRAWL_GAP_MS);
    return c->under_way_ms;
}
