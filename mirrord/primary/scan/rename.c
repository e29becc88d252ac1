/* A directory that was renamed keeps its number, and with it its watch, its hints and all that is
 * known of its content; see scan_impl.h. */
#include <string.h>

#include "base/io.h"
#include "primary/scan/scan_impl.h"

struct rename {
    struct scan_site *s;
    struct manifest_txn *t;
    struct hint_key from, to;
    char old[PATH_TOTAL_MAX + 1], fresh[PATH_TOTAL_MAX + 1];
    size_t old_len, fresh_len;
};

static struct bytes old_path(const struct rename *m)
{
    return (struct bytes){m->old, m->old_len};
}

static struct bytes fresh_path(const struct rename *m)
{
    return (struct bytes){m->fresh, m->fresh_len};
}

/* Where the manifest has it. */
static int find_old(struct rename *m, uint64_t number, uint64_t inode, struct err *err)
{
    struct record r;
    uint64_t above = 0;
    int found = manifest_dir_path(m->t, number, m->old, &m->old_len, err);
    if (found <= 0 || m->old_len == 0)
        return found < 0 ? -1 : 0;
    found = manifest_lookup(m->t, old_path(m), &r, &above, err);
    if (found <= 0 || r.dir != number || (inode && r.validators.inode != inode))
        return found < 0 ? -1 : 0;
    m->from = (struct hint_key){above, path_name(old_path(m))};
    return 1;
}

/* Where it goes, which must be free in the manifest, mirrored, and not beneath itself. */
static int find_new(struct rename *m, struct err *err)
{
    struct record r;
    size_t len;
    struct bytes name = m->to.name;
    int found = manifest_dir_path(m->t, m->to.dir, m->fresh, &len, err);
    if (found <= 0 || len + 1 + name.len > PATH_TOTAL_MAX)
        return found < 0 ? -1 : 0;
    if (len)
        m->fresh[len++] = '/';
    memcpy(m->fresh + len, name.data, name.len);
    m->fresh_len = len + name.len;
    m->fresh[m->fresh_len] = '\0';
    if (path_beneath(fresh_path(m), old_path(m)) || path_is_reserved(name) ||
        filter_excludes(m->s->site->filter, fresh_path(m), true))
        return 0;
    found = manifest_get(m->t, m->to.dir, name, &r, err);
    return found < 0 ? -1 : !found;
}

int rename_directory(struct scan_site *s, struct manifest_txn *t, uint64_t number, uint64_t inode,
    struct hint_key to, struct err *err)
{
    struct rename m = {.s = s, .t = t, .to = to};
    int fits = find_old(&m, number, inode, err);
    if (fits > 0)
        fits = find_new(&m, err);
    if (fits <= 0)
        return fits;
    fits = manifest_move(t, m.from.dir, m.from.name, to.dir, to.name, err);
    if (fits <= 0)
        return fits;
    uint64_t now = io_now_ms();
    outbox_move(&s->outbox, old_path(&m), fresh_path(&m));
    batch_add(s->batch, (struct hint_key){m.from.dir, {0}}, HINT_META, now, now);
    batch_add(s->batch, (struct hint_key){to.dir, {0}}, HINT_META, now, now);
    batch_add(s->batch, (struct hint_key){number, {0}}, HINT_META, now, now);
    /* Under its new name other things may be excluded in it. */
    rescan_subtree(s, number, false);
    return 1;
}
