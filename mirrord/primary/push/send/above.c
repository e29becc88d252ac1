/* One directory kept open; see above.h. */
#include "primary/push/send/above.h"

#include <string.h>
#include <unistd.h>

void above_forget(struct above *a)
{
    if (a->fd >= 0)
        close(a->fd);
    a->fd = -1;
}

bool above_is_kept(const struct above *a, const struct root *root, struct bytes path)
{
    return a->fd >= 0 && a->root == root &&
           bytes_equal(path_parent(path), (struct bytes){a->path, a->len});
}

int above_open(struct above *a, struct root *root, struct bytes path, char name[PATH_NAME_MAX + 1])
{
    if (above_is_kept(a, root, path)) {
        struct bytes last = path_name(path);
        memcpy(name, last.data, last.len);
        name[last.len] = '\0';
        return a->fd;
    }
    above_forget(a);
    a->fd = root_open_parent(root, path, name);
    if (a->fd < 0)
        return -1;
    struct bytes parent = path_parent(path);
    a->root = root;
    a->len = parent.len;
    if (parent.len)
        memcpy(a->path, parent.data, parent.len);
    return a->fd;
}
