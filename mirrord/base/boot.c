/* The boot's id, from the kernel; see boot.h. A build for tests can be told another one. */
#include "base/boot.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"

static bool read_id(char out[BOOT_ID])
{
    int fd CLEANUP_FD = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    return fd >= 0 && io_pread_full(fd, out, BOOT_ID, 0) == BOOT_ID;
}

void boot_id(char out[BOOT_ID + 1])
{
    memset(out, 0, BOOT_ID + 1);
#ifdef MIRRORD_FAULTS
    const char *other = getenv("MIRRORD_BOOT_ID");
    if (other) {
        snprintf(out, BOOT_ID + 1, "%s", other);
        return;
    }
#endif
    if (read_id(out))
        return;
    uint64_t random[2];
    io_random(random, sizeof random);
    snprintf(out, BOOT_ID + 1, "%016llx%016llx", (unsigned long long)random[0],
        (unsigned long long)random[1]);
}
