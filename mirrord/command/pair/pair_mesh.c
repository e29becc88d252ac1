/*
 * Each member shall reach each other one, since each may become the primary: what is missing for
 * that on which host, as a plan; and trying it. Looks only at what the hosts say they have.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "command/pair/pair_agent.h"
#include "command/pair/pair_impl.h"
#include "command/pair/pair_keys.h"
#include "command/pair/pair_text.h"
#include "command/words.h"
#include "link/keys/known_edit.h"
#include "link/process/proc.h"

enum { KEYS_MODE = 0600, KNOWN_MODE = 0644, DIFF_MS = 10000, DIFF_MAX = 1024 * 1024 };

const char *pair_identity(const struct pairing *p, const struct pair_member *to)
{
    return to->host->identity ? to->host->identity : p->config->identity;
}

const char *pair_known_hosts(const struct pairing *p, const struct pair_member *to)
{
    return to->host->known_hosts ? to->host->known_hosts : p->config->known_hosts;
}

/* ---- keys ---- */

/* The public key with which `from` goes to `to`; the caller frees it. */
static char *key_between(struct pair_member *from, const char *path, bool *made, struct err *err)
{
    struct json *request = json_object(), *answer;
    char *comment CLEANUP_FREE = mem_format("mirrord@%s", from->host->name);
    json_set_text(request, "do", "key");
    json_set_text(request, "path", path);
    json_set_text(request, "comment", comment);
    json_set_bool(request, "make", true);
    if (pair_end_ask(from->end, request, &answer, err))
        return NULL;
    char *key = mem_copy_string(json_get_text(answer, "public", ""));
    *made = json_get_bool(answer, "made", false);
    json_free(answer);
    if (pair_text_is_key(key))
        return key;
    err_set(err, ERR_FAILED, "%s: %s: '%s' is no public key", from->host->name, path,
        QUOTED(key, strlen(key)));
    free(key);
    return NULL;
}

/* What the key may start at `to`, and nothing else. */
static char *forced_line(const struct pairing *p, const struct pair_member *from,
    const struct pair_member *to, const char *key, struct err *err)
{
    char *comment CLEANUP_FREE = mem_format("mirrord@%s", from->host->name), *line = NULL;
    char **words = words_append(words_split(to->host->remote_command),
        (const char *const[]){"receive", "-c", p->config->path, "--as", to->host->name, NULL});
    pair_text_line(words, key, comment, &line, err);
    words_free(words);
    return line;
}

/* Whose authorized_keys: the file at `to`, read once for each plan. */
static int keys_file(struct pairing *p, const struct pair_member *to, struct pair_plan *plan,
    struct pair_planned **out, struct err *err)
{
    const char *user = to->host->user ? to->host->user : "root";
    struct json *request = json_object(), *answer = NULL;
    if (p->authorized_keys) {
        json_free(request);
        return pair_plan_file(plan, to->end, p->authorized_keys, user, KEYS_MODE, out, err);
    }
    json_set_text(request, "do", "keys-of");
    json_set_text(request, "user", user);
    if (pair_end_ask(to->end, request, &answer, err))
        return -1;
    int rc =
        pair_plan_file(plan, to->end, json_get_text(answer, "path", ""), user, KEYS_MODE, out, err);
    json_free(answer);
    return rc;
}

static void say_lines(struct buf *b, const char *head, const char *text)
{
    while (*text) {
        size_t len = strcspn(text, "\n");
        buf_append(b, head, strlen(head));
        buf_append(b, text, len);
        buf_append(b, "\n", 1);
        text += len + (text[len] == '\n');
    }
}

static void change_keys(struct pair_planned *f, struct pair_text_edit *e, const char *line)
{
    struct buf says = {0};
    say_lines(&says, "  - ", e->gone);
    say_lines(&says, "  + ", line);
    buf_append(&says, "", 1);
    if (!e->same)
        pair_plan_change(f, TAKE_PTR(e->text), "%s", (const char *)buf_bytes(&says));
    buf_free(&says);
    pair_text_free(e);
}

static int plan_key(struct pairing *p, struct pair_member *from, struct pair_member *to,
    const char *suffix, bool keep_older, struct pair_plan *plan, struct err *err)
{
    char *path CLEANUP_FREE = mem_format("%s%s", pair_identity(p, to), suffix);
    bool made = false;
    char *key CLEANUP_FREE = key_between(from, path, &made, err);
    if (!key)
        return -1;
    if (made)
        printf("%s: %s: a new key\n", from->host->name, path);
    char *line CLEANUP_FREE = forced_line(p, from, to, key, err);
    struct pair_planned *f;
    struct pair_text_edit e;
    if (!line || keys_file(p, to, plan, &f, err))
        return -1;
    pair_text_add(f->text, line, keep_older, &e);
    change_keys(f, &e, line);
    return 0;
}

int pair_mesh_keys(
    struct pairing *p, const char *suffix, bool keep_older, struct pair_plan *plan, struct err *err)
{
    for (size_t to = 0; to < p->count; to++)
        for (size_t from = 0; from < p->count; from++)
            if (from != to && p->members[from].end && p->members[to].end &&
                plan_key(p, &p->members[from], &p->members[to], suffix, keep_older, plan, err))
                return -1;
    return 0;
}

int pair_mesh_forget(struct pairing *p, char *const *keys, struct pair_plan *plan, struct err *err)
{
    for (size_t to = 0; to < p->count; to++)
        for (char *const *key = keys; p->members[to].end && *key; key++) {
            struct pair_planned *f;
            struct pair_text_edit e;
            if (keys_file(p, &p->members[to], plan, &f, err))
                return -1;
            pair_text_remove(f->text, *key, &e);
            change_keys(f, &e, "");
        }
    return 0;
}

/* ---- host keys ---- */

/* The other's name in known_hosts as this one looks it up, which its own ssh configuration may
 * change; a mirrord that cannot tell looks for what was seen here. The caller frees it. */
static char *known_name(struct pair_member *at, const struct pair_member *of)
{
    struct json *request = json_object(), *answer;
    struct err ignored;
    json_set_text(request, "do", "known-name");
    json_set_text(request, "address", of->host->address);
    json_set_number(request, "port", of->host->port);
    if (pair_end_ask(at->end, request, &answer, &ignored))
        return mem_copy_string(of->shown.name);
    char *name = mem_copy_string(json_get_text(answer, "name", of->shown.name));
    json_free(answer);
    return name;
}

static int known_line(const struct pairing *p, const struct pair_member *of, const char *name,
    char **line, struct err *err)
{
    char *plain CLEANUP_FREE = mem_format("%s %s", name, of->shown.key);
    return pair_keys_hash(p->scratch, plain, line, err);
}

static int plan_known(struct pairing *p, struct pair_member *at, struct pair_member *of,
    struct pair_plan *plan, struct err *err)
{
    const char *path = pair_known_hosts(p, of);
    char *name CLEANUP_FREE = known_name(at, of), *hashed CLEANUP_FREE = NULL;
    size_t type = strcspn(of->shown.key, " ");
    char *kind CLEANUP_FREE = mem_copy_bytes(of->shown.key, type), *old CLEANUP_FREE = NULL;
    struct pair_planned *f;
    struct known found;
    const struct known_line *line;
    if (known_line(p, of, name, &hashed, err) ||
        pair_plan_file(plan, at->end, path, "", KNOWN_MODE, &f, err) ||
        known_edit_find(f->text, path, name, &found, err))
        return -1;
    enum known_verdict v = known_check(&found, kind, of->shown.key + type + 1, &line);
    char *key CLEANUP_FREE = line ? mem_format("%s %s", line->type, line->key) : NULL;
    int rc = key ? pair_keys_fingerprint(key, &old, err) : 0;
    if (rc == 0 && (v == KNOWN_REVOKED || (v == KNOWN_CHANGED && !of->rehost)))
        rc = err_set(err, ERR_REFUSED,
            "%s: %s:%u has another host key of %s: %s. Nothing was changed; if %s was installed "
            "anew, say --rehost %s",
            at->host->name, path, line->line, of->host->name, old, of->host->name, of->host->name);
    else if (rc == 0 && v != KNOWN_MATCH)
        pair_plan_change(f, known_edit_add(f->text, &found, v == KNOWN_CHANGED, hashed),
            "%s%s%s  + host key of %s: %s\n", v == KNOWN_CHANGED ? "  - " : "",
            v == KNOWN_CHANGED ? old : "", v == KNOWN_CHANGED ? "\n" : "", of->host->name,
            of->shown.fingerprint);
    known_free(&found);
    return rc;
}

int pair_mesh_known(struct pairing *p, struct pair_plan *plan, struct err *err)
{
    for (size_t at = 0; at < p->count; at++)
        for (size_t of = 0; of < p->count; of++)
            if (at != of && p->members[at].end && p->members[of].shown.key &&
                plan_known(p, &p->members[at], &p->members[of], plan, err))
                return -1;
    return 0;
}

/* ---- the configuration ---- */

static int write_scratch(const char *path, const char *text, struct err *err)
{
    int fd CLEANUP_FD = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd < 0 || io_write_full(fd, text, strlen(text))
               ? err_set(err, ERR_FAILED, "%s cannot be written", path)
               : 0;
}

/* As diff(1) shows it; without that program only that they differ. The caller frees it. */
static char *difference(struct pairing *p, const struct pair_planned *f, const char *ours)
{
    char *a CLEANUP_FREE = mem_format("%s/there", p->scratch);
    char *b CLEANUP_FREE = mem_format("%s/here", p->scratch);
    char *label CLEANUP_FREE = mem_format("on %s", pair_end_name(f->end));
    const char *const argv[] = {
        "diff", "-u", "--label", label, "--label", "here", "--", a, b, NULL};
    struct patience patience = patience_for(DIFF_MS, NULL);
    struct proc_result r = {0};
    struct err ignored;
    patience.doing = "comparing";
    int rc = write_scratch(a, f->text, &ignored) || write_scratch(b, ours, &ignored)
                 ? -1
                 : proc_capture((char *const *)argv, DIFF_MAX, &patience, &r, &ignored);
    unlink(a);
    unlink(b);
    return rc == 0 && r.status == 1 ? r.output : mem_copy_string("(it differs)\n");
}

static int plan_file(struct pairing *p, struct pair_member *m, const char *path,
    struct pair_plan *plan, struct err *err)
{
    struct pair_plan here = {0};
    struct pair_planned *ours, *theirs;
    int rc = pair_plan_file(&here, p->members[0].end, path, "", 0644, &ours, err);
    if (rc == 0)
        rc = pair_plan_file(plan, m->end, path, "", ours->mode, &theirs, err);
    if (rc == 0 && strcmp(ours->text, theirs->text) != 0) {
        char *shown CLEANUP_FREE = theirs->there ? difference(p, theirs, ours->text)
                                                 : mem_copy_string("the same as here\n");
        struct buf says = {0};
        say_lines(&says, "  ", shown);
        buf_append(&says, "", 1);
        pair_plan_change(theirs, mem_copy_string(ours->text), "%s", (const char *)buf_bytes(&says));
        buf_free(&says);
    }
    pair_plan_free(&here);
    return rc;
}

int pair_mesh_config(struct pairing *p, struct pair_plan *plan, struct err *err)
{
    const char *path;
    for (size_t i = 1; i < p->count; i++)
        for (size_t k = 0; p->members[i].end && (path = config_file_path(p->config, k)); k++)
            if (plan_file(p, &p->members[i], path, plan, err))
                return -1;
    return 0;
}

/* ---- trying ---- */

static int try_one(struct pairing *p, struct pair_member *from, struct pair_member *to,
    const char *suffix, struct err *err)
{
    struct json *request = json_object(), *answer;
    char *identity CLEANUP_FREE = mem_format("%s%s", pair_identity(p, to), suffix);
    json_set_text(request, "do", "try");
    json_set_text(request, "config", p->config->path);
    json_set_text(request, "as", from->host->name);
    json_set_text(request, "to", to->host->name);
    json_set_text(request, "identity", identity);
    if (pair_end_ask(from->end, request, &answer, err))
        return -1;
    json_free(answer);
    return 0;
}

unsigned pair_mesh_try(struct pairing *p, const char *suffix, bool report)
{
    unsigned failures = 0;
    for (size_t to = 0; to < p->count; to++) {
        struct buf from_whom = {0};
        for (size_t from = 0; from < p->count; from++) {
            struct err err = {0};
            if (from == to || !p->members[from].end || !p->members[to].end)
                continue;
            if (try_one(p, &p->members[from], &p->members[to], suffix, &err) == 0) {
                const char *name = p->members[from].host->name;
                buf_append(
                    &from_whom, buf_len(&from_whom) ? ", " : " ", buf_len(&from_whom) ? 2 : 1);
                buf_append(&from_whom, name, strlen(name));
                continue;
            }
            failures++;
            log_error("pair: %s does not reach %s: %s", p->members[from].host->name,
                p->members[to].host->name, err.text);
        }
        if (report && buf_len(&from_whom))
            printf("%s: reached from%.*s\n", p->members[to].host->name, (int)buf_len(&from_whom),
                (const char *)buf_bytes(&from_whom));
        buf_free(&from_whom);
    }
    return failures;
}
