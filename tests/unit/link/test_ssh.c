/* Links with libssh2 to a real sshd: the stream, the server's key, our keys, and every sentence for
 * what can go wrong. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/mem.h"
#include "link/conn.h"
#include "sshd.h"
#include "stream.h"

/* libssh2 1.10 forgets two numbers of OpenSSL for each ECDSA key that it reads. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:CRYPTO_zalloc";
}

static char dir[128];
static struct sshd *server;
static const char *cannot;

static int start(void **state)
{
    (void)state;
    test_dir_make(dir);
    setenv("HOME", dir, 1);
    unsetenv("SSH_AUTH_SOCK");
    server = sshd_start(
        &(struct sshd_setup){.dir = dir, .name = "s", .config = "RekeyLimit 1M\n"}, &cannot);
    if (!server)
        print_message("skipping: %s\n", cannot);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    sshd_stop(server);
    test_dir_remove(dir);
    return 0;
}

/* Every test but those that need no server. */
static void need_server(void)
{
    if (!server)
        skip();
}

static struct conn_options options(const struct sshd *s, char *const *argv)
{
    return (struct conn_options){.transport = TRANSPORT_LIBSSH2,
        .host = "127.0.0.1",
        .port = sshd_port(s),
        .identity = sshd_identity(s),
        .known_hosts = sshd_known_hosts(s),
        .argv = argv};
}

/* Opening must fail with this code and these words; err for more. */
static void refuse(
    const struct conn_options *o, enum err_code code, const char *words, struct err *err)
{
    struct conn *c = NULL;
    *err = (struct err){0};
    assert_int_equal(conn_open(o, &c, err), -1);
    assert_null(c);
    if (err->code != code || !strstr(err->text, words))
        fail_msg("code %d, not %d with \"%s\": %s", err->code, code, words, err->text);
}

static char *path_in(const char *name)
{
    return mem_format("%s/%s", dir, name);
}

/* ---- the stream ---- */

static void test_echo_rekey(void **state)
{
    (void)state;
    need_server();
    struct conn_options o = options(server, WORDS("cat"));
    struct conn *c = stream_open(&o);
    assert_memory_equal(conn_kind(c), "libssh2 (aes128-", 16); /* it costs less than aes256 */
    stream_echo(c, 64 << 20);
    conn_close(c);
}

static void test_small_messages(void **state)
{
    (void)state;
    need_server();
    struct conn_options o = options(server, WORDS("cat"));
    struct conn *c = stream_open(&o);
    for (uint64_t i = 0; i < 200; i++) { /* one at a time: each must come back by polling alone */
        struct err err = {0};
        char back[8];
        assert_int_equal(conn_write(c, &i, sizeof i, &err), sizeof i);
        size_t got = 0;
        while (got < sizeof i) {
            assert_int_not_equal(conn_flush(c, &err), -1);
            ssize_t n = conn_read(c, back + got, sizeof back - got, &err);
            assert_true(n > 0 || n == CONN_AGAIN);
            if (n > 0) {
                got += (size_t)n;
                continue;
            }
            struct pollfd fds[2];
            assert_true(poll(fds, (nfds_t)conn_poll(c, fds), 10000) > 0);
        }
        assert_memory_equal(back, &i, sizeof i);
    }
    conn_close(c);
}

/* A far end that does not read: what is taken is bounded, and nothing is lost once it reads. */
static void test_backpressure(void **state)
{
    (void)state;
    need_server();
    char *go CLEANUP_FREE = path_in("go");
    char *script CLEANUP_FREE =
        mem_format("while ! test -e '%s'; do sleep 0.01; done; exec wc -c", go);
    struct conn_options o = options(server, WORDS("sh", "-c", script));
    struct conn *c = stream_open(&o);
    struct err err = {0};
    static const char zeros[65536];
    uint64_t taken = 0;
    unsigned full = 0;
    while (full < 20) { /* as long as anything moves, poll says so */
        ssize_t n = conn_write(c, zeros, sizeof zeros, &err);
        assert_int_not_equal(n, -1);
        assert_true(conn_pending(c) < 400 * 1024);
        if (n > 0) {
            taken += (uint64_t)n;
            full = 0;
            continue;
        }
        assert_int_not_equal(conn_flush(c, &err), -1);
        assert_int_equal(conn_read(c, (char[1]){0}, 1, &err), CONN_AGAIN);
        struct pollfd fds[2];
        full = poll(fds, (nfds_t)conn_poll(c, fds), 10) > 0 ? 0 : full + 1;
    }
    test_write(go, "", 0600);
    assert_int_equal(conn_shutdown(c, &err), 0);
    assert_int_equal(conn_write(c, "x", 1, &err), -1);
    char text[64];
    assert_int_equal(stream_read_all(c, text, sizeof text), 0);
    assert_true(strtoull(text, NULL, 10) == taken);
    conn_close(c);
}

static void test_far_end_fails(void **state)
{
    (void)state;
    need_server();
    char text[64];
    struct err err = {0};
    struct conn_options o = options(server, WORDS("no-such-mirrord", "receive"));
    struct conn *c = stream_open(&o);
    assert_int_equal(stream_read_all(c, text, sizeof text), 0);
    conn_explain(c, &err);
    assert_int_equal(conn_exit_status(c), 127);
    assert_int_equal(err.code, ERR_FAILED);
    assert_non_null(strstr(err.text, "no-such-mirrord is not installed on 127.0.0.1 ("));
    assert_non_null(strstr(err.text, "not found): install it there or name it with --remote-"));
    conn_close(c);

    o.argv = WORDS("sh", "-c", "echo \"it's $0\"; echo bad >&2; exit 5", "a 'b' \"c\" $d");
    c = stream_open(&o);
    assert_int_equal(stream_read_all(c, text, sizeof text), 0);
    assert_string_equal(text, "it's a 'b' \"c\" $d\n");
    assert_int_equal(stream_read_all(c, text, sizeof text), 0); /* the end stays the end */
    conn_explain(c, &err);
    assert_int_equal(err.code, 5);
    assert_string_equal(conn_stderr(c), "bad\n");
    conn_close(c);

    o.argv = WORDS("sh", "-c", "kill -KILL $$");
    c = stream_open(&o);
    assert_int_equal(stream_read_all(c, text, sizeof text), 0);
    conn_explain(c, &err);
    assert_int_equal(conn_exit_status(c), 128 + SIGKILL);
    conn_close(c);
}

static void test_much_stderr(void **state)
{
    (void)state;
    need_server();
    struct conn_options o = options(server,
        WORDS("sh", "-c", "head -c 9000000 /dev/zero | tr '\\0' x >&2; echo end >&2; echo done"));
    struct conn *c = stream_open(&o);
    char text[64];
    assert_int_equal(stream_read_all(c, text, sizeof text), 0);
    assert_string_equal(text, "done\n");
    struct err err = {0};
    conn_explain(c, &err);
    assert_int_equal(strlen(conn_stderr(c)), 4096);
    assert_string_equal(conn_stderr(c) + 4096 - 5, "xend\n");
    conn_close(c);
}

/* The session's own sshd process is killed: the stream ends with an error, not with an end. */
static void test_cut(void **state)
{
    (void)state;
    need_server();
    struct conn_options o = options(server, WORDS("sh", "-c", "kill -KILL $PPID; sleep 20"));
    struct conn *c = stream_open(&o);
    char text[64];
    assert_int_equal(stream_read_all(c, text, sizeof text), -1);
    struct err err = {0};
    assert_int_equal(conn_write(c, "x", 1, &err), -1);
    assert_int_equal(err.code, ERR_TEMPORARY);
    uint64_t before = io_now_ms();
    assert_int_equal(conn_explain(c, &err), -1);
    assert_int_equal(err.code, ERR_TEMPORARY);
    assert_non_null(strstr(err.text, "the connection to 127.0.0.1 was lost"));
    assert_true(io_now_ms() - before < 900);
    conn_close(c);
}

static void test_ipv6(void **state)
{
    (void)state;
    need_server();
    if (!sshd_has_ipv6(server)) {
        print_message("no IPv6 here\n");
        skip();
    }
    char text[64];
    struct conn_options o = options(server, WORDS("echo", "six"));
    o.host = "::1";
    struct conn *c = stream_open(&o);
    assert_int_equal(stream_read_all(c, text, sizeof text), 0);
    assert_string_equal(text, "six\n");
    conn_close(c);
    o.host = "localhost";
    c = stream_open(&o);
    assert_int_equal(stream_read_all(c, text, sizeof text), 0);
    conn_close(c);
}

/* ---- the server's key ---- */

static char *fingerprint_of(const char *key)
{
    char *out CLEANUP_FREE = path_in("fingerprint");
    test_shell("ssh-keygen -lf '%s' | cut -d' ' -f2 | tr -d '\\n' > '%s'", key, out);
    char *text = NULL;
    size_t len;
    assert_int_equal(io_slurp(AT_FDCWD, out, 1000, &text, &len, NULL), 0);
    return text;
}

static void test_unknown_key(void **state)
{
    (void)state;
    need_server();
    struct err err;
    char *empty CLEANUP_FREE = path_in("empty_known_hosts");
    char *key CLEANUP_FREE = mem_format("%s/host_ed25519.pub", sshd_dir(server));
    char *print CLEANUP_FREE = fingerprint_of(key);
    struct conn_options o = options(server, WORDS("true"));
    o.known_hosts = empty; /* does not exist */
    refuse(&o, ERR_FAILED, print, &err);
    char *command CLEANUP_FREE =
        mem_format("ssh-keyscan -t ed25519 -p %u 127.0.0.1 >> %s", sshd_port(server), empty);
    assert_non_null(strstr(err.text, command));
    test_shell("%s 2>/dev/null", command); /* what it says to type works */
    conn_close(stream_open(&o));
}

static void test_changed_key(void **state)
{
    (void)state;
    need_server();
    struct err err;
    char *known CLEANUP_FREE = path_in("changed");
    char *other CLEANUP_FREE = path_in("other_host");
    test_make_key(other, "ed25519", "");
    test_shell("{ echo '# first'; echo; printf '[127.0.0.1]:%u '; cat '%s.pub'; } > '%s'",
        sshd_port(server), other, known);
    char *key CLEANUP_FREE = mem_format("%s/host_ed25519.pub", sshd_dir(server));
    char *print CLEANUP_FREE = fingerprint_of(key);
    char *where CLEANUP_FREE = mem_format("%s:3", known);
    char *advice CLEANUP_FREE =
        mem_format("type: ssh-keygen -R '[127.0.0.1]:%u' -f %s and", sshd_port(server), known);
    struct conn_options o = options(server, WORDS("true"));
    o.known_hosts = known;
    refuse(&o, ERR_REFUSED, print, &err);
    assert_non_null(strstr(err.text, where));
    assert_non_null(strstr(err.text, advice));
    /* A second line with the right key makes it good again. */
    test_shell("cat '%s' >> '%s'", sshd_known_hosts(server), known);
    conn_close(stream_open(&o));
    /* Unless that key is revoked. */
    test_shell("{ printf '@revoked * '; cat '%s'; } >> '%s'", key, known);
    refuse(&o, ERR_REFUSED, "revoked", &err);
}

static void test_hashed_and_patterns(void **state)
{
    (void)state;
    need_server();
    struct err err;
    char *known CLEANUP_FREE = path_in("hashed");
    test_shell("cp '%s' '%s' && ssh-keygen -q -H -f '%s' >/dev/null 2>&1 && grep -q '^|1|' '%s'",
        sshd_known_hosts(server), known, known, known);
    struct conn_options o = options(server, WORDS("true"));
    o.known_hosts = known;
    conn_close(stream_open(&o));
    test_shell("sed 's/^[^ ]*/[127.0.*]:*,!*.2/' '%s' > '%s'", sshd_known_hosts(server), known);
    conn_close(stream_open(&o));
    test_shell("sed 's/^[^ ]*/[127.0.*]:*,!*:%u/' '%s' > '%s'", sshd_port(server),
        sshd_known_hosts(server), known);
    refuse(&o, ERR_FAILED, "not known", &err);
}

/* Several host keys: the one that known_hosts has is asked for. */
static void test_known_type_first(void **state)
{
    (void)state;
    need_server();
    struct sshd *s = sshd_start(
        &(struct sshd_setup){.dir = dir, .name = "types", .host_keys = "ed25519,ecdsa"}, &cannot);
    assert_non_null(s);
    struct conn_options o = options(s, WORDS("true"));
    char *known CLEANUP_FREE = path_in("one_type");
    o.known_hosts = known;
    const char *types[] = {"ecdsa-sha2", "ssh-ed25519"};
    for (size_t i = 0; i < 2; i++) {
        test_shell("grep '%s' '%s' > '%s'", types[i], sshd_known_hosts(s), known);
        conn_close(stream_open(&o));
    }
    sshd_stop(s);
}

/* ---- our keys ---- */

static void test_key_files(void **state)
{
    (void)state;
    need_server();
    struct err err;
    struct conn_options o = options(server, WORDS("true"));
    char *key CLEANUP_FREE = path_in("key");
    o.identity = key;
    refuse(&o, ERR_FAILED, "there is no key file", &err);
    test_shell("cp '%s' '%s'", sshd_identity(server), key);
    chmod(key, 0644);
    char *advice CLEANUP_FREE = mem_format("type chmod 600 %s", key);
    refuse(&o, ERR_FAILED, advice, &err);
    chmod(key, 0600);
    conn_close(stream_open(&o));
    test_shell("ssh-keygen -q -p -N secret -f '%s' >/dev/null", key);
    refuse(&o, ERR_FAILED, "needs a passphrase", &err);
    test_write(key, "nothing of the kind\n", 0600);
    refuse(&o, ERR_FAILED, "not a private key", &err);
    char *pub CLEANUP_FREE = mem_format("%s.pub", sshd_identity(server));
    o.identity = pub;
    refuse(&o, ERR_FAILED, "is a public key", &err);
}

static void test_wrong_key(void **state)
{
    (void)state;
    need_server();
    struct err err;
    struct conn_options o = options(server, WORDS("true"));
    char *key CLEANUP_FREE = path_in("wrong");
    test_make_key(key, "ed25519", "");
    o.identity = key;
    refuse(&o, ERR_FAILED, "authorized_keys", &err);
    assert_non_null(strstr(err.text, key));
    o.identity = NULL; /* nothing at all: no agent, no ~/.ssh */
    refuse(&o, ERR_FAILED, "no key file, no agent", &err);
}

/* The file formats that keys come in. */
static void test_key_formats(void **state)
{
    (void)state;
    need_server();
    static const char *const formats[][2] = {
        {"ecdsa", ""}, {"ecdsa", "-m PEM"}, {"ecdsa", "-m PKCS8"}, {"ecdsa -b 521", ""}};
    char *keys CLEANUP_FREE = mem_format("%s/authorized_keys", sshd_dir(server));
    struct conn_options o = options(server, WORDS("true"));
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        char *key CLEANUP_FREE = mem_format("%s/format%zu", dir, i);
        test_shell("ssh-keygen -q -t %s %s -N '' -f '%s' && cat '%s.pub' >> '%s'", formats[i][0],
            formats[i][1], key, key, keys);
        o.identity = key;
        conn_close(stream_open(&o));
    }
}

/* Debian 12's libssh2 signs RSA with SHA-1 only: libssh2 alone says what to do, auto does it. */
static void test_rsa(void **state)
{
    (void)state;
    need_server();
    static const char *const formats[] = {"", "-m PEM", "-m PKCS8"};
    char *keys CLEANUP_FREE = mem_format("%s/authorized_keys", sshd_dir(server));
    struct conn_options o = options(server, WORDS("echo", "in"));
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        char *key CLEANUP_FREE = mem_format("%s/rsa%zu", dir, i);
        test_shell("ssh-keygen -q -t rsa -b 2048 %s -N '' -f '%s' && cat '%s.pub' >> '%s'",
            formats[i], key, key, keys);
        o.identity = key;
        o.transport = TRANSPORT_AUTO;
        char text[16];
        struct conn *c = stream_open(&o);
        assert_int_equal(stream_read_all(c, text, sizeof text), 0);
        assert_string_equal(text, "in\n");
        bool fell_back = strcmp(conn_kind(c), "openssh") == 0;
        conn_close(c);
        o.transport = TRANSPORT_LIBSSH2;
        struct err err = {0};
        if (fell_back) {
            refuse(&o, ERR_FAILED, "--transport openssh", &err);
            assert_non_null(strstr(err.text, "RSA"));
        } else {
            conn_close(stream_open(&o));
        }
    }
}

static void test_agent(void **state)
{
    (void)state;
    need_server();
    if (system("command -v ssh-agent >/dev/null && command -v ssh-add >/dev/null")) {
        print_message("no ssh-agent here\n");
        skip();
    }
    struct err err;
    char *socket_path CLEANUP_FREE = path_in("agent");
    char *pid_file CLEANUP_FREE = path_in("agent.pid");
    test_shell("ssh-agent -s -a '%s' | sed -n 's/^SSH_AGENT_PID=\\([0-9]*\\);.*/\\1/p' > '%s'",
        socket_path, pid_file);
    setenv("SSH_AUTH_SOCK", socket_path, 1);
    struct conn_options o = options(server, WORDS("true"));
    o.identity = NULL;
    refuse(&o, ERR_FAILED, "no key file, no agent", &err); /* it holds nothing yet */
    char *other CLEANUP_FREE = path_in("agent_other");
    test_make_key(other, "ed25519", "");
    test_shell("ssh-add -q '%s'", other);
    refuse(&o, ERR_FAILED, "agent's test-ed25519", &err);
    test_shell("ssh-add -q '%s'", sshd_identity(server)); /* the second identity */
    conn_close(stream_open(&o));
    test_shell("kill $(cat '%s')", pid_file);
    unsetenv("SSH_AUTH_SOCK");
}

/* ---- no connection ---- */

static void test_refused(void **state)
{
    (void)state;
    struct err err;
    char *known CLEANUP_FREE = path_in("nobody");
    struct conn_options o = {.transport = TRANSPORT_LIBSSH2,
        .host = "127.0.0.1",
        .port = test_free_port(),
        .known_hosts = known,
        .argv = WORDS("true")};
    refuse(&o, ERR_TEMPORARY, "Connection refused", &err);
    assert_non_null(strstr(err.text, "127.0.0.1"));
    o.host = "-oProxyCommand=x";
    refuse(&o, ERR_USAGE, "not a host name", &err);
    o.host = "no such host.invalid";
    refuse(&o, ERR_TEMPORARY, "look up", &err);
}

/* A port where somebody listens and never speaks. */
static int silent_listener(unsigned *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

static void *set_soon(void *flag)
{
    usleep(100000);
    atomic_store((atomic_bool *)flag, true);
    return NULL;
}

static void test_silence(void **state)
{
    (void)state;
    struct err err;
    unsigned port;
    int fd = silent_listener(&port);
    char *known CLEANUP_FREE = path_in("nobody");
    struct conn_options o = {.transport = TRANSPORT_LIBSSH2,
        .host = "127.0.0.1",
        .port = port,
        .known_hosts = known,
        .timeout_ms = 500,
        .argv = WORDS("true")};
    uint64_t before = io_now_ms();
    refuse(&o, ERR_TEMPORARY, "no answer within 0.5 s while negotiating", &err);
    assert_true(io_now_ms() - before < 3000);

    static atomic_bool stop_flag;
    pthread_t thread;
    o.timeout_ms = 60000;
    o.stop = &stop_flag;
    before = io_now_ms();
    assert_int_equal(pthread_create(&thread, NULL, set_soon, &stop_flag), 0);
    refuse(&o, ERR_TEMPORARY, "stopped", &err);
    assert_true(io_now_ms() - before < 3000);
    pthread_join(thread, NULL);
    close(fd);
}

static void *talk_and_close(void *fd)
{
    int c = accept(*(int *)fd, NULL, NULL);
    ssize_t n = send(c, "SSH-2.0-x\r\n", 11, MSG_NOSIGNAL);
    close(c);
    return (void *)(intptr_t)n;
}

static void test_hangs_up(void **state)
{
    (void)state;
    struct err err;
    unsigned port;
    int fd = silent_listener(&port);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, talk_and_close, &fd), 0);
    char *known CLEANUP_FREE = path_in("nobody");
    struct conn_options o = {.transport = TRANSPORT_LIBSSH2,
        .host = "127.0.0.1",
        .port = port,
        .known_hosts = known,
        .argv = WORDS("true")};
    refuse(&o, ERR_TEMPORARY, "connection", &err);
    pthread_join(thread, NULL);
    close(fd);
}

/* A hardened server: libssh2 1.10 says which list failed; auto goes on with openssh. */
static void test_no_algorithm(void **state)
{
    (void)state;
    need_server();
    struct sshd *s = sshd_start(&(struct sshd_setup){.dir = dir,
                                    .name = "etm",
                                    .config = "MACs hmac-sha2-256-etm@openssh.com\n"
                                              "Ciphers aes256-ctr\n"},
        &cannot);
    assert_non_null(s);
    struct conn_options o = options(s, WORDS("cat"));
    o.transport = TRANSPORT_AUTO;
    char *log CLEANUP_FREE = path_in("fallback_log");
    int keep = dup(2), to = open(log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(keep >= 0 && to >= 0 && dup2(to, 2) == 2);
    conn_close(stream_open(&o));
    struct conn *c = stream_open(&o);
    assert_int_equal(dup2(keep, 2), 2);
    close(keep);
    close(to);
    bool fell_back = strcmp(conn_kind(c), "openssh") == 0;
    stream_echo(c, 1 << 20);
    conn_close(c);
    if (fell_back) /* said once, with the algorithm's name */
        test_shell(
            "test \"$(grep -c 'using openssh.*hmac-sha2-256-etm@openssh.com' '%s')\" = 1", log);
    o.transport = TRANSPORT_LIBSSH2;
    struct err err = {0};
    if (fell_back) {
        refuse(&o, ERR_FAILED, "no MAC in common with libssh2", &err);
        assert_non_null(strstr(err.text, "offers only hmac-sha2-256-etm@openssh.com"));
        assert_non_null(strstr(err.text, "--transport openssh"));
    } else { /* a newer libssh2 */
        conn_close(stream_open(&o));
    }
    sshd_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo_rekey),
        cmocka_unit_test(test_small_messages),
        cmocka_unit_test(test_backpressure),
        cmocka_unit_test(test_far_end_fails),
        cmocka_unit_test(test_much_stderr),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_ipv6),
        cmocka_unit_test(test_unknown_key),
        cmocka_unit_test(test_changed_key),
        cmocka_unit_test(test_hashed_and_patterns),
        cmocka_unit_test(test_known_type_first),
        cmocka_unit_test(test_key_files),
        cmocka_unit_test(test_wrong_key),
        cmocka_unit_test(test_key_formats),
        cmocka_unit_test(test_rsa),
        cmocka_unit_test(test_agent),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_hangs_up),
        cmocka_unit_test(test_no_algorithm),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
