/* The edit distance behind "did you mean"; see nearest.h. It knows nothing of what the words are.
 */
#include "command/nearest.h"

#include <limits.h>
#include <string.h>

enum { WORD_MAX = 40 }; /* longer words are not compared */

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Optimal string alignment; both words at most WORD_MAX long. */
static unsigned distance(const char *a, const char *b)
{
    unsigned d[WORD_MAX + 1][WORD_MAX + 1];
    size_t n = strlen(a), m = strlen(b);
    for (unsigned i = 0; i <= n; i++)
        d[i][0] = i;
    for (unsigned j = 0; j <= m; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        for (size_t j = 1; j <= m; j++) {
            unsigned changed = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            d[i][j] = least(changed, least(d[i - 1][j], d[i][j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d[i][j] = least(d[i][j], d[i - 2][j - 2] + 1);
        }
    }
    return d[n][m];
}

const char *nearest_word(const char *word, const char *const *candidates)
{
    size_t len = strlen(word);
    if (len > WORD_MAX)
        return NULL;
    unsigned best = len < 4 ? 2 : len > 8 ? 4 : 3; /* one more than is allowed */
    const char *found = NULL;
    for (; *candidates; candidates++) {
        if (strlen(*candidates) > WORD_MAX)
            continue;
        unsigned d = distance(word, *candidates);
        if (d < best) {
            best = d;
            found = *candidates;
        }
    }
    return found;
}
