/* Lists of algorithm names as SSH writes them. Knows of the names themselves only what relates host
 * key methods to types of keys. */
#include "link/ssh2/algs.h"

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

/* The name at *at, allocated, and *at moved behind it; NULL at the end. */
static char *next_name(const char **at)
{
    if (!**at)
        return NULL;
    size_t n = strcspn(*at, ",");
    char *name = mem_copy_bytes(*at, n);
    *at += n + ((*at)[n] == ',');
    return name;
}

static void add_name(struct buf *b, const char *name)
{
    if (buf_len(b))
        buf_append(b, ",", 1);
    buf_append(b, name, strlen(name));
}

/* The buffer as a string; frees it. */
static char *finish(struct buf *b)
{
    buf_append(b, "", 1);
    char *list = mem_copy_string((const char *)buf_bytes(b));
    buf_free(b);
    return list;
}

bool algs_has(const char *list, const char *name)
{
    size_t len = strlen(name);
    while (*list) {
        size_t n = strcspn(list, ",");
        if (n == len && strncmp(list, name, n) == 0)
            return true;
        list += n + (list[n] == ',');
    }
    return false;
}

bool algs_meet(const char *a, const char *b)
{
    for (const char *at = a; *at;) {
        char *one CLEANUP_FREE = next_name(&at);
        if (algs_has(b, one))
            return true;
    }
    return false;
}

char *algs_keep(const char *list, const char *const *names, size_t n)
{
    struct buf b = {0};
    while (*list) {
        char *one CLEANUP_FREE = next_name(&list);
        for (size_t i = 0; i < n; i++)
            if (strcmp(names[i], one) == 0) {
                add_name(&b, one);
                break;
            }
    }
    return finish(&b);
}

static void add_methods(struct buf *b, const char *methods, const char *types, bool wanted)
{
    while (*methods) {
        char *one CLEANUP_FREE = next_name(&methods);
        const char *type = strncmp(one, "rsa-sha2-", 9) == 0 ? "ssh-rsa" : one;
        if (algs_has(types, type) == wanted)
            add_name(b, one);
    }
}

char *algs_order_hostkeys(const char *methods, const char *types)
{
    struct buf b = {0};
    add_methods(&b, methods, types, true);
    add_methods(&b, methods, types, false);
    return finish(&b);
}
