/* A configuration file, from its text to what a command gets of it. */
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/replay.h"

#include "base/mem.h"
#include "command/config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config *config = NULL;
    struct err err;
    err_clear(&err);
    int fd = memfd_create("mirrord.conf", MFD_CLOEXEC);
    FUZZ_REQUIRE(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    char *path CLEANUP_FREE = mem_format("/proc/self/fd/%d", fd);
    if (config_load(path, "web1", &config, &err) == 0)
        config_free(config);
    else
        FUZZ_REQUIRE(err.text[0]);
    close(fd);
    return 0;
}
