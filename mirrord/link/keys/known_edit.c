/* Changing a known_hosts file's text; see known_edit.h. */
#include "link/keys/known_edit.h"

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "link/ssh2/ssh2.h"

enum { HASHING_MS = 60000 };

int known_edit_find(
    const char *text, const char *file, const char *name, struct known *out, struct err *err)
{
    struct patience p = patience_for(HASHING_MS, NULL);
    struct ssh2 *s; /* never connected: it has the hash */
    if (ssh2_new(&p, &s, err))
        return -1;
    known_load_text(text, file, name, ssh2_hash_matches, s, out);
    ssh2_free(s);
    return 0;
}

static bool is_dropped(const struct known *found, unsigned number)
{
    for (size_t i = 0; i < found->count; i++)
        if (found->lines[i].line == number && !found->lines[i].revoked)
            return true;
    return false;
}

char *known_edit_add(const char *text, const struct known *found, bool replace, const char *line)
{
    struct buf b = {0};
    unsigned number = 0;
    while (*text) {
        size_t len = strcspn(text, "\n"), whole = len + (text[len] == '\n');
        if (!replace || !is_dropped(found, ++number)) {
            buf_append(&b, text, len);
            buf_append(&b, "\n", 1);
        }
        text += whole;
    }
    buf_append(&b, line, strlen(line));
    buf_append(&b, "\n", 1);
    char *out = mem_copy_bytes(buf_bytes(&b), buf_len(&b));
    buf_free(&b);
    return out;
}
