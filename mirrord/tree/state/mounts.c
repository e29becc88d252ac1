/* The set of mount points of one root, and its file; see mounts.h. */
#include "tree/state/mounts.h"

#include <string.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/set.h"

#define MOUNTS_FILE "mounts"

enum { MOUNTS_BYTES_MAX = 1024 * 1024, MOUNTS_MAX = 1000 };

struct mounts {
    struct set *paths;
    bool changed;
};

/* Paths, each with a NUL behind it. */
struct mounts *mounts_load(int state_fd)
{
    struct mounts *m = mem_alloc(sizeof *m);
    char *text CLEANUP_FREE = NULL;
    size_t len = 0;
    struct err why;
    m->paths = set_new();
    if (io_slurp(state_fd, MOUNTS_FILE, MOUNTS_BYTES_MAX, &text, &len, &why) < 0)
        log_warn("%s", why.text);
    for (size_t at = 0; text && at < len; at += strlen(text + at) + 1)
        if (text[at])
            set_add(m->paths, text + at, strlen(text + at));
    return m;
}

void mounts_free(struct mounts *m)
{
    if (m)
        set_free(m->paths);
    free(m);
}

void mounts_note(struct mounts *m, struct bytes path)
{
    if (mounts_has(m, path) || set_count(m->paths) >= MOUNTS_MAX)
        return;
    set_add(m->paths, path.data, path.len);
    m->changed = true;
}

bool mounts_has(const struct mounts *m, struct bytes path)
{
    return m && set_find(m->paths, path.data, path.len);
}

void mounts_forget_all(struct mounts *m)
{
    m->changed |= set_count(m->paths) > 0;
    while (set_first(m->paths))
        set_remove(m->paths, set_first(m->paths));
}

int mounts_store(struct mounts *m, int state_fd, struct err *err)
{
    struct buf text = {0};
    if (!m->changed)
        return 0;
    for (struct set_item *i = set_first(m->paths); i; i = i->next)
        buf_append(&text, i->key, i->len + 1);
    int r = io_publish(state_fd, MOUNTS_FILE, buf_bytes(&text), buf_len(&text), err);
    buf_free(&text);
    m->changed = r < 0;
    return r;
}
