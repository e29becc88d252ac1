/* One line beside the database; see sound.h. It is not synced: after a power loss it counts for
 * nothing, since it names the boot. */
#include "tree/manifest/sound.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/boot.h"
#include "base/io.h"
#include "base/mem.h"
#include "tree/entry.h"

enum { TEXT_MAX = 256, QUIET_MS = 30 }; /* more than a granule of a file's times */

static bool describe(int dirfd, char out[TEXT_MAX])
{
    struct stat st;
    char boot[BOOT_ID + 1];
    if (fstatat(dirfd, "data.mdb", &st, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    boot_id(boot);
    int n = snprintf(out, TEXT_MAX, "1 %s %llu %lld %lld.%09ld %lld.%09ld\n", boot,
        (unsigned long long)st.st_ino, (long long)st.st_size, (long long)st.st_mtim.tv_sec,
        st.st_mtim.tv_nsec, (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
    return n > 0 && n < TEXT_MAX;
}

static bool is_quiet(int dirfd)
{
    struct stat st;
    struct timespec now;
    if (fstatat(dirfd, "data.mdb", &st, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    validators_clock(&now);
    int64_t age =
        (now.tv_sec - st.st_ctim.tv_sec) * 1000 + (now.tv_nsec - st.st_ctim.tv_nsec) / 1000000;
    return age >= QUIET_MS;
}

static int open_dir(const char *dir)
{
    return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void sound_note(const char *dir)
{
    char text[TEXT_MAX];
    int dirfd CLEANUP_FD = open_dir(dir);
    if (dirfd < 0 || !is_quiet(dirfd) || !describe(dirfd, text))
        return;
    int fd CLEANUP_FD =
        openat(dirfd, SOUND_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0 && io_write_full(fd, text, strlen(text)) < 0)
        unlinkat(dirfd, SOUND_FILE, 0);
}

bool sound_is(const char *dir)
{
    char now[TEXT_MAX], *then CLEANUP_FREE = NULL;
    struct err ignored;
    int dirfd CLEANUP_FD = open_dir(dir);
    return dirfd >= 0 && describe(dirfd, now) &&
           io_slurp(dirfd, SOUND_FILE, TEXT_MAX, &then, NULL, &ignored) == 0 &&
           strcmp(then, now) == 0;
}
