/* A site's settings that count at the secondary's end; see policy.h. */
#include "command/policy.h"

struct receive_policy policy_of(const struct config_site *s)
{
    return (struct receive_policy){
        .said = true,
        .limit = {s->max_delete_percent, s->max_delete_count},
        .keep_days = s->keep_days,
        .unit_grace = s->unit_grace,
        .min_free = s->min_free,
    };
}
