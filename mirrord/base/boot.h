/* Which boot of the machine this is. */
#ifndef BASE_BOOT_H
#define BASE_BOOT_H

enum { BOOT_ID = 36 };

/* The kernel's id of this boot, with a NUL behind. Where the system has none every call gives
 * another, so that each start counts as one after a power loss. */
void boot_id(char out[BOOT_ID + 1]);

#endif
