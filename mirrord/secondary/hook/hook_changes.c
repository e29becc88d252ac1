/* The bounded set of changed paths; see hook_changes.h. Its records may come from a process that
 * was taken over: form is all that is asked of them, since the command alone says what they do. */
#include "secondary/hook/hook_changes.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/set.h"
#include "protocol/path.h"

enum { ITEM_COST = sizeof(struct set_item) + 16 };

struct hook_changes {
    struct set *paths; /* value: the mark */
    size_t bytes;
    bool all;
};

struct hook_changes *hook_changes_new(void)
{
    struct hook_changes *c = mem_alloc(sizeof *c);
    c->paths = set_new();
    return c;
}

void hook_changes_free(struct hook_changes *c)
{
    if (!c)
        return;
    set_free(c->paths);
    free(c);
}

void hook_changes_clear(struct hook_changes *c)
{
    set_free(c->paths);
    c->paths = set_new();
    c->bytes = 0;
    c->all = false;
}

void hook_changes_add_all(struct hook_changes *c)
{
    hook_changes_clear(c);
    c->all = true;
}

bool hook_changes_any(const struct hook_changes *c)
{
    return c->all || set_count(c->paths) > 0;
}

size_t hook_changes_bytes(const struct hook_changes *c)
{
    return c->bytes;
}

static bool is_valid(uint8_t mark, struct bytes path)
{
    if (mark == HOOK_ALL)
        return path.len == 0;
    if (!mark || !strchr("+~!-@", mark) || path.len == 0)
        return false;
    if (((const char *)path.data)[path.len - 1] == '/')
        path.len--;
    return path.len > 0 && path.len <= HOOK_PATH_MAX && path_valid(path);
}

/* What two changes are together for who last saw the path before the first. */
static uint8_t merge(uint8_t before, uint8_t now)
{
    if (now == HOOK_GONE || now == HOOK_LINK || !before)
        return now;
    if (before == HOOK_NEW)
        return HOOK_NEW;
    if (before == HOOK_GONE || before == HOOK_LINK || before == HOOK_SAME_SECOND)
        return HOOK_SAME_SECOND; /* how the times compare is not known any more */
    return now == HOOK_NEW ? HOOK_CHANGED : now;
}

static void add_one(struct hook_changes *c, uint8_t mark, struct bytes path)
{
    if (c->all)
        return;
    if (mark == HOOK_ALL || set_count(c->paths) >= HOOK_CHANGES_MAX ||
        c->bytes + path.len + ITEM_COST > HOOK_CHANGES_BYTES) {
        hook_changes_add_all(c);
        return;
    }
    struct set_item *item = set_add(c->paths, path.data, path.len);
    uint8_t before = (uint8_t)(uintptr_t)item->value;
    c->bytes += before ? 0 : path.len + ITEM_COST;
    item->value = (void *)(uintptr_t)merge(before, mark);
}

bool hook_changes_add(struct hook_changes *c, struct bytes records)
{
    if (records.len == 0)
        return true;
    const uint8_t *at = records.data, *end = at + records.len;
    while (at < end) {
        const uint8_t *stop = memchr(at, '\0', (size_t)(end - at));
        struct bytes path = {at + 1, stop ? (size_t)(stop - at) - 1 : 0};
        if (!stop || stop == at || !is_valid(*at, path))
            return false;
        add_one(c, *at, path);
        at = stop + 1;
    }
    return true;
}

int hook_changes_write(const struct hook_changes *c, int fd)
{
    static const char all[] = {HOOK_ALL, '\0'};
    struct buf b = {0};
    if (c->all)
        buf_append(&b, all, sizeof all);
    for (struct set_item *i = set_first(c->paths); i; i = i->next) {
        uint8_t mark = (uint8_t)(uintptr_t)i->value;
        buf_append(&b, &mark, 1);
        buf_append(&b, i->key, i->len + 1);
    }
    int result = buf_len(&b) ? io_write_full(fd, buf_bytes(&b), buf_len(&b)) : 0;
    buf_free(&b);
    return result;
}

int hook_changes_file(const struct hook_changes *c)
{
    int fd CLEANUP_FD = memfd_create("changes", MFD_CLOEXEC);
    if (fd < 0 || hook_changes_write(c, fd) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return -1;
    return TAKE_FD(fd);
}
