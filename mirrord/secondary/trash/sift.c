/* A walk through an item of the trash; see sift.h. Directories wait in a list, each before what is
 * in it, so that backwards it serves for removing those that are empty. */
#include "secondary/trash/sift.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/trash/apart.h"

enum { SIFT_STRIDE = 32 }; /* entries between looks at the clock */

struct sift {
    struct stage *stage;
    unsigned work;
    char *place;
    bool begun;
    struct set *dirs;    /* places beneath the stage */
    struct set_item *at; /* the one being listed, or removed; NULL: none so far */
    DIR *dir;
    struct apart *apart; /* a copy that is being made */
    bool listed;
    uint64_t bytes;
};

struct sift *sift_new(struct stage *s, const char *place, unsigned work)
{
    struct sift *x = mem_alloc(sizeof *x);
    *x =
        (struct sift){.stage = s, .work = work, .place = mem_copy_string(place), .dirs = set_new()};
    return x;
}

void sift_free(struct sift *x)
{
    if (!x)
        return;
    if (x->dir)
        closedir(x->dir);
    apart_free(x->apart);
    set_free(x->dirs);
    free(x->place);
    free(x);
}

uint64_t sift_bytes(const struct sift *x)
{
    return x->bytes;
}

/* Only its owner's bits are in the way of a receiver without root. */
static void loosen(int dir)
{
    struct stat st;
    if (geteuid() != 0 && fstat(dir, &st) == 0 && (st.st_mode & 0300) != 0300)
        fchmod(dir, (st.st_mode & 07777) | 0300);
}

static void look_at(struct sift *x, int dir, const char *name, struct bytes place)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    if (S_ISDIR(st.st_mode)) {
        set_add(x->dirs, place.data, place.len);
        return;
    }
    if (!S_ISREG(st.st_mode))
        return;
    x->bytes += (uint64_t)st.st_size;
    if (!(x->work & SIFT_APART) || st.st_nlink == 1)
        return;
    loosen(dir);
    x->apart = apart_new(dir, name, &st);
}

static void look_at_top(struct sift *x)
{
    char name[PATH_NAME_MAX + 1];
    struct bytes place = bytes_of(x->place);
    x->begun = true;
    int dir CLEANUP_FD = root_open_parent(x->stage->root, place, name);
    if (dir >= 0)
        look_at(x, dir, name, place);
}

/* Goes on with a copy. False when it takes longer. */
static bool copy_on(struct sift *x, uint64_t deadline)
{
    if (x->apart && apart_step(x->apart, deadline) == 1)
        return false;
    apart_free(TAKE_PTR(x->apart));
    return true;
}

/* Lists the directory that is open. True when there may be more. */
static bool list_some(struct sift *x, uint64_t deadline)
{
    const struct dirent *e;
    for (unsigned n = 1; (e = readdir(x->dir)) != NULL; n++) {
        size_t len = strlen(e->d_name);
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        char *place CLEANUP_FREE = mem_alloc(x->at->len + 1 + len + 1);
        memcpy(place, x->at->key, x->at->len);
        place[x->at->len] = '/';
        memcpy(place + x->at->len + 1, e->d_name, len);
        look_at(x, dirfd(x->dir), e->d_name, (struct bytes){place, x->at->len + 1 + len});
        if (x->apart || (n % SIFT_STRIDE == 0 && io_now_us() >= deadline))
            return true;
    }
    closedir(TAKE_PTR(x->dir));
    return false;
}

/* The next directory of the list. False at its end. */
static bool open_next(struct sift *x)
{
    struct set_item *next = x->at ? x->at->next : set_first(x->dirs);
    if (!next)
        return false;
    x->at = next;
    int fd = root_open_dir(x->stage->root, (struct bytes){next->key, next->len});
    x->dir = fd < 0 ? NULL : fdopendir(fd);
    if (!x->dir)
        log_warn("list %s in the trash: %s", QUOTED(next->key, next->len), strerror(errno));
    if (fd >= 0 && !x->dir)
        close(fd);
    return true;
}

/* From the end of the list to its start; those that are not empty stay. */
static bool prune_some(struct sift *x, uint64_t deadline)
{
    char name[PATH_NAME_MAX + 1];
    for (unsigned n = 1; x->at; n++) {
        struct bytes place = {x->at->key, x->at->len};
        int dir CLEANUP_FD = root_open_parent(x->stage->root, place, name);
        if (dir >= 0) {
            loosen(dir);
            unlinkat(dir, name, AT_REMOVEDIR);
        }
        x->at = x->at == set_first(x->dirs) ? NULL : x->at->prev;
        if (n % SIFT_STRIDE == 0 && io_now_us() >= deadline)
            break;
    }
    return x->at != NULL;
}

int sift_step(struct sift *x, uint64_t deadline)
{
    if (!x->begun)
        look_at_top(x);
    while (!x->listed) {
        if (!copy_on(x, deadline))
            return 1;
        if (x->dir && list_some(x, deadline) && (!x->apart || io_now_us() >= deadline))
            return 1;
        if (!x->dir && !x->apart && !open_next(x))
            x->listed = true;
        if (!x->listed && io_now_us() >= deadline)
            return 1;
    }
    return (x->work & SIFT_PRUNE) && prune_some(x, deadline);
}
