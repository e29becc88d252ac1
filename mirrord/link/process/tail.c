/* A bounded memory of the end of a text. Knows nothing of where the text comes from. */
#include "link/process/tail.h"

#include <ctype.h>
#include <string.h>

#include "base/mem.h"

void tail_add(struct tail *t, const void *p, size_t n)
{
    const char *s = p;
    if (n > TAIL_SIZE) {
        s += n - TAIL_SIZE;
        n = TAIL_SIZE;
    }
    if (t->len + n > TAIL_SIZE) {
        size_t drop = t->len + n - TAIL_SIZE;
        memmove(t->text, t->text + drop, t->len - drop);
        t->len -= drop;
    }
    for (size_t i = 0; i < n; i++)
        t->text[t->len + i] = s[i] ? s[i] : ' ';
    t->len += n;
    t->text[t->len] = 0;
}

char *tail_last_line(const char *text)
{
    const char *end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1]))
        end--;
    const char *start = end;
    while (start > text && start[-1] != '\n' && start[-1] != '\r')
        start--;
    return mem_copy_bytes(start, (size_t)(end - start));
}
