/* A queue of directories instead of recursion, the first of them at work; see subtree.h. Touches no
 * files. */
#include "secondary/commit/subtree.h"

#include <string.h>

#include "base/mem.h"

struct directory {
    struct bytes path; /* owned */
    uint64_t number;
};

struct subtree {
    struct bytes top;
    bool begun;
    struct directory *dirs;
    size_t count, cap;
    size_t at;                 /* the one at work */
    char after[PATH_NAME_MAX]; /* the last name in it that came */
    size_t after_len;
    char path[PATH_TOTAL_MAX + 1];
};

struct subtree *subtree_new(struct bytes top)
{
    struct subtree *s = mem_alloc(sizeof *s);
    s->top = (struct bytes){mem_copy_bytes(top.data, top.len), top.len};
    return s;
}

void subtree_free(struct subtree *s)
{
    if (!s)
        return;
    for (size_t i = s->at; i < s->count; i++)
        free((void *)s->dirs[i].path.data);
    free(s->dirs);
    free((void *)s->top.data);
    free(s);
}

static void push(struct subtree *s, struct bytes path, uint64_t number)
{
    if (s->count == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 16;
        s->dirs = mem_resize(s->dirs, s->cap, sizeof *s->dirs);
    }
    s->dirs[s->count++] =
        (struct directory){{mem_copy_bytes(path.data, path.len), path.len}, number};
}

static int begin(struct subtree *s, struct manifest_txn *t, struct bytes *path, struct record *r,
    struct err *err)
{
    uint64_t parent;
    s->begun = true;
    int found = manifest_lookup(t, s->top, r, &parent, err);
    if (found == 1 && r->dir)
        push(s, s->top, r->dir);
    *path = s->top;
    return found;
}

static void end_directory(struct subtree *s)
{
    free((void *)s->dirs[s->at++].path.data);
    s->after_len = 0;
}

/* The path of a name in the directory at work; false where it is longer than any may be. */
static bool join(struct subtree *s, struct bytes name, struct bytes *path)
{
    struct bytes dir = s->dirs[s->at].path;
    if (dir.len + 1 + name.len > PATH_TOTAL_MAX)
        return false;
    memcpy(s->path, dir.data, dir.len);
    s->path[dir.len] = '/';
    memcpy(s->path + dir.len + 1, name.data, name.len);
    *path = (struct bytes){s->path, dir.len + 1 + name.len};
    return true;
}

int subtree_next(struct subtree *s, struct manifest_txn *t, struct bytes *path, struct record *r,
    struct err *err)
{
    struct bytes name;
    if (!s->begun)
        return begin(s, t, path, r, err);
    while (s->at < s->count) {
        struct bytes after = {s->after, s->after_len};
        int found = manifest_next(t, s->dirs[s->at].number, after, &name, r, err);
        if (found < 0)
            return -1;
        if (found == 0) {
            end_directory(s);
            continue;
        }
        memcpy(s->after, name.data, name.len);
        s->after_len = name.len;
        if (!join(s, name, path))
            continue;
        if (r->dir)
            push(s, *path, r->dir);
        return 1;
    }
    return 0;
}

void subtree_skip(struct subtree *s)
{
    free((void *)s->dirs[--s->count].path.data);
}
