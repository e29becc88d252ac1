/* Which algorithms are offered to the server, and which were lacking where none was agreed on. What
 * the library has is asked of ssh2.c. */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "link/ssh2/algs.h"
#include "link/ssh2/kexinit.h"
#include "link/ssh2/ssh2_impl.h"
#include "link/ssh2/wanted.h"

static int set_methods(struct ssh2 *s, const char *hostkeys, struct err *err)
{
    char *keys CLEANUP_FREE = algs_order_hostkeys(wanted_list(KEXINIT_HOSTKEY), hostkeys);
    for (int i = 0; i < KEXINIT_LISTS; i++) {
        const char *wanted = i == KEXINIT_HOSTKEY ? keys : wanted_list(i);
        if (!wanted)
            continue;
        char *list CLEANUP_FREE = ssh2_supported(s, i, wanted);
        if (ssh2_prefer(s, i, list, err) < 0)
            return -1;
    }
    return 0;
}

static bool in_common(struct ssh2 *s, enum kexinit_list which, const char *theirs)
{
    const char *wanted = wanted_list(which) ? wanted_list(which) : theirs;
    char *ours CLEANUP_FREE = ssh2_supported(s, which, wanted);
    return algs_meet(ours, theirs);
}

/* Which list had nothing in common: CONN_NO_ALGORITHM with err; 0: it was none of them. */
static int find_lacking(struct ssh2 *s, struct err *err)
{
    char *lists[KEXINIT_LISTS];
    int result = 0;
    if (!kexinit_parse(buf_bytes(&s->first), buf_len(&s->first), lists))
        return 0;
    for (int i = 0; i < KEXINIT_LISTS; i++) {
        if (result == 0 && !in_common(s, i, lists[i])) {
            err_set(err, ERR_FAILED, "no %s in common with libssh2 %s: the server offers only %s",
                wanted_name(i), ssh2_version(), QUOTED(lists[i], strlen(lists[i])));
            result = CONN_NO_ALGORITHM;
        }
        free(lists[i]);
    }
    return result;
}

int ssh2_handshake(struct ssh2 *s, int fd, const char *hostkeys, struct err *err)
{
    s->sock.fd = fd;
    s->patience->doing = "negotiating with the server";
    if (set_methods(s, hostkeys, err))
        return -1;
    s->handshaking = true;
    int rc = ssh2_agree(s, err);
    s->handshaking = false;
    if (rc == SSH2_DISAGREE)
        rc = find_lacking(s, err) == CONN_NO_ALGORITHM ? CONN_NO_ALGORITHM : -1;
    buf_free(&s->first);
    return rc;
}
