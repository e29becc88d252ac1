/* See bucket.h. */
#include "primary/scan/bucket.h"

enum { TOKEN = 1000 };

bool bucket_take(struct bucket *b, unsigned tokens, uint64_t now_ms)
{
    uint64_t most = (uint64_t)b->most * TOKEN, past = now_ms - b->at_ms;
    if (b->at_ms == 0 || past >= most / b->per_s + 1)
        b->level = most;
    else
        b->level += past * b->per_s; /* a millisecond's tokens are so many thousandths */
    if (b->level > most)
        b->level = most;
    b->at_ms = now_ms;
    if (b->level < (uint64_t)tokens * TOKEN)
        return false;
    b->level -= (uint64_t)tokens * TOKEN;
    return true;
}
