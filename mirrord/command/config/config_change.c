/* Which files a configuration was read from and which directories its includes look in, and whether
 * they are still what they were. Knows nothing of what is in them. */
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "command/config/config_impl.h"

struct config_source { /* or a directory: one that is added to or taken from has other times */
    char *path;
    struct timespec changed; /* zeros: it is not there */
    ino_t inode;
    off_t size;
};

enum { GRANULE_MS = 20 }; /* a file's times may be so much behind the clock */

static int64_t ms_of(const struct timespec *t)
{
    return (int64_t)t->tv_sec * 1000 + t->tv_nsec / 1000000;
}

/* True: it is another one than it was. */
static bool look(struct config_source *f)
{
    struct stat st = {0};
    if (stat(f->path, &st) < 0)
        st = (struct stat){0};
    bool same = st.st_ino == f->inode && st.st_size == f->size &&
                st.st_ctim.tv_sec == f->changed.tv_sec && st.st_ctim.tv_nsec == f->changed.tv_nsec;
    f->changed = st.st_ctim;
    f->inode = st.st_ino;
    f->size = st.st_size;
    return !same;
}

static void note(struct config_source *f, const char *path, const struct timespec *began)
{
    struct timespec now;
    f->path = mem_copy_string(path);
    look(f);
    clock_gettime(CLOCK_REALTIME, &now);
    /* One of the future was written before the clock was set: what is written now has another. */
    if (ms_of(&f->changed) + GRANULE_MS >= ms_of(began) && ms_of(&f->changed) <= ms_of(&now))
        f->size = -1;
}

void config_note_sources(
    struct config *c, const struct config_sources *from, const struct timespec *began)
{
    c->file_count = from->file_count;
    c->source_count = from->file_count + from->dir_count;
    c->sources = mem_array(c->source_count, sizeof *c->sources);
    for (size_t i = 0; i < c->source_count; i++)
        note(&c->sources[i], i < c->file_count ? from->files[i] : from->dirs[i - c->file_count],
            began);
}

const char *config_file_path(const struct config *c, size_t i)
{
    return i < c->file_count ? c->sources[i].path : NULL;
}

bool config_has_changed(struct config *c)
{
    bool changed = false;
    for (size_t i = 0; i < c->source_count; i++)
        changed |= look(&c->sources[i]);
    return changed;
}

void config_free_sources(struct config *c)
{
    for (size_t i = 0; i < c->source_count; i++)
        free(c->sources[i].path);
    free(c->sources);
}
