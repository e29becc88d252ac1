/* State directories by what they are about; see states.h. A receiver may write in one whatever it
 * likes and may have been taken over, so what a directory says of itself is held against its name,
 * which is the digest of the root's path. */
#include "secondary/confine/states.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/set.h"
#include "tree/state/epochs.h"
#include "tree/state/state.h"

enum { DIRECTORY = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

struct states {
    char *state_dir;
    struct set *names;
};

static char *name_of(const struct states *s, const char *root)
{
    char *path CLEANUP_FREE = state_root_dir(s->state_dir, root);
    return mem_copy_string(strrchr(path, '/') + 1);
}

/* The root that the directory is about; NULL where it does not say so. The caller frees. */
static char *root_of(const struct states *s, int dir, const char *name)
{
    char *root CLEANUP_FREE = NULL;
    size_t len = 0;
    struct err ignored;
    if (io_slurp(dir, STATE_PATH_FILE, PATH_MAX, &root, &len, &ignored) != 0 ||
        strlen(root) != len || root[0] != '/')
        return NULL;
    char *own CLEANUP_FREE = name_of(s, root);
    return strcmp(own, name) == 0 ? TAKE_PTR(root) : NULL;
}

static void allow(struct states *s, struct sandbox *box, int dir, const char *root)
{
    struct err ignored;
    sandbox_allow(box, dir, SANDBOX_TREE);
    int epoch CLEANUP_FD = epochs_open_resolved(s->state_dir, root, true, &ignored);
    if (epoch >= 0)
        sandbox_allow(box, epoch, SANDBOX_READ);
}

struct states *states_find(const char *state_dir, const char *top, struct sandbox *box)
{
    struct states *s = mem_alloc(sizeof *s);
    *s = (struct states){.state_dir = mem_copy_string(state_dir), .names = set_new()};
    char *roots CLEANUP_FREE = mem_format("%s/roots", state_dir);
    DIR *all = opendir(roots);
    const struct dirent *e;
    while (all && (e = readdir(all)) != NULL) {
        int dir CLEANUP_FD = e->d_name[0] == '.' ? -1 : openat(dirfd(all), e->d_name, DIRECTORY);
        char *root CLEANUP_FREE = dir < 0 ? NULL : root_of(s, dir, e->d_name);
        if (!root || !io_path_beneath(root, top))
            continue;
        set_add(s->names, e->d_name, strlen(e->d_name));
        allow(s, box, dir, root);
    }
    if (all)
        closedir(all);
    return s;
}

void states_free(struct states *s)
{
    if (!s)
        return;
    set_free(s->names);
    free(s->state_dir);
    free(s);
}

bool states_has(const struct states *s, const char *name)
{
    return set_find(s->names, name, strlen(name)) != NULL;
}

int states_know(const struct states *s, const char *root, struct err *err)
{
    char *name CLEANUP_FREE = name_of(s, root);
    if (states_has(s, name))
        return 1;
    int dir CLEANUP_FD = state_make_dir(s->state_dir, root, err);
    if (dir < 0)
        return -1;
    char *said CLEANUP_FREE = root_of(s, dir, name);
    return said ? 0 : io_replace(dir, STATE_PATH_FILE, root, strlen(root), err);
}
