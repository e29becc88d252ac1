/* Files of outlines in a directory of the site's state; see base_files.h. */
#include "primary/push/send/base_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "tree/content/digest.h"

#define DIRECTORY "outlines"

enum {
    NAME = 2 * sizeof(struct digest) + 1,
    FILE_MAX = 64 << 20, /* of a file of 30 GiB */
};

struct base_files {
    int dir; /* -1: there is none (yet) */
    const struct state *state;
    struct digest host_id; /* of the secondary */
    char *root;
    bool written; /* by this run */
};

static int open_dir(const struct state *s)
{
    return openat(state_fd(s), DIRECTORY, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

struct base_files *base_files_new(const struct state *s, const char *root)
{
    struct base_files *f = mem_alloc(sizeof *f);
    *f = (struct base_files){.dir = open_dir(s), .state = s, .root = mem_copy_string(root)};
    return f;
}

void base_files_meet(struct base_files *f, const struct digest *host_id)
{
    f->host_id = *host_id;
}

/* The digest of all three, with what no name holds between the last two. */
static void name_of(const struct base_files *f, struct bytes path, char out[NAME])
{
    struct digest d;
    struct digest_stream *s = digest_stream_new();
    digest_stream_add(s, f->host_id.b, sizeof f->host_id.b);
    digest_stream_add(s, f->root, strlen(f->root) + 1);
    digest_stream_add(s, path.data, path.len);
    digest_stream_end(s, &d);
    digest_stream_free(s);
    io_hex(d.b, sizeof d.b, out);
}

struct outline *base_files_load(const struct base_files *f, struct bytes path)
{
    char name[NAME], *text CLEANUP_FREE = NULL;
    size_t len = 0;
    struct err why;
    name_of(f, path, name);
    int r = f->dir < 0 ? 1 : io_slurp(f->dir, name, FILE_MAX, &text, &len, &why);
    if (r < 0)
        log_debug("%s/" DIRECTORY ": %s", state_path(f->state), why.text);
    return r == 0 ? outline_decode((struct bytes){text, len}) : NULL;
}

static bool have_dir(struct base_files *f)
{
    if (f->dir < 0 && mkdirat(state_fd(f->state), DIRECTORY, 0700) < 0 && errno != EEXIST)
        return false;
    if (f->dir < 0)
        f->dir = open_dir(f->state);
    return f->dir >= 0;
}

void base_files_save(struct base_files *f, struct bytes path, const struct outline *o)
{
    char name[NAME];
    struct err why;
    struct wire_writer w = {0};
    if (!have_dir(f)) {
        log_debug("%s/" DIRECTORY ": %s", state_path(f->state), strerror(errno));
        return;
    }
    name_of(f, path, name);
    outline_encode(o, &w);
    if (w.len <= FILE_MAX && io_replace(f->dir, name, w.data, w.len, &why) < 0)
        log_debug("%s/" DIRECTORY ": %s", state_path(f->state), why.text);
    f->written = true;
    wire_free(&w);
}

void base_files_remove(const struct base_files *f, struct bytes path)
{
    char name[NAME];
    name_of(f, path, name);
    if (f->dir >= 0)
        unlinkat(f->dir, name, 0);
}

struct found {
    struct timespec written;
    uint64_t size;
    char name[NAME];
};

static int newest_first(const void *a, const void *b)
{
    const struct timespec *x = &((const struct found *)a)->written;
    const struct timespec *y = &((const struct found *)b)->written;
    if (x->tv_sec != y->tv_sec)
        return x->tv_sec < y->tv_sec ? 1 : -1;
    return (x->tv_nsec < y->tv_nsec) - (x->tv_nsec > y->tv_nsec);
}

/* All files but those of another name's length, which a killed run left. */
static size_t list(DIR *dir, struct found **out)
{
    const struct dirent *e;
    struct stat st;
    size_t n = 0;
    while ((e = readdir(dir)) != NULL) {
        if (e->d_name[0] == '.' || fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (strlen(e->d_name) != NAME - 1) {
            unlinkat(dirfd(dir), e->d_name, 0);
            continue;
        }
        *out = mem_resize(*out, n + 1, sizeof **out);
        (*out)[n] = (struct found){.written = st.st_mtim, .size = (uint64_t)st.st_size};
        memcpy((*out)[n++].name, e->d_name, NAME);
    }
    return n;
}

static void prune(int fd, uint64_t most)
{
    DIR *dir = fdopendir(fd);
    struct found *all = NULL;
    uint64_t sum = 0;
    if (!dir) {
        close(fd);
        return;
    }
    size_t n = list(dir, &all);
    if (n)
        qsort(all, n, sizeof *all, newest_first);
    for (size_t i = 0; i < n; i++) {
        sum += all[i].size;
        if (sum > most)
            unlinkat(fd, all[i].name, 0);
    }
    free(all);
    closedir(dir);
}

void base_files_free(struct base_files *f, uint64_t most)
{
    if (f->written)
        prune(f->dir, most); /* which closes it */
    else if (f->dir >= 0)
        close(f->dir);
    free(f->root);
    free(f);
}
