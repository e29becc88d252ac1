/* Which files a configuration was read from, and whether they are still what they were. Knows
 * nothing of what is in them. A file that another include would add is not noticed. */
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "command/config/config_impl.h"

struct config_file {
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
static bool look(struct config_file *f)
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

void config_note_files(
    struct config *c, const struct config_block *files, const struct timespec *began)
{
    c->file_count = files->block_count;
    c->files = mem_array(c->file_count, sizeof *c->files);
    for (size_t i = 0; i < c->file_count; i++) {
        c->files[i].path = mem_copy_string(files->blocks[i].file);
        look(&c->files[i]);
        if (ms_of(&c->files[i].changed) + GRANULE_MS >= ms_of(began))
            c->files[i].size = -1;
    }
}

const char *config_file_path(const struct config *c, size_t i)
{
    return i < c->file_count ? c->files[i].path : NULL;
}

bool config_has_changed(struct config *c)
{
    bool changed = false;
    for (size_t i = 0; i < c->file_count; i++)
        changed |= look(&c->files[i]);
    return changed;
}

void config_free_files(struct config *c)
{
    for (size_t i = 0; i < c->file_count; i++)
        free(c->files[i].path);
    free(c->files);
}
