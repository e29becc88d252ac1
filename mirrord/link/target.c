/*
 * The target of a connection. Knows the words of `ssh -G`, which ones libssh2 can follow and
 * which ones need the real ssh; opens no connection.
 */
#include "link/target.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "link/conn.h"
#include "link/process/proc.h"

enum { SSH_G_MAX = 256 * 1024, SSH_G_MS = 10000 };

static void words_add(struct words *w, char *word)
{
    w->word = mem_resize(w->word, w->count + 1, sizeof *w->word);
    w->word[w->count++] = word;
}

static void words_free(struct words *w)
{
    for (size_t i = 0; i < w->count; i++)
        free(w->word[i]);
    free(w->word);
    *w = (struct words){0};
}

void target_free(struct target *t)
{
    free(t->name);
    free(t->host);
    free(t->user);
    free(t->key_name);
    free(t->lacks);
    free(t->remark);
    words_free(&t->identities);
    words_free(&t->known_hosts);
    *t = (struct target){0};
}

static char *passwd_field(bool home)
{
    struct passwd pw, *found = NULL;
    char room[4096];
    if (getpwuid_r(geteuid(), &pw, room, sizeof room, &found) != 0 || !found)
        return NULL;
    return mem_copy_string(home ? pw.pw_dir : pw.pw_name);
}

static char *home_dir(void)
{
    const char *home = getenv("HOME");
    return home && *home ? mem_copy_string(home) : passwd_field(true);
}

/* ~/x beneath the home; anything else as it is. */
static char *expand(const char *path)
{
    if (strncmp(path, "~/", 2) != 0)
        return mem_copy_string(path);
    char *home CLEANUP_FREE = home_dir();
    return mem_format("%s%s", home ? home : "", path + 1);
}

static void replace(char **at, char *value)
{
    free(*at);
    *at = value;
}

static void lack(struct target *t, const char *what)
{
    if (!t->lacks)
        t->lacks = mem_copy_string(what);
}

static void split_paths(struct words *w, const char *value)
{
    while (*value) {
        size_t n = strcspn(value, " ");
        if (n) {
            char *one CLEANUP_FREE = mem_copy_bytes(value, n);
            if (strcmp(one, "none") != 0)
                words_add(w, expand(one));
        }
        value += n;
        value += strspn(value, " ");
    }
}

static void take_host(struct target *t, const char *value)
{
    replace(&t->host, mem_copy_string(value));
}

static void take_user(struct target *t, const char *value)
{
    replace(&t->user, mem_copy_string(value));
}

static void take_port(struct target *t, const char *value)
{
    t->port = (unsigned)strtoul(value, NULL, 10);
}

static void take_identity(struct target *t, const char *value)
{
    if (strcmp(value, "none") == 0)
        return;
    if (strchr(value, '%'))
        lack(t, "an IdentityFile with %");
    words_add(&t->identities, expand(value));
}

static void take_known_hosts(struct target *t, const char *value)
{
    split_paths(&t->known_hosts, value);
}

static void take_alias(struct target *t, const char *value)
{
    replace(&t->key_name, mem_copy_string(value));
}

static void take_family(struct target *t, const char *value)
{
    t->family = strcmp(value, "inet") == 0    ? AF_INET
                : strcmp(value, "inet6") == 0 ? AF_INET6
                                              : AF_UNSPEC;
}

static void take_identities_only(struct target *t, const char *value)
{
    if (strcmp(value, "yes") == 0)
        t->agent = false;
}

/* The words of `ssh -G` that matter. Those without `take` are beyond libssh2 unless their value is
 * `harmless`, which is what ssh prints for a default it prints at all. */
static const struct {
    const char *word;
    void (*take)(struct target *t, const char *value);
    const char *harmless, *called;
} ssh_words[] = {
    {"hostname", take_host, NULL, NULL},
    {"user", take_user, NULL, NULL},
    {"port", take_port, NULL, NULL},
    {"identityfile", take_identity, NULL, NULL},
    {"identitiesonly", take_identities_only, NULL, NULL},
    {"userknownhostsfile", take_known_hosts, NULL, NULL},
    {"globalknownhostsfile", take_known_hosts, NULL, NULL},
    {"hostkeyalias", take_alias, NULL, NULL},
    {"addressfamily", take_family, NULL, NULL},
    {"proxyjump", NULL, "none", "ProxyJump"},
    {"proxycommand", NULL, "none", "ProxyCommand"},
    {"certificatefile", NULL, "none", "CertificateFile"},
    {"identityagent", NULL, "SSH_AUTH_SOCK", "IdentityAgent"},
    {"pkcs11provider", NULL, "none", "PKCS11Provider"},
    {"securitykeyprovider", NULL, "internal", "SecurityKeyProvider"},
    {"knownhostscommand", NULL, "none", "KnownHostsCommand"},
    {"revokedhostkeys", NULL, "none", "RevokedHostKeys"},
    {"bindaddress", NULL, "none", "BindAddress"},
    {"bindinterface", NULL, "none", "BindInterface"},
};

static void take_line(struct target *t, const char *word, const char *value)
{
    for (size_t i = 0; i < sizeof ssh_words / sizeof *ssh_words; i++) {
        if (strcmp(ssh_words[i].word, word) != 0)
            continue;
        if (ssh_words[i].take)
            ssh_words[i].take(t, value);
        else if (strcmp(value, ssh_words[i].harmless) != 0)
            lack(t, ssh_words[i].called);
        return;
    }
}

static void take_output(struct target *t, char *text)
{
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *value = strchr(line, ' ');
        if (!value)
            continue;
        *value++ = 0;
        take_line(t, line, value);
    }
}

/* Asks ssh. What it cannot tell stays as it is. -1 only when stopped or out of time as a whole. */
static int ask_ssh(
    const struct conn_options *o, struct target *t, const struct patience *p, struct err *err)
{
    struct patience own = patience_for(SSH_G_MS, p->stop);
    if (own.deadline > p->deadline)
        own.deadline = p->deadline;
    own.doing = "reading the ssh configuration";
    char port[16];
    const char *argv[9] = {"ssh", "-G"};
    size_t n = 2;
    if (o->port) {
        snprintf(port, sizeof port, "%u", o->port);
        argv[n++] = "-p";
        argv[n++] = port;
    }
    if (o->user) {
        argv[n++] = "-l";
        argv[n++] = o->user;
    }
    argv[n++] = "--";
    argv[n++] = o->host;
    struct proc_result result = {0};
    struct err why = {0};
    int rc = proc_capture((char *const *)argv, SSH_G_MAX, &own, &result, &why);
    if (rc < 0 && patience_check(p, err))
        return -1;
    if (rc < 0)
        t->remark = mem_copy_string(why.text);
    else if (rc == 0 && result.status == 0)
        take_output(t, result.output);
    else if (rc == 0)
        t->remark = tail_last_line(result.said.text);
    free(result.output);
    return 0;
}

static const char *const usual_keys[] = {"~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"};

/* ssh lists its own defaults when nothing is configured; it knows the home from the password file.
 */
static bool is_usual(const char *path)
{
    const char *name = strstr(path, "/.ssh/id_");
    if (!name || strchr(name + strlen("/.ssh/"), '/'))
        return false;
    char *home CLEANUP_FREE = home_dir(), *real CLEANUP_FREE = passwd_field(true);
    size_t n = (size_t)(name - path);
    return (home && strlen(home) == n && strncmp(path, home, n) == 0) ||
           (real && strlen(real) == n && strncmp(path, real, n) == 0);
}

static void settle_identities(struct target *t, const struct conn_options *o)
{
    if (o->identity) {
        words_free(&t->identities);
        words_add(&t->identities, expand(o->identity));
        t->identity_given = true;
        t->agent = false;
        return;
    }
    for (size_t i = 0; i < t->identities.count; i++)
        if (!is_usual(t->identities.word[i]))
            return;
    words_free(&t->identities);
    t->identities_default = true;
    for (size_t i = 0; i < sizeof usual_keys / sizeof *usual_keys; i++)
        words_add(&t->identities, expand(usual_keys[i]));
}

static void settle_known_hosts(struct target *t, const struct conn_options *o)
{
    if (o->known_hosts) {
        words_free(&t->known_hosts);
        words_add(&t->known_hosts, expand(o->known_hosts));
    } else if (t->known_hosts.count == 0) {
        words_add(&t->known_hosts, expand("~/.ssh/known_hosts"));
        words_add(&t->known_hosts, mem_copy_string("/etc/ssh/ssh_known_hosts"));
    }
}

int target_resolve(
    const struct conn_options *o, const struct patience *p, struct target *out, struct err *err)
{
    struct target t = {.name = mem_copy_string(o->host), .family = AF_UNSPEC, .agent = true};
    if (ask_ssh(o, &t, p, err)) {
        target_free(&t);
        return -1;
    }
    if (!t.host)
        t.host = mem_copy_string(o->host);
    if (!t.key_name)
        t.key_name = mem_copy_string(t.host);
    if (o->user)
        replace(&t.user, mem_copy_string(o->user));
    if (!t.user)
        t.user = passwd_field(false);
    if (!t.user) {
        target_free(&t);
        return err_set(err, ERR_USAGE, "user id %u has no name here: write USER@%s",
            (unsigned)geteuid(), o->host);
    }
    if (o->port)
        t.port = o->port;
    if (!t.port)
        t.port = 22;
    settle_identities(&t, o);
    settle_known_hosts(&t, o);
    *out = t;
    return 0;
}

char *target_known_name(const struct target *t)
{
    bool alias = strcmp(t->key_name, t->host) != 0;
    return alias || t->port == 22 ? mem_copy_string(t->key_name)
                                  : mem_format("[%s]:%u", t->key_name, t->port);
}
