/* Choosing a place in the stage; see place.h. */
#include "secondary/stage/place.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "secondary/stage/parts.h"
#include "secondary/stage/reap.h"

/* The atom of the staged directory that will contain this one, if it is of the same batch. */
static const struct atom *container(const struct atom *a)
{
    struct bytes parent = path_parent(a->step.path);
    const struct set_item *item = set_find(a->batch->directories, parent.data, parent.len);
    return item ? item->value : NULL;
}

static void stage_inside(struct atom *a, const struct step *above)
{
    struct bytes name = path_name(a->step.path);
    size_t len = above->staged.len + 1 + name.len;
    char *path CLEANUP_FREE = mem_alloc(len);
    memcpy(path, above->staged.data, above->staged.len);
    path[above->staged.len] = '/';
    memcpy(path + above->staged.len + 1, name.data, name.len);
    step_set_bytes(&a->step.staged, path, len);
    a->step.above = above;
}

int place_new(struct atom *a, char name[PATH_NAME_MAX + 1])
{
    struct stage *stage = a->batch->replica->stage;
    const struct atom *in = path_parent(a->step.path).len ? container(a) : NULL;
    char own[STAGE_NAME_MAX];
    reap_created(stage);
    size_t room = PATH_TOTAL_MAX - 1 - path_name(a->step.path).len;
    if (in && in->step.staged.len <= room)
        stage_inside(a, &in->step);
    else if (a->part)
        step_set_bytes(&a->step.staged, own, parts_name(stage, a->step.path, own));
    else
        step_set_bytes(&a->step.staged, own, stage_new_name(stage, 'n', own));
    return root_borrow_parent(stage->root, a->step.staged, name);
}

gid_t place_group(struct atom *a)
{
    struct replica *r = a->batch->replica;
    char name[PATH_NAME_MAX + 1];
    struct stat st;
    if (r->rules.owner || r->rules.fixed || a->step.above)
        return (gid_t)-1;
    int fd = root_borrow_parent(r->root, a->step.path, name);
    return fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & S_ISGID) ? st.st_gid : (gid_t)-1;
}

static void follow(struct step *s, struct bytes was, struct bytes is)
{
    size_t rest = s->staged.len - was.len;
    char *path CLEANUP_FREE = mem_alloc(is.len + rest + 1);
    memcpy(path, is.data, is.len);
    memcpy(path + is.len, (const char *)s->staged.data + was.len, rest);
    step_set_bytes(&s->staged, path, is.len + rest);
}

void place_detach(struct stage *stage, struct step *s, struct step **steps, size_t n)
{
    char name[PATH_NAME_MAX + 1], own[STAGE_NAME_MAX];
    int dir = s->staged.len && s->above ? root_borrow_parent(stage->root, s->staged, name) : -1;
    s->above = NULL;
    if (dir < 0)
        return;
    struct bytes is = {own, stage_new_name(stage, 'n', own)};
    if (renameat2(dir, name, root_fd(stage->root), own, RENAME_NOREPLACE) < 0)
        return;
    struct bytes was = s->staged;
    s->staged = (struct bytes){0};
    for (size_t i = 0; i < n; i++)
        if (steps[i] != s && path_beneath(steps[i]->staged, was))
            follow(steps[i], was, is);
    step_set_bytes(&s->staged, is.data, is.len);
    free((void *)was.data);
    root_forget(stage->root);
}
