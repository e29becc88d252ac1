/* The writer probe; see writer.h. */
#include "tree/walk/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Should a writer come while the lease is there, SIGIO would end the process. */
static void ignore_signal(void)
{
    struct sigaction now;
    if (sigaction(SIGIO, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
        signal(SIGIO, SIG_IGN);
}

int writer_probe(int fd)
{
    pthread_once(&once, ignore_signal);
    if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
        fcntl(fd, F_SETLEASE, F_UNLCK);
        return 0;
    }
    return errno == EAGAIN ? 1 : -1;
}
