/*
 * One end of a pairing; see pair_end.h. The far one is a child `ssh` that stays in our process
 * group and has our standard error, since it may want a password; requests and answers go through
 * it, a line of JSON each. What a login shell prints before the agent's greeting is skipped.
 */
#include "command/pair/pair_end.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/mem.h"
#include "command/pair/pair_agent.h"
#include "command/words.h"
#include "link/process/proc.h"
#include "link/process/quote.h"

enum { READ_SIZE = 64 * 1024, CHATTER_MAX = 256 * 1024 };

struct pair_end {
    const struct config_host *host;
    bool here;
    bool sudo;  /* it is started there with sudo … */
    char *user; /* … by this user; NULL: whoever ssh says */
    struct proc ssh;
    struct buf in;
    struct json *hello; /* what it said of itself */
};

const char *pair_end_name(const struct pair_end *e)
{
    return e->host->name;
}

const struct config_host *pair_end_host(const struct pair_end *e)
{
    return e->host;
}

bool pair_end_is_here(const struct pair_end *e)
{
    return e->here;
}

struct pair_end *pair_end_here(const struct config_host *host)
{
    struct pair_end *e = mem_alloc(sizeof *e);
    e->host = host;
    e->here = true;
    return e;
}

void pair_end_close(struct pair_end *e)
{
    if (!e)
        return;
    if (!e->here)
        proc_end(&e->ssh);
    buf_free(&e->in);
    json_free(e->hello);
    free(e->user);
    free(e);
}

const char *pair_end_says(const struct pair_end *e, const char *key)
{
    return json_get_text(e->hello, key, "");
}

/* ---- ssh ---- */

static char **append_options(char **argv, const char *const *options)
{
    for (; *options; options++)
        argv = words_append(argv, (const char *const[]){"-o", *options, NULL});
    return argv;
}

char **pair_end_ssh(const struct config_host *host, const struct pair_login *login,
    const char *const *options, struct err *err)
{
    /* No file of hosts but the one that is named, no connection of somebody else's, nothing
     * forwarded, nothing run here. */
    static const char *const always[] = {"GlobalKnownHostsFile=/dev/null", "UpdateHostKeys=no",
        "CheckHostIP=no", "ControlMaster=no", "ControlPath=none", "ClearAllForwardings=yes",
        "PermitLocalCommand=no", "RemoteCommand=none", "LogLevel=ERROR", NULL};
    char **argv = words_split(login->ssh_command);
    if (!argv || !argv[0]) {
        words_free(argv);
        err_set(err, ERR_USAGE, "--ssh-command: a quote is not closed, or there is no word");
        return NULL;
    }
    argv = append_options(argv, always);
    argv = append_options(argv, options);
    char *port CLEANUP_FREE = mem_format("%u", host->port);
    if (host->port)
        argv = words_append(argv, (const char *const[]){"-p", port, NULL});
    if (login->user)
        argv = words_append(argv, (const char *const[]){"-l", login->user, NULL});
    return words_append(argv, (const char *const[]){"-T", "--", host->address, NULL});
}

int pair_end_no_ssh(const char *program, struct err *err)
{
    return err_set(err, ERR_FAILED,
        "there is no program %s: install OpenSSH's client, or name yours with --ssh-command",
        program);
}

/* What is started there, as one word for the far shell. */
static char *agent_command(const struct config_host *host, const struct pair_login *login)
{
    char **argv = words_split(host->remote_command); /* config_load saw to its quotes */
    bool has_sudo = strcmp(argv[0], "sudo") == 0;
    if (login->sudo && !has_sudo) {
        char **with = words_append(words_split("sudo"), (const char *const *)argv);
        words_free(argv);
        argv = with;
    }
    argv = words_append(argv, (const char *const[]){"pair", "--agent", NULL});
    char *line = quote_command(argv);
    words_free(argv);
    return line;
}

static int start(
    struct pair_end *e, const struct pair_login *login, const char *known_hosts, struct err *err)
{
    char *trusted CLEANUP_FREE = mem_format("UserKnownHostsFile=\"%s\"", known_hosts);
    const char *const options[] = {trusted, "StrictHostKeyChecking=yes", "ForwardAgent=no",
        "RequestTTY=no", "ConnectTimeout=20", "ServerAliveInterval=15", NULL};
    char **argv = pair_end_ssh(e->host, login, options, err);
    if (!argv)
        return -1;
    char *command CLEANUP_FREE = agent_command(e->host, login);
    e->sudo = strncmp(command, "sudo ", strlen("sudo ")) == 0;
    e->user = login->user ? mem_copy_string(login->user) : NULL;
    argv = words_append(argv, (const char *const[]){command, NULL});
    int rc = proc_start_beside(&e->ssh, argv, err);
    if (rc > 0)
        rc = pair_end_no_ssh(argv[0], err);
    words_free(argv);
    return rc;
}

/* ---- lines ---- */

static int ended(struct pair_end *e, struct err *err)
{
    proc_wait(&e->ssh, 1000);
    if (e->ssh.status == 127)
        return err_set(err, ERR_FAILED,
            "mirrord is not installed there: install the package, then say this again");
    if (e->ssh.status == 255)
        return err_set(err, ERR_TEMPORARY,
            "the login there fails, see above: `ssh %s true` shows whether it works without "
            "mirrord; "
            "--login USER and --ssh-command CMD say how you get there",
            e->host->address);
    if (e->sudo && e->ssh.status == 1)
        return err_set(err, ERR_FAILED,
            "sudo does not let %s start mirrord there, see above: that takes a line in "
            "/etc/sudoers.d/mirrord, `%s ALL=(root) NOPASSWD: /usr/bin/mirrord pair --agent` (the "
            "path as `command -v mirrord` has it there)",
            e->user ? e->user : "this login", e->user ? e->user : "USER");
    return err_set(err, ERR_FAILED,
        "`mirrord pair --agent` ended there with %d: is the same version of mirrord installed, and "
        "is this a login that may run any command?",
        e->ssh.status);
}

/* The next line without its end, valid until the next call. */
static int next_line(struct pair_end *e, char **line, struct err *err)
{
    for (;;) {
        char *at = buf_len(&e->in) ? (char *)e->in.data + e->in.start : NULL;
        char *end = at ? memchr(at, '\n', buf_len(&e->in)) : NULL;
        if (end) {
            *end = '\0';
            *line = at;
            buf_drain(&e->in, (size_t)(end - at) + 1);
            return 0;
        }
        if (buf_len(&e->in) > PAIR_LINE_MAX)
            return err_set(err, ERR_FAILED, "what answers is not mirrord");
        struct pollfd fd = {.fd = e->ssh.stream, .events = POLLIN};
        (void)poll(&fd, 1, -1); /* a person may be typing a password */
        ssize_t n = recv(e->ssh.stream, buf_room(&e->in, READ_SIZE), READ_SIZE, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return ended(e, err);
        if (n > 0)
            buf_fill(&e->in, (size_t)n);
    }
}

static int send_line(struct pair_end *e, const char *text, struct err *err)
{
    char *line CLEANUP_FREE = mem_format("%s\n", text);
    size_t left = strlen(line);
    for (const char *p = line; left > 0;) {
        ssize_t n = send(e->ssh.stream, p, left, MSG_NOSIGNAL);
        if (n > 0) {
            p += n;
            left -= (size_t)n;
        } else if (errno == EAGAIN) {
            struct pollfd fd = {.fd = e->ssh.stream, .events = POLLOUT};
            (void)poll(&fd, 1, -1);
        } else if (errno != EINTR) {
            return ended(e, err);
        }
    }
    return 0;
}

static int await_greeting(struct pair_end *e, struct err *err)
{
    char *line;
    for (size_t skipped = 0; skipped < CHATTER_MAX; skipped += strlen(line) + 1) {
        if (next_line(e, &line, err))
            return -1;
        line[strcspn(line, "\r")] = '\0';
        if (strcmp(line, PAIR_AGENT_GREETING) == 0)
            return 0;
        if (strncmp(line, "mirrord pair agent ", 19) == 0)
            return err_set(err, ERR_FAILED,
                "another version of mirrord is installed there: install this one on all hosts");
    }
    return err_set(err, ERR_FAILED, "what answers is not mirrord");
}

/* ---- questions ---- */

static int ask_far(
    struct pair_end *e, const struct json *request, struct json **answer, struct err *err)
{
    char *text CLEANUP_FREE = json_print(request, false), *line;
    if (send_line(e, text, err) || next_line(e, &line, err))
        return -1;
    *answer = json_parse(line, strlen(line));
    return *answer ? 0 : err_set(err, ERR_FAILED, "what answers is not mirrord");
}

int pair_end_ask(struct pair_end *e, struct json *request, struct json **answer, struct err *err)
{
    int rc = 0;
    *answer = NULL;
    if (e->here)
        *answer = pair_agent_do(request);
    else
        rc = ask_far(e, request, answer, err);
    json_free(request);
    const char *error = rc ? NULL : json_get_text(*answer, "error", NULL);
    if (error) {
        int code = (int)json_get_number(*answer, "code", ERR_FAILED);
        rc = err_set(err,
            code > ERR_NONE && code <= ERR_TEMPORARY ? (enum err_code)code : ERR_FAILED, "%s",
            error);
        json_free(*answer);
        *answer = NULL;
    }
    return rc ? err_prefix(err, "%s", e->host->name) : 0;
}

/* The first question goes out before the greeting is there: a receiver behind a forced command,
 * which waits for words of another kind, ends then. */
static int greet(struct pair_end *e, struct err *err)
{
    char *line;
    if (send_line(e, "{\"do\":\"hello\"}", err) || await_greeting(e, err) ||
        next_line(e, &line, err))
        return -1;
    e->hello = json_parse(line, strlen(line));
    return e->hello ? 0 : err_set(err, ERR_FAILED, "what answers is not mirrord");
}

int pair_end_open(const struct config_host *host, const struct pair_login *login,
    const char *known_hosts, struct pair_end **out, struct err *err)
{
    struct pair_end *e = pair_end_here(host);
    if (start(e, login, known_hosts, err)) {
        pair_end_close(e);
        return err_prefix(err, "%s", host->name);
    }
    e->here = false;
    if (greet(e, err)) {
        pair_end_close(e);
        return err_prefix(err, "%s", host->name);
    }
    *out = e;
    return 0;
}
