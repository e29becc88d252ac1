/*
 * The link's sentences for people. Knows how OpenSSH's client words its failures, so that those
 * come out with the same codes and advice as libssh2's; knows no connection.
 */
#include "link/reason.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "link/process/quote.h"
#include "link/process/tail.h"

#define NOBODY_LISTENS "does its sshd run, and listen on that port?"
#define NO_WAY         "is it up, and do the firewalls between let this host through?"

static const char *or_default(const char *s, const char *otherwise)
{
    return s ? s : otherwise;
}

/* How known_hosts names a server: "host", or "[host]:port" away from port 22. */
static char *known_name(const struct reason_key *k)
{
    return k->port == 22 ? mem_copy_string(k->name) : mem_format("[%s]:%u", k->name, k->port);
}

/* What ssh-keyscan calls the family of the key's algorithm, NULL when it is not known. */
static char *key_family(const char *type)
{
    static const char *const families[] = {"ed25519", "ecdsa", "rsa"};
    for (size_t i = 0; type && i < sizeof families / sizeof *families; i++)
        if (strstr(type, families[i]))
            return mem_copy_string(families[i]);
    return NULL;
}

/* "ssh-keyscan -t ed25519 -p 2222 web2" */
static char *keyscan(const struct reason_key *k)
{
    char *family CLEANUP_FREE = key_family(k->type);
    char *scan CLEANUP_FREE =
        family ? mem_format("ssh-keyscan -t %s", family) : mem_copy_string("ssh-keyscan");
    char *port CLEANUP_FREE = k->port == 22 ? mem_copy_string("") : mem_format(" -p %u", k->port);
    char *host CLEANUP_FREE = quote_command((char *const *)(const char *const[]){k->name, NULL});
    return mem_format("%s%s %s", scan, port, host);
}

/* "ssh-keygen -R '[web2]:2222' -f FILE" */
static char *forget_key(const struct reason_key *k)
{
    char *name CLEANUP_FREE = known_name(k);
    const char *argv[] = {"ssh-keygen", "-R", name, k->file ? "-f" : NULL, k->file, NULL};
    return quote_command((char *const *)argv);
}

/* "ssh-ed25519 key SHA256:…", as far as it is known. */
static char *shown_key(const struct reason_key *k)
{
    return mem_format("%s%skey%s%s", or_default(k->type, ""), k->type ? " " : "",
        k->fingerprint ? " " : "", or_default(k->fingerprint, ""));
}

int reason_unknown_key(struct err *err, const struct reason_key *k)
{
    char *scan CLEANUP_FREE = keyscan(k);
    char *shown CLEANUP_FREE = shown_key(k);
    char *file CLEANUP_FREE =
        k->file ? quote_command((char *const *)(const char *const[]){k->file, NULL})
                : mem_copy_string("~/.ssh/known_hosts");
    if (k->fingerprint)
        return err_set(err, ERR_FAILED,
            "the host key of %s port %u is not known: it shows the %s. If that is what "
            "`ssh-keygen -lf` prints on the host itself for its key, type: %s >> %s",
            k->name, k->port, shown, scan, file);
    return err_set(err, ERR_FAILED,
        "the host key of %s port %u is not known. See its fingerprint with `%s | ssh-keygen -lf "
        "-`; "
        "if `ssh-keygen -lf` prints the same on the host itself for its key, type: %s >> %s",
        k->name, k->port, scan, scan, file);
}

int reason_changed_key(struct err *err, const struct reason_key *k)
{
    char *shown CLEANUP_FREE = shown_key(k), *forget CLEANUP_FREE = forget_key(k);
    char *where CLEANUP_FREE = k->line
                                   ? mem_format("%s:%u", k->file, k->line)
                                   : mem_copy_string(or_default(k->file, "the known hosts file"));
    return err_set(err, ERR_REFUSED,
        "the host key of %s port %u has changed: it shows the %s, which is not the one in "
        "%s. Somebody may be in between. If the host was installed anew, type: %s "
        "and add the new key",
        k->name, k->port, shown, where, forget);
}

int reason_revoked_key(struct err *err, const struct reason_key *k)
{
    char *shown CLEANUP_FREE = shown_key(k);
    return err_set(err, ERR_REFUSED,
        "%s port %u shows the %s, which is marked as revoked in %s:%u: it must not be "
        "trusted",
        k->name, k->port, shown, k->file, k->line);
}

int reason_denied(struct err *err, const char *user, const char *name, const char *tried)
{
    return err_set(err, ERR_FAILED,
        "%s lets user %s in with no key that is there (tried: %s): add the public key to "
        "~%s/.ssh/authorized_keys on %s, or name another one with --identity",
        name, user, tried, user, name);
}

/* The line that holds these words. */
static char *line_with(const char *text, const char *words)
{
    const char *at = strstr(text, words);
    if (!at)
        return NULL;
    const char *start = at;
    while (start > text && start[-1] != '\n')
        start--;
    return mem_copy_bytes(start, strcspn(start, "\r\n"));
}

/* What stands between the two words, NULL when they are not there. */
static char *between(const char *text, const char *before, const char *after)
{
    const char *start = strstr(text, before);
    if (!start)
        return NULL;
    start += strlen(before);
    const char *end = strstr(start, after);
    return end ? mem_copy_bytes(start, (size_t)(end - start)) : NULL;
}

/* ssh names the server as known_hosts does: takes "[host]:port" apart, in place. */
static void take_name(struct reason_key *k, char *name)
{
    if (!name || !*name)
        return;
    k->name = name;
    char *end = *name == '[' ? strstr(name, "]:") : NULL;
    if (!end)
        return;
    *end = 0;
    k->name = name + 1;
    k->port = (unsigned)strtoul(end + 2, NULL, 10);
}

static int ssh_changed_key(struct err *err, const struct reason_end *e)
{
    struct reason_key k = {.name = e->name, .port = 22};
    char *name CLEANUP_FREE = between(e->text, "Host key for ", " has changed");
    char *type CLEANUP_FREE = between(e->text, "The fingerprint for the ", " key sent");
    char *print CLEANUP_FREE = between(e->text, "key sent by the remote host is\n", ".\r\n");
    char *offending CLEANUP_FREE = line_with(e->text, "Offending ");
    char *at = offending ? strstr(offending, " key in ") : NULL;
    char *file = at ? at + strlen(" key in ") : NULL;
    char *colon = file ? strrchr(file, ':') : NULL;
    if (colon) {
        k.line = (unsigned)strtoul(colon + 1, NULL, 10);
        *colon = 0;
    }
    take_name(&k, name);
    k.type = type;
    k.fingerprint = print;
    k.file = file;
    return reason_changed_key(err, &k);
}

static int ssh_unknown_key(struct err *err, const struct reason_end *e)
{
    struct reason_key k = {.name = e->name, .port = 22, .file = e->known_hosts};
    char *name CLEANUP_FREE = between(e->text, "host key is known for ", " and you have");
    take_name(&k, name);
    return reason_unknown_key(err, &k);
}

/* What ssh says when it ends with 255, and the system of a connect: the words, what they mean. */
static const struct {
    const char *words;
    enum err_code code;
    const char *advice;
    int (*say)(struct err *err, const struct reason_end *e);
} ssh_words[] = {
    {"IDENTIFICATION HAS CHANGED", ERR_REFUSED, NULL, ssh_changed_key},
    {"REVOKED HOST KEY", ERR_REFUSED, NULL, NULL},
    {"host key is known for", ERR_FAILED, NULL, ssh_unknown_key},
    {"Host key verification failed", ERR_FAILED, NULL, NULL},
    {"Could not resolve hostname", ERR_TEMPORARY, NULL, NULL},
    {"Connection refused", ERR_TEMPORARY, NOBODY_LISTENS, NULL},
    {"timed out", ERR_TEMPORARY, NO_WAY, NULL},
    {"No route to host", ERR_TEMPORARY, NO_WAY, NULL},
    {"Network is unreachable", ERR_TEMPORARY, NO_WAY, NULL},
    {"Permission denied", ERR_FAILED,
        "add the public key to ~/.ssh/authorized_keys there, or name another one with --identity",
        NULL},
    {"no matching", ERR_FAILED, "the two sides have no algorithm in common", NULL},
    {"Bad configuration option", ERR_USAGE, "repair the ssh configuration", NULL},
    {"Connection closed", ERR_TEMPORARY, NULL, NULL},
    {"Connection reset", ERR_TEMPORARY, NULL, NULL},
    {"Broken pipe", ERR_TEMPORARY, NULL, NULL},
};

int reason_unreachable(struct err *err, const char *name, const char *port, const char *why)
{
    const char *advice = NULL;
    for (size_t i = 0; !advice && i < sizeof ssh_words / sizeof *ssh_words; i++)
        if (strstr(why, ssh_words[i].words))
            advice = ssh_words[i].advice;
    return err_set(err, ERR_TEMPORARY, "cannot connect to %s port %s: %s%s%s", name, port, why,
        advice ? ": " : "", advice ? advice : "");
}

static int ssh_ended(struct err *err, const struct reason_end *e)
{
    for (size_t i = 0; i < sizeof ssh_words / sizeof *ssh_words; i++) {
        char *line CLEANUP_FREE = line_with(e->text, ssh_words[i].words);
        if (!line)
            continue;
        if (ssh_words[i].say)
            return ssh_words[i].say(err, e);
        if (ssh_words[i].advice)
            return err_set(
                err, ssh_words[i].code, "ssh to %s: %s: %s", e->name, line, ssh_words[i].advice);
        return err_set(err, ssh_words[i].code, "ssh to %s: %s", e->name, line);
    }
    char *line CLEANUP_FREE = tail_last_line(e->text);
    if (!*line)
        return err_set(err, ERR_TEMPORARY, "the connection to %s was lost", e->name);
    return err_set(err, ERR_FAILED, "ssh to %s: %s", e->name, QUOTED(line, strlen(line)));
}

int reason_ended(struct err *err, const struct reason_end *e)
{
    const char *where = or_default(e->name, "this host");
    if (e->via_ssh && e->status == 255)
        return ssh_ended(err, e);
    char *said CLEANUP_FREE = tail_last_line(e->text);
    char *quoted CLEANUP_FREE =
        *said ? mem_format(" (%s)", QUOTED(said, strlen(said))) : mem_copy_string("");
    if (e->status == 127)
        return err_set(err, ERR_FAILED,
            "%s is not installed on %s%s: install it there or name it with --remote-command",
            e->command, where, quoted);
    if (e->status == 126)
        return err_set(err, ERR_FAILED, "%s cannot be executed on %s%s", e->command, where, quoted);
    if (e->status > 128)
        return err_set(err, ERR_TEMPORARY, "%s on %s was ended by signal %d%s", e->command, where,
            e->status - 128, quoted);
    if (e->status > 0)
        return err_set(err, e->status <= ERR_TEMPORARY ? (enum err_code)e->status : ERR_FAILED,
            "%s on %s ended with status %d%s", e->command, where, e->status, quoted);
    if (e->status == 0)
        return err_set(err, ERR_FAILED, "%s on %s ended too early, without an error%s", e->command,
            where, quoted);
    return err_set(err, ERR_TEMPORARY, "the connection to %s was lost%s", where, quoted);
}
