/* Which paths of a site cannot be read, for status: noted by walks and by whoever looks at a path,
 * struck off when a directory is entered, or when a walk of the whole site did not meet them. */
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/set.h"
#include "primary/scan/scan_impl.h"

enum { NOTED_MAX = 1000 }; /* more are not counted */

static void count(struct scan_site *s)
{
    s->status.unreadable = set_count(s->unreadable);
    s->publish_due_ms = 0;
}

bool unreadable_note(struct scan_site *s, struct bytes path)
{
    bool known = set_find(s->unreadable, path.data, path.len) != NULL;
    if (!known && set_count(s->unreadable) >= NOTED_MAX)
        return false;
    set_add(s->unreadable, path.data, path.len)->value = (void *)(uintptr_t)s->whole_number;
    count(s);
    return !known;
}

void unreadable_forget(struct scan_site *s, struct bytes path)
{
    struct set_item *item = set_find(s->unreadable, path.data, path.len);
    if (!item)
        return;
    set_remove(s->unreadable, item);
    count(s);
}

bool unreadable_has(const struct scan_site *s, struct bytes path)
{
    return set_find(s->unreadable, path.data, path.len) != NULL;
}

void unreadable_settle(struct scan_site *s)
{
    struct set_item *next;
    for (struct set_item *i = set_first(s->unreadable); i; i = next) {
        next = i->next;
        if ((uintptr_t)i->value != s->whole_number)
            set_remove(s->unreadable, i);
    }
    count(s);
}

void unreadable_collect(struct scan_site *s)
{
    struct scan_status *status = &s->status;
    status->unreadable_count = 0;
    for (struct set_item *i = set_first(s->unreadable); i; i = i->next) {
        if (status->unreadable_count == SCAN_BUSY_MAX)
            return;
        log_name(
            status->unreadable_paths[status->unreadable_count++], SCAN_PATH_MAX, i->key, i->len);
    }
}
