/* Room on a filesystem; see space.h. */
#include "tree/state/space.h"

#include <sys/statvfs.h>

int space_look(int fd, struct space *out)
{
    struct statvfs fs;
    if (fstatvfs(fd, &fs) < 0)
        return -1;
    *out = (struct space){
        .free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize,
        .all_bytes = (uint64_t)fs.f_blocks * fs.f_frsize,
        .free_files = fs.f_files ? fs.f_favail : 0,
        .all_files = fs.f_files,
    };
    return 0;
}

/* In an order that neither overflows nor makes nothing of a small number. */
static uint64_t part(uint64_t all, unsigned percent)
{
    return all / 100 * percent + all % 100 * percent / 100;
}

struct space_keep space_keep(const struct space_rule *rule, const struct space *s)
{
    uint64_t bytes = part(s->all_bytes, rule->percent);
    return (struct space_keep){.bytes = rule->bytes > bytes ? rule->bytes : bytes,
        .files = part(s->all_files, rule->percent)};
}

struct space_keep space_keep_both(struct space_keep a, struct space_keep b)
{
    return (struct space_keep){.bytes = a.bytes > b.bytes ? a.bytes : b.bytes,
        .files = a.files > b.files ? a.files : b.files};
}

static bool leaves(uint64_t left, uint64_t keep, uint64_t takes)
{
    return left >= takes && left - takes >= keep;
}

bool space_fits(const struct space *s, struct space_keep keep, uint64_t bytes, uint64_t files)
{
    return s->all_bytes == 0 || ((keep.bytes == 0 || leaves(s->free_bytes, keep.bytes, bytes)) &&
                                    (keep.files == 0 || leaves(s->free_files, keep.files, files)));
}

bool space_is_low(const struct space *s, struct space_keep keep, bool low)
{
    struct space_keep wanted = {
        keep.bytes + (low ? keep.bytes / 8 : 0), keep.files + (low ? keep.files / 8 : 0)};
    return !space_fits(s, wanted, 0, 0);
}
