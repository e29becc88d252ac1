/* What a secondary says of the command that it runs after commits (HOOK). */
#ifndef PRIMARY_PUSH_PUSH_HOOK_H
#define PRIMARY_PUSH_PUSH_HOOK_H

#include <stdint.h>

struct push_hook {
    uint32_t failures; /* in a row; 0: it does not fail */
    int64_t since;     /* seconds since the epoch */
    char text[512];    /* escaped */
};

#endif
