/* A map from site and path to what is known, in order of use; see bases.h. The key is the site's
 * name, a NUL, which no name holds, and the path. */
#include "primary/push/send/bases.h"

#include <string.h>

#include "base/mem.h"
#include "base/set.h"
#include "primary/push/send/base_files.h"

enum {
    SHARE = 2,                       /* no file gets more than this part of the memory */
    KEPT_MIN_SIZE = 8 * 1024 * 1024, /* of a file whose outline is worth one on the disk */
    KEPT_MAX = 64 * 1024 * 1024,     /* bytes on the disk: of 30 GiB of files */
};

struct bases {
    struct set *files; /* value: struct outline */
    size_t most, used;
    struct base_files *kept; /* NULL: memory alone */
};

struct bases *bases_new(size_t most)
{
    struct bases *b = mem_alloc(sizeof *b);
    b->files = set_new();
    b->most = most;
    return b;
}

struct bases *bases_new_kept(size_t most, const struct site *s, const char *root)
{
    struct bases *b = bases_new(most);
    b->kept = base_files_new(s->state, root);
    return b;
}

void bases_meet(struct bases *b, const struct digest *host_id)
{
    if (b->kept)
        base_files_meet(b->kept, host_id);
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
    if (b->kept)
        base_files_free(b->kept, KEPT_MAX);
    free(b);
}

bool bases_wants(const struct bases *b, uint64_t size)
{
    return size >= (b->kept ? KEPT_MIN_SIZE : OUTLINE_MIN_SIZE) &&
           outline_memory(size) <= b->most / SHARE;
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
    if (set_count(b->files) == 0) /* asked for each path that is acknowledged */
        return NULL;
    size_t len;
    char *key CLEANUP_FREE = key_of(s, path, &len);
    struct set_item *item = set_find(b->files, key, len);
    if (!item)
        return NULL;
    set_requeue(b->files, item);
    return item->value;
}

static void know(struct bases *b, const struct site *s, struct bytes path, struct outline *k)
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

struct outline *bases_recall(struct bases *b, const struct site *s, struct bytes path)
{
    struct outline *o = bases_find(b, s, path);
    if (o || !b->kept || !(o = base_files_load(b->kept, path)))
        return o;
    know(b, s, path, o);
    outline_unref(o);
    return bases_find(b, s, path);
}

void bases_put(struct bases *b, const struct site *s, struct bytes path, struct outline *k)
{
    know(b, s, path, b->kept ? NULL : k); /* a run sends a path once */
    if (b->kept && k && bases_wants(b, outline_size(k)))
        base_files_save(b->kept, path, k);
    else if (b->kept)
        base_files_remove(b->kept, path);
}

size_t bases_memory(const struct bases *b)
{
    return b->used;
}
