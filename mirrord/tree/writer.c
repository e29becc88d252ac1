/* The writer probe; see writer.h. */
#include "tree/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>

int writer_probe(int fd)
{
    if (fcntl(fd, F_SETSIG, SIGURG) != 0)
        return -1;
    if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
        fcntl(fd, F_SETLEASE, F_UNLCK);
        return 0;
    }
    return errno == EAGAIN ? 1 : -1;
}
