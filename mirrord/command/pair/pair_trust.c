/*
 * Which host keys are trusted. This is the one place where a person, or the command line, decides
 * that: a key that is known already needs no word, one that changed is never taken in passing
 * (--rehost), and this host's own is compared with what its sshd has.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "command/pair/pair_agent.h"
#include "command/pair/pair_impl.h"
#include "command/pair/pair_keys.h"
#include "link/keys/known_edit.h"

/* ---- what is known ---- */

static int judge(struct pairing *p, const struct pair_member *m, enum known_verdict *verdict,
    char **old, struct err *err)
{
    const char *path = pair_known_hosts(p, m);
    struct pair_plan plan = {0};
    struct pair_planned *f;
    struct known found = {0};
    int rc = pair_plan_file(&plan, p->members[0].end, path, "", 0644, &f, err);
    if (rc == 0)
        rc = known_edit_find(f->text, path, m->shown.name, &found, err);
    if (rc == 0) {
        const struct known_line *line;
        size_t type = strcspn(m->shown.key, " ");
        char *kind CLEANUP_FREE = mem_copy_bytes(m->shown.key, type);
        *verdict = known_check(&found, kind, m->shown.key + type + 1, &line);
        char *key CLEANUP_FREE = line ? mem_format("%s %s", line->type, line->key) : NULL;
        if (key && pair_keys_fingerprint(key, old, err))
            rc = -1;
    }
    known_free(&found);
    pair_plan_free(&plan);
    return rc;
}

/* ---- what decides about a key that is not known ---- */

static bool is_accepted(const struct pairing *p, const struct pair_key *k)
{
    size_t n = strcspn(k->fingerprint, " ");
    for (char **a = p->accepted; a && *a; a++)
        if (strncmp(*a, "SHA256:", 7) == 0
                ? strlen(*a) == n && strncmp(*a, k->fingerprint, n) == 0
                : strlen(*a) + 7 == n && strncmp(*a, k->fingerprint + 7, n - 7) == 0)
            return true;
    return false;
}

/* Is it one that the sshd of this machine has? */
static bool is_own(struct pairing *p, const struct pair_key *k)
{
    struct json *request = json_object(), *answer;
    struct err ignored;
    bool found = false;
    json_set_text(request, "do", "host-keys");
    if (pair_end_ask(p->members[0].end, request, &answer, &ignored))
        return false;
    const struct json *keys = json_get(answer, "keys");
    for (size_t i = 0; i < json_count(keys); i++) {
        const char *key = json_text_at(keys, i);
        found |= key && strcmp(key, k->key) == 0;
    }
    json_free(answer);
    return found;
}

static int ask_person(const struct pair_member *m, const char *old, struct err *err)
{
    const struct pair_key *k = &m->shown;
    const char *type = strrchr(k->fingerprint, '(');
    char *file CLEANUP_FREE = mem_format("%.*s", (int)strcspn(type + 1, ")"), type + 1);
    for (char *c = file; *c; c++)
        *c |= 0x20;
    if (old)
        printf("%s: the host key has changed: it was %s,\n", m->host->name, old);
    printf("%s: the host key of %s is %s\n"
           "    compare, at its console:  ssh-keygen -lf /etc/ssh/ssh_host_%s_key.pub\n",
        m->host->name, k->name, k->fingerprint, file);
    char *instead CLEANUP_FREE = mem_format(
        "compare its fingerprint with the one at its console, then say --accept-fingerprint %.*s",
        (int)strcspn(k->fingerprint, " "), k->fingerprint);
    int yes = pair_ask("Is it this one?", instead, err);
    if (yes == 0)
        err_set(err, ERR_REFUSED, "its host key was not accepted");
    return yes > 0 ? 0 : -1;
}

static int changed(const struct pair_member *m, const char *old, struct err *err)
{
    return err_set(err, ERR_REFUSED,
        "its host key has changed: it was %s, now it is %s. Somebody may be in between. If the "
        "host "
        "was installed anew, say --rehost %s",
        old, m->shown.fingerprint, m->host->name);
}

static int decide(struct pairing *p, struct pair_member *m, struct err *err)
{
    enum known_verdict verdict = KNOWN_ABSENT;
    char *old CLEANUP_FREE = NULL;
    if (judge(p, m, &verdict, &old, err))
        return -1;
    if (verdict == KNOWN_MATCH)
        return 0;
    if (verdict == KNOWN_REVOKED)
        return err_set(err, ERR_REFUSED, "its host key %s is marked as revoked in %s", old,
            pair_known_hosts(p, m));
    if (verdict == KNOWN_CHANGED && !m->rehost)
        return changed(m, old, err);
    if (is_accepted(p, &m->shown) || (m == p->members && is_own(p, &m->shown)))
        return 0;
    return ask_person(m, verdict == KNOWN_CHANGED ? old : NULL, err);
}

/* ---- all of them ---- */

/* Without this host's own key the others cannot check it when they are promoted. */
static void meet(struct pairing *p, struct pair_member *m, struct err *unsaid)
{
    struct err err = {0};
    if (pair_meet(m->host, &p->login, p->scratch, &m->shown, &err) == 0) {
        if (decide(p, m, &err) == 0)
            return;
        err_prefix(&err, "%s", m->host->name);
    }
    pair_key_free(&m->shown);
    if (err.code == ERR_USAGE)
        *unsaid = err;
    pair_failed(p, &err);
}

int pair_trust(struct pairing *p, struct err *err)
{
    struct err unsaid = {0};
    size_t met = 0;
    for (size_t i = 0; i < p->count; i++) {
        meet(p, &p->members[i], &unsaid);
        met += i > 0 && p->members[i].shown.key;
    }
    if (unsaid.code)
        return err_set(
            err, ERR_USAGE, "nothing was changed: say it for each host that is named above");
    return met ? 0 : err_set(err, p->worst.code, "no other host is left: nothing was changed");
}
