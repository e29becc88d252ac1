/* The trash for foreign things; see foreign.h. Knows nothing of why something is foreign. */
#include "secondary/trash/foreign.h"

#include "base/log.h"
#include "secondary/trash/aside.h"

int foreign_keep(struct stage *s, int dirfd, const char *name, struct bytes path, struct err *err)
{
    char where[ASIDE_NAME_MAX];
    const struct aside_thing thing = {dirfd, name, path, false};
    if (aside_put(s, ASIDE_FOREIGN, "", &thing, where, err) < 0)
        return -1;
    log_warn("%s was not put there by mirrord: set aside in %s/%s/%s", QUOTED(path.data, path.len),
        root_path(s->root), aside_place(ASIDE_FOREIGN), where);
    return 0;
}
