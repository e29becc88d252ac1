/*
 * Opening a link with libssh2: which host keys are trusted, which keys are shown in which order,
 * and the words when it does not work. The protocol itself is ssh2.c's.
 */
#include <string.h>

#include "base/mem.h"
#include "link/conn_impl.h"
#include "link/keys/keyfile.h"
#include "link/keys/known.h"
#include "link/net/net.h"
#include "link/process/quote.h"
#include "link/reason.h"
#include "link/ssh2/ssh2.h"

/* ---- the server's key ---- */

/* The types known_hosts has for the host, so that the server shows a key that can be checked. */
static char *known_types(const struct known *known)
{
    struct buf b = {0};
    for (size_t i = 0; i < known->count; i++) {
        if (known->lines[i].revoked)
            continue;
        if (buf_len(&b))
            buf_append(&b, ",", 1);
        buf_append(&b, known->lines[i].type, strlen(known->lines[i].type));
    }
    buf_append(&b, "", 1);
    char *list = mem_copy_string((const char *)buf_bytes(&b));
    buf_free(&b);
    return list;
}

static int other_type(const struct target *t, const struct known_line *line,
    const struct reason_key *why, struct err *err)
{
    if (strcmp(line->type, "ssh-rsa") == 0 && !ssh2_has_rsa_sha2()) {
        err_set(err, ERR_FAILED, "%s:%u has an RSA key of %s, which libssh2 %s cannot check",
            line->file, line->line, t->name, ssh2_version());
        return CONN_NO_ALGORITHM;
    }
    return reason_changed_key(err, why);
}

static int judge_key(const struct target *t, const struct known *known,
    const struct ssh2_hostkey *shown, struct err *err)
{
    const struct known_line *line;
    enum known_verdict verdict = known_check(known, shown->type, shown->key, &line);
    struct reason_key why = {.name = t->key_name,
        .port = t->port,
        .type = shown->type,
        .fingerprint = shown->fingerprint,
        .file = line                   ? line->file
                : t->known_hosts.count ? t->known_hosts.word[0]
                                       : NULL,
        .line = line ? line->line : 0};
    switch (verdict) {
    case KNOWN_MATCH: return 0;
    case KNOWN_CHANGED: return reason_changed_key(err, &why);
    case KNOWN_REVOKED: return reason_revoked_key(err, &why);
    case KNOWN_OTHER: return other_type(t, line, &why, err);
    case KNOWN_ABSENT: break;
    }
    int rc = reason_unknown_key(err, &why);
    return known->authority ? CONN_NO_ALGORITHM : rc; /* its certificate may be good */
}

static int check_key(
    struct ssh2 *s, const struct target *t, const struct known *known, struct err *err)
{
    struct ssh2_hostkey shown;
    if (ssh2_hostkey(s, &shown, err))
        return -1;
    int rc = judge_key(t, known, &shown, err);
    free(shown.key);
    free(shown.fingerprint);
    return rc;
}

static int meet_server(struct ssh2 *s, const struct target *t, struct patience *p, struct err *err)
{
    struct known known;
    if (known_load(&t->known_hosts, t->key_name, t->port, ssh2_hash_matches, s, &known, err))
        return -1;
    char *types CLEANUP_FREE = known_types(&known);
    int fd;
    p->doing = "connecting";
    int rc = net_connect(t->host, t->port, t->family, p, &fd, err);
    if (rc == 0)
        rc = ssh2_handshake(s, fd, types, err);
    if (rc == 0)
        rc = check_key(s, t, &known, err);
    known_free(&known);
    return rc;
}

/* ---- our keys ---- */

struct login {
    struct ssh2 *s;
    const struct target *t;
    struct buf tried; /* names of keys, for the message */
    bool beyond;      /* a key was there that this libssh2 cannot use */
};

static void note(struct login *l, const char *key, const char *why)
{
    char *text CLEANUP_FREE = mem_format("%s%s%s", buf_len(&l->tried) ? ", " : "", key, why);
    buf_append(&l->tried, text, strlen(text));
}

/* What a key file that cannot be shown means: an error if it was asked for, else a note. */
static int unusable(
    struct login *l, const char *path, const char *why, const char *advice, struct err *err)
{
    if (l->t->identity_given)
        return err_set(err, ERR_FAILED, "the key %s %s: %s", path, why, advice);
    char *text CLEANUP_FREE = mem_format(", which %s", why);
    note(l, path, text);
    return 1;
}

static int show_key(struct login *l, const char *path, const struct keyfile *key, struct err *err)
{
    switch (key->kind) {
    case KEYFILE_ENCRYPTED:
        return unusable(l, path, "needs a passphrase",
            "load it into an agent (ssh-add) and leave --identity out, or use a key without one",
            err);
    case KEYFILE_PUBLIC: return unusable(l, path, "is a public key", "name the private one", err);
    case KEYFILE_HARDWARE:
        l->beyond = true;
        note(l, path, ", which is in a hardware token");
        return 1;
    case KEYFILE_RSA: l->beyond |= !ssh2_has_rsa_sha2(); break;
    case KEYFILE_PRIVATE: break;
    }
    note(l, path, "");
    int rc = ssh2_login_key(l->s, l->t->user, key, err);
    return rc < 0 ? err_prefix(err, "key %s", path) : rc;
}

/* 0: in; 1: not with this file; -1. */
static int try_file(struct login *l, const char *path, struct err *err)
{
    struct keyfile key;
    int rc = keyfile_load(path, &key, err);
    if (rc > 0 && l->t->identity_given)
        return err_set(err, ERR_FAILED, "there is no key file %s", path);
    if (rc > 0)
        return 1;
    if (rc < 0 && l->t->identity_given)
        return -1;
    if (rc < 0) {
        note(l, err->text, "");
        return 1;
    }
    rc = show_key(l, path, &key, err);
    keyfile_free(&key);
    return rc;
}

static int try_files(struct login *l, struct err *err)
{
    int rc = 1;
    for (size_t i = 0; i < l->t->identities.count && rc > 0; i++)
        rc = try_file(l, l->t->identities.word[i], err);
    return rc;
}

static int try_agent(struct login *l, struct err *err)
{
    return l->t->agent ? ssh2_login_agent(l->s, l->t->user, &l->tried, &l->beyond, err) : 1;
}

static int refused(struct login *l, struct err *err)
{
    buf_append(&l->tried, "", 1);
    const char *tried = (const char *)buf_bytes(&l->tried);
    if (!l->beyond)
        return reason_denied(
            err, l->t->user, l->t->name, *tried ? tried : "none: no key file, no agent");
    err_set(err, ERR_FAILED,
        "%s lets user %s in with no key that libssh2 %s can use as servers want it (it has no RSA "
        "with "
        "SHA-2, hardware keys or certificates; tried: %s)",
        l->t->name, l->t->user, ssh2_version(), tried);
    return CONN_NO_ALGORITHM;
}

static int log_in(struct ssh2 *s, const struct target *t, struct err *err)
{
    struct login l = {.s = s, .t = t};
    int rc;
    if (t->identities_default) {
        rc = try_agent(&l, err);
        if (rc > 0)
            rc = try_files(&l, err);
    } else {
        rc = try_files(&l, err);
        if (rc > 0)
            rc = try_agent(&l, err);
    }
    if (rc > 0)
        rc = refused(&l, err);
    buf_free(&l.tried);
    return rc;
}

int ssh_open(const struct target *t, char *const *argv, const struct patience *p, struct conn **out,
    struct err *err)
{
    struct patience own = *p;
    struct ssh2 *s;
    if (ssh2_new(&own, &s, err))
        return -1;
    char *command CLEANUP_FREE = quote_command(argv);
    int rc = meet_server(s, t, &own, err);
    if (rc == 0)
        rc = log_in(s, t, err);
    if (rc == 0)
        rc = ssh2_exec(s, command, err);
    if (rc) {
        ssh2_free(s);
        return rc;
    }
    *out = ssh2_conn(s);
    return 0;
}
