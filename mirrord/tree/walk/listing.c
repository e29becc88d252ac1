/* getdents64 and sorting; see listing.h. readdir is not used since it costs an allocation a
 * directory and tells errors badly. */
#include "tree/walk/listing.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

enum {
    DENTS_SIZE = 64 * 1024,
    KEEP_MAX = 4 * 1024 * 1024, /* memory kept from one directory to the next */
};

void listing_free(struct listing *l)
{
    free(l->names);
    free(l->text);
    *l = (struct listing){0};
}

void listing_clear(struct listing *l)
{
    if (l->size + l->room * sizeof *l->names > KEEP_MAX)
        listing_free(l);
    l->count = l->used = 0;
}

void listing_add(struct listing *l, const char *name, size_t len, uint8_t type)
{
    if (l->count == l->room) {
        l->room = l->room ? l->room * 2 : 64;
        l->names = mem_resize(l->names, l->room, sizeof *l->names);
    }
    if (l->size - l->used < len + 1) {
        l->size = (l->size + len + 1) * 2;
        l->text = mem_resize(l->text, l->size, 1);
    }
    memcpy(l->text + l->used, name, len);
    l->text[l->used + len] = '\0';
    l->used += len + 1;
    l->names[l->count++] = (struct listing_name){.len = (uint16_t)len, .type = type};
}

/* The text may have moved while it grew, so names are pointed to it at the end. */
void listing_seal(struct listing *l)
{
    const char *at = l->text;
    for (size_t i = 0; i < l->count; i++) {
        l->names[i].name = at;
        at += l->names[i].len + 1;
    }
}

static int compare_names(const void *a, const void *b)
{
    const struct listing_name *x = a, *y = b;
    size_t n = x->len < y->len ? x->len : y->len;
    int order = memcmp(x->name, y->name, n);
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

static void add_entries(struct listing *l, const char *buf, size_t n)
{
    for (size_t at = 0; at < n;) {
        const struct dirent64 *d = (const void *)(buf + at);
        const char *name = d->d_name;
        at += d->d_reclen;
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
            listing_add(l, name, strlen(name), d->d_type);
    }
}

int listing_read(struct listing *l, int fd)
{
    _Alignas(struct dirent64) char buf[DENTS_SIZE]; /* too much to allocate for each */
    ssize_t n;
    listing_clear(l);
    while ((n = getdents64(fd, buf, sizeof buf)) > 0)
        add_entries(l, buf, (size_t)n);
    if (n < 0)
        return -1;
    listing_seal(l);
    if (l->count > 0)
        qsort(l->names, l->count, sizeof *l->names, compare_names);
    return 0;
}
