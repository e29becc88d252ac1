/* The tests' own sshd. See sshd.h. Knows OpenSSH's programs and nothing of mirrord. */
#include "sshd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct sshd {
    pid_t pid;
    unsigned port;
    bool ipv6;
    char dir[200], identity[256], known_hosts[256], log[256];
};

static const char sshd_program[] = "/usr/sbin/sshd";

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}

char *test_dir_make(char path[128])
{
    const char *tmp = getenv("TMPDIR");
    snprintf(path, 128, "/dev/shm/mirrord-link-XXXXXX");
    if (mkdtemp(path))
        return path;
    snprintf(path, 128, "%s/mirrord-link-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(path))
        die("mkdtemp %s: %s", path, strerror(errno));
    return path;
}

void test_dir_remove(const char *path)
{
    test_shell("rm -rf '%s'", path);
}

void test_shell(const char *fmt, ...)
{
    char command[2048];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(command, sizeof command, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof command)
        die("command too long: %s", fmt);
    int how = system(command);
    if (how != 0)
        die("%s: %d", command, how);
}

void test_make_key(const char *path, const char *type, const char *more)
{
    test_shell(
        "ssh-keygen -q -t %s -N '' -C test-%s %s -f '%s' </dev/null", type, type, more, path);
}

void test_write(const char *path, const char *text, unsigned mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    size_t n = strlen(text);
    if (fd < 0 || write(fd, text, n) != (ssize_t)n || fchmod(fd, mode) || close(fd))
        die("write %s: %s", path, strerror(errno));
}

unsigned test_free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) ||
        getsockname(fd, (struct sockaddr *)&a, &len))
        die("no free port: %s", strerror(errno));
    close(fd);
    return ntohs(a.sin_port);
}

static bool can_connect(int family, unsigned port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
        .sin6_port = htons((uint16_t)port),
        .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    int rc = family == AF_INET ? connect(fd, (struct sockaddr *)&v4, sizeof v4)
                               : connect(fd, (struct sockaddr *)&v6, sizeof v6);
    close(fd);
    return rc == 0;
}

static bool has_ipv6(void)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool yes = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0;
    if (fd >= 0)
        close(fd);
    return yes;
}

static const char *first_line(const char *path, char *line, size_t size)
{
    FILE *f = fopen(path, "re");
    if (!f || !fgets(line, (int)size, f))
        die("read %s", path);
    fclose(f);
    line[strcspn(line, "\n")] = 0;
    return line;
}

/* Host keys, with a known_hosts line for each under both addresses. */
static void make_host_keys(struct sshd *s, const char *types)
{
    char list[128], path[256], line[2048];
    snprintf(list, sizeof list, "%s", types);
    FILE *known = fopen(s->known_hosts, "we");
    if (!known)
        die("%s: %s", s->known_hosts, strerror(errno));
    char *save = NULL;
    for (char *type = strtok_r(list, ",", &save); type; type = strtok_r(NULL, ",", &save)) {
        snprintf(path, sizeof path, "%s/host_%s", s->dir, type);
        test_make_key(path, type, "");
        strcat(path, ".pub");
        fprintf(known, "[127.0.0.1]:%u,[::1]:%u,[localhost]:%u %s\n", s->port, s->port, s->port,
            first_line(path, line, sizeof line));
    }
    fclose(known);
}

static void make_client_key(struct sshd *s, const struct sshd_setup *setup)
{
    char path[300], line[2048];
    test_make_key(s->identity, setup->client_key ? setup->client_key : "ed25519", "");
    snprintf(path, sizeof path, "%s.pub", s->identity);
    first_line(path, line, sizeof line);
    snprintf(path, sizeof path, "%s/authorized_keys", s->dir);
    char text[4096];
    snprintf(text, sizeof text, "%s%s%s\n", setup->authorize ? setup->authorize : "",
        setup->authorize ? " " : "", line);
    test_write(path, text, 0600);
}

static void write_config(const struct sshd *s, const struct sshd_setup *setup, const char *path)
{
    FILE *f = fopen(path, "we");
    if (!f)
        die("%s: %s", path, strerror(errno));
    fprintf(f, "%s\nListenAddress 127.0.0.1:%u\n", setup->config ? setup->config : "", s->port);
    if (s->ipv6)
        fprintf(f, "ListenAddress [::1]:%u\n", s->port);
    char list[128];
    snprintf(list, sizeof list, "%s", setup->host_keys ? setup->host_keys : "ed25519");
    char *save = NULL;
    for (char *type = strtok_r(list, ",", &save); type; type = strtok_r(NULL, ",", &save))
        fprintf(f, "HostKey %s/host_%s\n", s->dir, type);
    fprintf(f,
        "AuthorizedKeysFile %s/authorized_keys\nStrictModes no\nUsePAM no\nPidFile none\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n"
        "UseDNS no\nMaxStartups 100\nMaxAuthTries 20\nPrintMotd no\nPrintLastLog no\n"
        "SetEnv HOME=%s\n",
        s->dir, s->dir);
    fclose(f);
}

static pid_t spawn(const struct sshd *s, const char *config)
{
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        die("fork: %s", strerror(errno));
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* a test that crashes leaves no server behind */
    int log = open(s->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    int null = open("/dev/null", O_RDONLY);
    if (getppid() == parent && log >= 0 && null >= 0 && dup2(null, 0) >= 0 && dup2(log, 1) >= 0 &&
        dup2(log, 2) >= 0)
        execl(sshd_program, sshd_program, "-D", "-e", "-f", config, (char *)NULL);
    _exit(127);
}

/* True when it accepts; false when it ended (the port was taken meanwhile). */
static bool wait_ready(struct sshd *s)
{
    for (;;) {
        if (can_connect(AF_INET, s->port) && (!s->ipv6 || can_connect(AF_INET6, s->port)))
            return true;
        if (waitpid(s->pid, NULL, WNOHANG) == s->pid)
            return false;
        usleep(2000);
    }
}

static bool try_start(struct sshd *s, const struct sshd_setup *setup)
{
    char config[256];
    snprintf(config, sizeof config, "%s/sshd_config", s->dir);
    test_shell("rm -rf '%s'", s->dir);
    if (mkdir(s->dir, 0700))
        die("mkdir %s: %s", s->dir, strerror(errno));
    s->port = test_free_port();
    make_host_keys(s, setup->host_keys ? setup->host_keys : "ed25519");
    make_client_key(s, setup);
    write_config(s, setup, config);
    s->pid = spawn(s, config);
    return wait_ready(s);
}

struct sshd *sshd_start(const struct sshd_setup *setup, const char **why)
{
    *why = NULL;
    if (access(sshd_program, X_OK))
        *why = "there is no /usr/sbin/sshd";
    else if (system("command -v ssh-keygen >/dev/null"))
        *why = "there is no ssh-keygen";
    if (*why)
        return NULL;
    if (geteuid() == 0)
        (void)mkdir("/run/sshd", 0755); /* where sshd confines its unprivileged half */
    struct sshd *s = calloc(1, sizeof *s);
    if (!s)
        die("no memory");
    snprintf(s->dir, sizeof s->dir, "%s/%s", setup->dir, setup->name);
    snprintf(s->identity, sizeof s->identity, "%s/client", s->dir);
    snprintf(s->known_hosts, sizeof s->known_hosts, "%s/known_hosts", s->dir);
    snprintf(s->log, sizeof s->log, "%s/log", s->dir);
    s->ipv6 = has_ipv6();
    for (int attempt = 0; attempt < 5; attempt++)
        if (try_start(s, setup))
            return s;
    test_shell("cat '%s' >&2", s->log);
    die("sshd does not start");
}

void sshd_stop(struct sshd *s)
{
    if (!s)
        return;
    kill(s->pid, SIGTERM);
    while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    free(s);
}

unsigned sshd_port(const struct sshd *s)
{
    return s->port;
}

bool sshd_has_ipv6(const struct sshd *s)
{
    return s->ipv6;
}

const char *sshd_dir(const struct sshd *s)
{
    return s->dir;
}

const char *sshd_identity(const struct sshd *s)
{
    return s->identity;
}

const char *sshd_known_hosts(const struct sshd *s)
{
    return s->known_hosts;
}

const char *sshd_log(const struct sshd *s)
{
    return s->log;
}
