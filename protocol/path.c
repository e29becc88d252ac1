/*
 * What a name on the wire may look like. It compares bytes and nothing else: that a path leads
 * where it should is for whoever opens it.
 */
#include "protocol/path.h"

#include <string.h>

bool path_is_reserved(struct bytes path)
{
    size_t n = sizeof(PATH_RESERVED) - 1;
    return path.len >= n && memcmp(path.data, PATH_RESERVED, n) == 0;
}

bool path_name_valid(struct bytes name)
{
    const char *p = name.data;
    if (name.len == 0 || name.len > PATH_NAME_MAX)
        return false;
    if (p[0] == '.' && (name.len == 1 || (name.len == 2 && p[1] == '.')))
        return false;
    if (memchr(p, '/', name.len) != NULL || memchr(p, '\0', name.len) != NULL)
        return false;
    return !path_is_reserved(name);
}

bool path_valid(struct bytes path)
{
    const char *p = path.data;
    if (path.len > PATH_TOTAL_MAX)
        return false;
    for (size_t at = 0; at < path.len;) {
        const char *slash = memchr(p + at, '/', path.len - at);
        size_t end = slash != NULL ? (size_t)(slash - p) : path.len;
        if (!path_name_valid((struct bytes){p + at, end - at}))
            return false;
        if (end + 1 == path.len) /* a slash behind the last component */
            return false;
        at = end + 1;
    }
    return true;
}

/* NULL where the path is a single component. */
static const char *path_last_slash(struct bytes path)
{
    return path.len > 0 ? memrchr(path.data, '/', path.len) : NULL;
}

struct bytes path_parent(struct bytes path)
{
    const char *slash = path_last_slash(path);
    return (struct bytes){path.data, slash != NULL ? (size_t)(slash - (const char *)path.data) : 0};
}

struct bytes path_name(struct bytes path)
{
    const char *slash = path_last_slash(path);
    if (slash == NULL)
        return path;
    size_t start = (size_t)(slash - (const char *)path.data) + 1;
    return (struct bytes){slash + 1, path.len - start};
}

bool path_beneath(struct bytes path, struct bytes top)
{
    if (top.len == 0)
        return true;
    if (path.len < top.len || memcmp(path.data, top.data, top.len) != 0)
        return false;
    return path.len == top.len || ((const char *)path.data)[top.len] == '/';
}
