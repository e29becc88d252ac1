/* The receiver's processes; see receive.h. What is served is in session.c, what the parent does in
 * parent.c. */
#include "secondary/receive.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "secondary/parent.h"
#include "secondary/session.h"

static void be_child(const struct receive_options *o, int socket, pid_t parent)
{
    struct err err;
    err_clear(&err);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    struct names_source names = parent_names(&socket);
    struct mark_writer marks = parent_marks(&socket);
    int result = session_run(o, &names, &marks, &err);
    parent_report(socket, result, &err);
    _exit(result < 0 ? 1 : 0);
}

int receive_run(const struct receive_options *o, struct err *err)
{
    int sockets[2];
    pid_t parent = getpid();
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
        return err_sys(err, errno, "socketpair");
    int ours CLEANUP_FD = sockets[0];
    int theirs CLEANUP_FD = sockets[1];
    /* A link that is cut must not end the parent, and with it a commit. */
    void (*hangup)(int) = signal(SIGHUP, SIG_IGN);
    pid_t child = fork();
    if (child < 0) {
        signal(SIGHUP, hangup);
        return err_sys(err, errno, "fork");
    }
    if (child == 0) {
        close(TAKE_FD(ours));
        be_child(o, theirs, parent);
    }
    close(TAKE_FD(theirs));
    int result = parent_serve(ours, child, o->state_dir, err);
    signal(SIGHUP, hangup);
    return result;
}
