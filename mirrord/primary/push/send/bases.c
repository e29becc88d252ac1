/* A map from site and path to what is known, in order of use; see bases.h. The key is the site's
 * name, a NUL, which no name holds, and the path. */
#include "primary/push/send/bases.h"

#include <string.h>

#include "base/mem.h"
#include "base/set.h"

enum { SHARE = 2 }; /* no file gets more than this part of the memory */

struct bases {
    struct set *files; /* value: struct outline */
    size_t most, used;
};

struct bases *bases_new(size_t most)
{
    struct bases *b = mem_alloc(sizeof *b);
    b->files = set_new();
    b->most = most;
    return b;
}

static size_t cost_of(const struct set_item *item)
{
    return sizeof *item + item->len + outline_memory(outline_size(item->value));
}

static void drop(struct bases *b, struct set_item *item)
{
    b->used -= cost_of(item);
    outline_unref(item->value);
    set_remove(b->files, item);
}

void bases_free(struct bases *b)
{
    if (!b)
        return;
    while (set_first(b->files))
        drop(b, set_first(b->files));
    set_free(b->files);
    free(b);
}

bool bases_wants(const struct bases *b, uint64_t size)
{
    return size >= OUTLINE_MIN_SIZE && outline_memory(size) <= b->most / SHARE;
}

static char *key_of(const struct site *s, struct bytes path, size_t *len)
{
    size_t name = strlen(s->label) + 1;
    char *key = mem_resize(NULL, name + path.len, 1);
    memcpy(key, s->label, name);
    if (path.len)
        memcpy(key + name, path.data, path.len);
    *len = name + path.len;
    return key;
}

struct outline *bases_find(struct bases *b, const struct site *s, struct bytes path)
{
    size_t len;
    char *key CLEANUP_FREE = key_of(s, path, &len);
    struct set_item *item = set_find(b->files, key, len);
    if (!item)
        return NULL;
    set_requeue(b->files, item);
    return item->value;
}

void bases_put(struct bases *b, const struct site *s, struct bytes path, struct outline *k)
{
    size_t len;
    char *key CLEANUP_FREE = key_of(s, path, &len);
    struct set_item *item = set_find(b->files, key, len);
    if (item)
        drop(b, item);
    if (!k || !bases_wants(b, outline_size(k)))
        return;
    item = set_add(b->files, key, len);
    item->value = outline_ref(k);
    b->used += cost_of(item);
    while (b->used > b->most)
        drop(b, set_first(b->files));
}

size_t bases_memory(const struct bases *b)
{
    return b->used;
}
