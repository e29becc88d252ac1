/*
 * libssh2, all of it. The session is always non-blocking. Two habits keep it from the library's
 * traps: what it sends is always taken whole into our own buffer (ssh2_calls.c), so that no packet
 * is ever partly sent; and a call that must be repeated is repeated with the same arguments
 * (ssh2_stream.c).
 */
#include "link/ssh2/ssh2_impl.h"

#include <errno.h>
#include <libssh2.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/io.h"
#include "base/mem.h"
#include "link/keys/base64.h"
#include "link/ssh2/aesctr.h"
#include "link/ssh2/algs.h"

enum {
    WINDOW = 4 * 1024 * 1024,
    PACKET = 32768,        /* the library refuses packets over 40,000 bytes */
    READ_MAX = 256 * 1024, /* larger reads would adjust the window each time */
    RSA_SHA2_SINCE = 0x010b00,
};

static pthread_once_t library_once = PTHREAD_ONCE_INIT;

static void init_library(void)
{
    (void)libssh2_init(0); /* a failure shows at the first session */
    (void)aesctr_install();
}

bool ssh2_has_rsa_sha2(void)
{
    return libssh2_version(RSA_SHA2_SINCE) != NULL;
}

const char *ssh2_version(void)
{
    return libssh2_version(0);
}

static void set_callback(LIBSSH2_SESSION *session, int type, void (*function)(void))
{
#if LIBSSH2_VERSION_NUM >= 0x010b01
    libssh2_session_callback_set2(session, type, (libssh2_cb_generic *)function);
#else
    libssh2_session_callback_set(session, type, (void *)(uintptr_t)function);
#endif
}

/* ---- errors and waiting ---- */

int ssh2_fail(struct ssh2 *s, int rc, const char *doing, struct err *err)
{
    if (s->farewell.len)
        return err_set(
            err, ERR_TEMPORARY, "%s: the server ended the connection: %s", doing, s->farewell.text);
    if (s->sock.lost == ENOTCONN)
        return err_set(err, ERR_TEMPORARY, "%s: the server closed the connection", doing);
    if (s->sock.lost) {
        err_sys(err, s->sock.lost, "%s: the connection was lost", doing);
        if (err)
            err->code = ERR_TEMPORARY;
        return -1;
    }
    char *message = NULL;
    libssh2_session_last_error(s->session, &message, NULL, 0);
    bool lost = rc == LIBSSH2_ERROR_SOCKET_DISCONNECT || rc == LIBSSH2_ERROR_SOCKET_RECV ||
                rc == LIBSSH2_ERROR_SOCKET_SEND;
    return err_set(err, lost ? ERR_TEMPORARY : ERR_FAILED, "%s: libssh2: %s (%d)", doing,
        message && *message ? message : "no explanation", rc);
}

/* After an EAGAIN while opening: sends, then waits for the server. */
static int wait_server(struct ssh2 *s, struct err *err)
{
    bool sent = sock_flush(&s->sock);
    if (s->sock.lost)
        return ssh2_fail(s, 0, s->patience->doing, err);
    struct pollfd pfd = {.fd = s->sock.fd, .events = sent ? POLLIN : POLLIN | POLLOUT};
    return patience_poll(s->patience, &pfd, 1, err);
}

/* Repeats a call of the library until it is done: its result in rc, or the function returns. */
#define UNTIL_DONE(s, rc, call, err)                                                               \
    while (((rc) = (call)) == LIBSSH2_ERROR_EAGAIN)                                                \
        if (wait_server((s), (err)))                                                               \
            return -1;

/* ---- opening ---- */

int ssh2_new(struct patience *p, struct ssh2 **out, struct err *err)
{
    pthread_once(&library_once, init_library);
    int always = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    if (always < 0)
        return err_sys(err, errno, "eventfd");
    struct ssh2 *s = mem_alloc(sizeof *s);
    s->always = always;
    s->sock.fd = -1;
    s->sock.hasty = true;
    s->patience = p;
    s->session = libssh2_session_init_ex(ssh2_on_alloc, ssh2_on_free, ssh2_on_realloc, s);
    if (!s->session) {
        ssh2_free(s);
        return err_set(err, ERR_FAILED, "libssh2 gives no session");
    }
    libssh2_session_set_blocking(s->session, 0);
    set_callback(s->session, LIBSSH2_CALLBACK_SEND, (void (*)(void))ssh2_on_send);
    set_callback(s->session, LIBSSH2_CALLBACK_RECV, (void (*)(void))ssh2_on_receive);
    set_callback(s->session, LIBSSH2_CALLBACK_DISCONNECT, (void (*)(void))ssh2_on_disconnect);
    *out = s;
    return 0;
}

/* Ends the session without waiting: from here on the library sends into the void and hears an
 * error, so that it cannot ask to be called again for the server's sake. */
static void end_session(struct ssh2 *s)
{
    if (s->sock.fd >= 0 && !s->sock.lost) {
        libssh2_session_disconnect(s->session, "closed");
        sock_flush(&s->sock);
    }
    s->closing = true;
    s->sock.lost = ENOTCONN;
    for (int i = 0; i < 4; i++)
        if (libssh2_session_free(s->session) != LIBSSH2_ERROR_EAGAIN)
            return;
}

void ssh2_free(struct ssh2 *s)
{
    if (!s)
        return;
    if (s->session)
        end_session(s);
    heap_release(&s->heap);
    if (s->sock.fd >= 0)
        close(s->sock.fd);
    close(s->always);
    buf_free(&s->sock.out);
    buf_free(&s->first);
    free(s);
}

bool ssh2_hash_matches(void *arg, const char *hashed, const char *name)
{
    struct ssh2 *s = arg;
    LIBSSH2_KNOWNHOSTS *hosts = libssh2_knownhost_init(s->session);
    if (!hosts)
        return false;
    /* The library wants a line with a key of some length; only the name is asked about. */
    static const char any[] = "AAAAAAAAAAAAAAAAAAAAAAAA";
    char *line CLEANUP_FREE = mem_format("%s ssh-ed25519 %s\n", hashed, any);
    int rc = libssh2_knownhost_readline(hosts, line, strlen(line), LIBSSH2_KNOWNHOST_FILE_OPENSSH);
    if (rc == 0)
        rc = libssh2_knownhost_check(hosts, name, any, sizeof any - 1,
            LIBSSH2_KNOWNHOST_TYPE_PLAIN | LIBSSH2_KNOWNHOST_KEYENC_BASE64 |
                LIBSSH2_KNOWNHOST_KEY_ED25519,
            NULL);
    else
        rc = LIBSSH2_KNOWNHOST_CHECK_FAILURE;
    libssh2_knownhost_free(hosts);
    return rc == LIBSSH2_KNOWNHOST_CHECK_MATCH;
}

static const int methods[KEXINIT_LISTS] = {
    [KEXINIT_KEX] = LIBSSH2_METHOD_KEX,
    [KEXINIT_HOSTKEY] = LIBSSH2_METHOD_HOSTKEY,
    [KEXINIT_CIPHER_CS] = LIBSSH2_METHOD_CRYPT_CS,
    [KEXINIT_CIPHER_SC] = LIBSSH2_METHOD_CRYPT_SC,
    [KEXINIT_MAC_CS] = LIBSSH2_METHOD_MAC_CS,
    [KEXINIT_MAC_SC] = LIBSSH2_METHOD_MAC_SC,
};

char *ssh2_supported(struct ssh2 *s, enum kexinit_list which, const char *list)
{
    const char **names = NULL;
    int n = libssh2_session_supported_algs(s->session, methods[which], &names);
    char *kept = algs_keep(list, names, n > 0 ? (size_t)n : 0);
    if (n > 0)
        libssh2_free(s->session, names);
    return kept;
}

int ssh2_prefer(struct ssh2 *s, enum kexinit_list which, const char *list, struct err *err)
{
    int rc = libssh2_session_method_pref(s->session, methods[which], list);
    return rc ? ssh2_fail(s, rc, "choose algorithms", err) : 0;
}

int ssh2_agree(struct ssh2 *s, struct err *err)
{
    int rc;
    UNTIL_DONE(s, rc, libssh2_session_handshake(s->session, s->sock.fd), err);
    if (rc == 0)
        return 0;
    bool disagree = rc == LIBSSH2_ERROR_KEX_FAILURE || rc == LIBSSH2_ERROR_KEY_EXCHANGE_FAILURE ||
                    rc == LIBSSH2_ERROR_METHOD_NOT_SUPPORTED || rc == LIBSSH2_ERROR_METHOD_NONE;
    ssh2_fail(s, rc, "negotiate with the server", err);
    return disagree ? SSH2_DISAGREE : -1;
}

static const char *hostkey_name(int type)
{
    switch (type) {
    case LIBSSH2_HOSTKEY_TYPE_RSA: return "ssh-rsa";
    case LIBSSH2_HOSTKEY_TYPE_ECDSA_256: return "ecdsa-sha2-nistp256";
    case LIBSSH2_HOSTKEY_TYPE_ECDSA_384: return "ecdsa-sha2-nistp384";
    case LIBSSH2_HOSTKEY_TYPE_ECDSA_521: return "ecdsa-sha2-nistp521";
    case LIBSSH2_HOSTKEY_TYPE_ED25519: return "ssh-ed25519";
    default: return "unknown";
    }
}

int ssh2_hostkey(struct ssh2 *s, struct ssh2_hostkey *out, struct err *err)
{
    size_t len;
    int type;
    const char *key = libssh2_session_hostkey(s->session, &len, &type);
    const char *hash = libssh2_hostkey_hash(s->session, LIBSSH2_HOSTKEY_HASH_SHA256);
    if (!key || !hash)
        return ssh2_fail(s, 0, "read the host key", err);
    char *print CLEANUP_FREE = base64_encode(hash, 32, false);
    *out = (struct ssh2_hostkey){.type = hostkey_name(type),
        .key = base64_encode(key, len, true),
        .fingerprint = mem_format("SHA256:%s", print)};
    return 0;
}

/* ---- logging in ---- */

/* 0: in; 1: the server does not take it; -1. */
static int login_result(struct ssh2 *s, int rc, struct err *err)
{
    if (rc == 0)
        return 0;
    if (s->sock.lost || s->farewell.len)
        return ssh2_fail(s, rc, "log in", err);
    if (rc == LIBSSH2_ERROR_AUTHENTICATION_FAILED || rc == LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED)
        return 1;
    return ssh2_fail(s, rc, "log in", err);
}

int ssh2_login_key(struct ssh2 *s, const char *user, const struct keyfile *key, struct err *err)
{
    s->patience->doing = "logging in";
    s->heap.wipes = true; /* the library copies the key */
    int rc;
    /* A passphrase of NULL would let OpenSSL ask for one on the terminal. */
    UNTIL_DONE(s, rc,
        libssh2_userauth_publickey_frommemory(
            s->session, user, strlen(user), NULL, 0, key->text, key->len, ""),
        err);
    s->heap.wipes = false;
    return login_result(s, rc, err);
}

/* Whether the public key of the agent begins with this algorithm's name. */
static bool blob_is(const struct libssh2_agent_publickey *id, const char *prefix)
{
    size_t n = strlen(prefix);
    return id->blob_len >= 4 + n && memcmp(id->blob + 4, prefix, n) == 0;
}

static bool beyond_library(const struct libssh2_agent_publickey *id)
{
    return blob_is(id, "sk-") || (blob_is(id, "ssh-rsa") && !ssh2_has_rsa_sha2()) ||
           memmem(id->blob, id->blob_len < 64 ? id->blob_len : 64, "-cert-v01@", 10);
}

static int login_identities(struct ssh2 *s, LIBSSH2_AGENT *agent, const char *user,
    struct buf *tried, bool *beyond, struct err *err)
{
    struct libssh2_agent_publickey *id = NULL, *previous = NULL;
    while (libssh2_agent_get_identity(agent, &id, previous) == 0) {
        previous = id;
        if (buf_len(tried))
            buf_append(tried, ", ", 2);
        buf_append(tried, "agent's ", 8);
        buf_append(tried, id->comment, strlen(id->comment));
        *beyond |= beyond_library(id);
        int rc;
        UNTIL_DONE(s, rc, libssh2_agent_userauth(agent, user, id), err);
        rc = login_result(s, rc, NULL);
        if (rc == 0)
            return 0;
        if (s->sock.lost || s->farewell.len) /* else it is only this key's failure */
            return ssh2_fail(s, 0, "log in", err);
        if (patience_check(s->patience, err))
            return -1;
    }
    return 1;
}

int ssh2_login_agent(
    struct ssh2 *s, const char *user, struct buf *tried, bool *beyond, struct err *err)
{
    s->patience->doing = "logging in with the agent's keys";
    LIBSSH2_AGENT *agent = libssh2_agent_init(s->session);
    if (!agent)
        return ssh2_fail(s, 0, "ask the agent", err);
    int rc = 1;
    if (libssh2_agent_connect(agent) == 0) {
        if (libssh2_agent_list_identities(agent) == 0)
            rc = login_identities(s, agent, user, tried, beyond, err);
        libssh2_agent_disconnect(agent);
    }
    libssh2_agent_free(agent);
    return rc;
}

static void name_kind(struct ssh2 *s)
{
    const char *cipher = libssh2_session_methods(s->session, LIBSSH2_METHOD_CRYPT_CS);
    snprintf(s->kind, sizeof s->kind, "libssh2 (%s)", cipher ? cipher : "no cipher");
}

static int open_channel(struct ssh2 *s, struct err *err)
{
    for (;;) {
        s->channel = libssh2_channel_open_ex(s->session, "session", 7, WINDOW, PACKET, NULL, 0);
        if (s->channel)
            return 0;
        int rc = libssh2_session_last_errno(s->session);
        if (rc != LIBSSH2_ERROR_EAGAIN)
            return ssh2_fail(s, rc, "open a channel", err);
        if (wait_server(s, err))
            return -1;
    }
}

int ssh2_exec(struct ssh2 *s, const char *command, struct err *err)
{
    s->patience->doing = "starting the command";
    if (open_channel(s, err))
        return -1;
    int rc;
    UNTIL_DONE(s, rc,
        libssh2_channel_process_startup(s->channel, "exec", 4, command, (unsigned)strlen(command)),
        err);
    if (rc)
        return ssh2_fail(s, rc, "start the command", err);
    s->patience = NULL;
    s->sock.hasty = false;
    name_kind(s);
    return 0;
}

/* ---- the channel ---- */

ssize_t ssh2_put(struct ssh2 *s, const void *p, size_t n, struct err *err)
{
    ssize_t put = libssh2_channel_write(s->channel, p, n);
    if (put == LIBSSH2_ERROR_EAGAIN || put == 0)
        return CONN_AGAIN;
    return put < 0 ? ssh2_fail(s, (int)put, "write", err) : put;
}

int ssh2_put_end(struct ssh2 *s, struct err *err)
{
    int rc = libssh2_channel_send_eof(s->channel);
    if (rc == LIBSSH2_ERROR_EAGAIN)
        return CONN_AGAIN;
    return rc ? ssh2_fail(s, rc, "end the stream", err) : 0;
}

static void hear(struct ssh2 *s)
{
    char text[1024];
    ssize_t n;
    while ((n = libssh2_channel_read_stderr(s->channel, text, sizeof text)) > 0)
        tail_add(&s->said, text, (size_t)n);
}

const char *ssh2_said(struct ssh2 *s)
{
    if (ssh2_has_input(s))
        hear(s);
    return s->said.text;
}

ssize_t ssh2_get(struct ssh2 *s, void *p, size_t n, struct err *err)
{
    ssize_t got = libssh2_channel_read(s->channel, p, n < READ_MAX ? n : READ_MAX);
    if (got > 0)
        return got;
    if (got < 0 && got != LIBSSH2_ERROR_EAGAIN)
        return ssh2_fail(s, (int)got, "read", err);
    if (ssh2_has_input(s)) /* no data, so it is standard error's */
        hear(s);
    if (ssh2_has_ended(s))
        return 0;
    return s->sock.lost ? ssh2_fail(s, 0, "read", err) : CONN_AGAIN;
}

bool ssh2_has_input(const struct ssh2 *s)
{
    return libssh2_poll_channel_read(s->channel, 1);
}

bool ssh2_has_ended(const struct ssh2 *s)
{
    return libssh2_channel_eof(s->channel);
}

static int signal_number(const char *name, size_t len)
{
    for (int i = 1; i < NSIG; i++) {
        const char *abbreviation = sigabbrev_np(i);
        if (abbreviation && strlen(abbreviation) == len && !strncmp(abbreviation, name, len))
            return i;
    }
    return 0;
}

/* The end of the channel carries how the command ended. */
int ssh2_exit_status(struct ssh2 *s)
{
    if (!libssh2_channel_eof(s->channel) || libssh2_channel_wait_closed(s->channel) != 0)
        return -1;
    char *name = NULL;
    size_t len = 0;
    int number = 0;
    if (libssh2_channel_get_exit_signal(s->channel, &name, &len, NULL, NULL, NULL, NULL) == 0 &&
        name) {
        number = signal_number(name, len);
        libssh2_free(s->session, name);
    }
    return number ? 128 + number : libssh2_channel_get_exit_status(s->channel);
}
