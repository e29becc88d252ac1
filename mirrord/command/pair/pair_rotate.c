/*
 * New keys for all hosts, or none: made under another name, let in beside the old ones, tried, and
 * only then moved into their place, after which the old ones are let in no more. Whatever goes
 * wrong before that leaves the old keys valid; what is interrupted is taken up by the next
 * rotation.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "command/pair/pair_impl.h"
#include "command/pair/pair_text.h"
#include "command/words.h"

#define NEW ".new"

static bool has_word(char *const *words, const char *word)
{
    for (; *words; words++)
        if (strcmp(*words, word) == 0)
            return true;
    return false;
}

/* Does something with each key file of each member, once. */
typedef int for_key(struct pair_end *end, const char *path, void *arg, struct err *err);

static int each_key(struct pairing *p, for_key *run, void *arg, struct err *err)
{
    for (size_t from = 0; from < p->count; from++) {
        char **done = words_split("");
        int rc = 0;
        for (size_t to = 0; to < p->count && rc == 0; to++) {
            const char *path = pair_identity(p, &p->members[to]);
            if (from == to || has_word(done, path))
                continue;
            done = words_append(done, (const char *const[]){path, NULL});
            rc = run(p->members[from].end, path, arg, err);
        }
        words_free(done);
        if (rc)
            return -1;
    }
    return 0;
}

struct collection {
    const char *suffix;
    char **keys;
};

static int collect(struct pair_end *end, const char *path, void *arg, struct err *err)
{
    struct collection *c = arg;
    struct json *request = json_object(), *answer;
    char *file CLEANUP_FREE = mem_format("%s%s", path, c->suffix);
    json_set_text(request, "do", "key");
    json_set_text(request, "path", file);
    if (pair_end_ask(end, request, &answer, err))
        return -1;
    const char *key = json_get_text(answer, "public", "");
    if (pair_text_is_key(key) && !has_word(c->keys, key))
        c->keys = words_append(c->keys, (const char *const[]){key, NULL});
    json_free(answer);
    return 0;
}

static int ask_simply(struct pair_end *end, struct json *request, struct err *err)
{
    struct json *answer;
    if (pair_end_ask(end, request, &answer, err))
        return -1;
    json_free(answer);
    return 0;
}

static int move_key(struct pair_end *end, const char *path, void *arg, struct err *err)
{
    struct json *request = json_object();
    char *from CLEANUP_FREE = mem_format("%s" NEW, path);
    (void)arg;
    json_set_text(request, "do", "move");
    json_set_text(request, "from", from);
    json_set_text(request, "to", path);
    return ask_simply(end, request, err);
}

static int remove_key(struct pair_end *end, const char *path, void *arg, struct err *err)
{
    struct json *request = json_object();
    char *file CLEANUP_FREE = mem_format("%s" NEW, path);
    (void)arg;
    json_set_text(request, "do", "remove");
    json_set_text(request, "path", file);
    return ask_simply(end, request, err);
}

/* Takes keys out of all members' authorized_keys. */
static int forget(struct pairing *p, char *const *keys, struct err *err)
{
    struct pair_plan plan = {0};
    int rc = pair_mesh_forget(p, keys, &plan, err);
    if (rc == 0)
        rc = pair_plan_apply(&plan, err);
    pair_plan_free(&plan);
    return rc;
}

/* Nothing of the new keys stays. What cannot be taken back is said; it harms nobody. */
static void undo(struct pairing *p)
{
    struct collection fresh = {NEW, words_split("")};
    struct err err;
    if (each_key(p, collect, &fresh, &err) || forget(p, fresh.keys, &err) ||
        each_key(p, remove_key, NULL, &err))
        log_warn("pair: the new keys could not be taken back everywhere: %s", err.text);
    words_free(fresh.keys);
}

static int install(struct pairing *p, struct err *err)
{
    struct pair_plan plan = {0};
    int rc = pair_mesh_keys(p, NEW, true, &plan, err);
    if (rc == 0) {
        pair_plan_print(&plan);
        int yes = p->yes ? 1
                         : pair_ask("Do this, and remove the old keys once the new ones work?",
                               "look at the above, then say --yes", err);
        if (yes == 0)
            err_set(err, ERR_REFUSED, "no: the old keys stay");
        rc = yes > 0 ? pair_plan_apply(&plan, err) : -1;
    }
    pair_plan_free(&plan);
    if (rc == 0 && pair_mesh_try(p, NEW, false) > 0)
        rc = err_set(err, ERR_FAILED, "the new keys do not work everywhere: the old ones stay");
    return rc;
}

static int check_complete(const struct pairing *p, struct err *err)
{
    for (size_t i = 0; i < p->config->host_count; i++) {
        bool there = false;
        for (size_t k = 0; k < p->count; k++)
            there |= p->members[k].host == &p->config->hosts[i] && p->members[k].end;
        if (!there)
            return err_set(err, ERR_REFUSED,
                "%s is not reached: keys are renewed on all hosts or on none. One that is gone for "
                "good leaves the configuration first",
                p->config->hosts[i].name);
    }
    return 0;
}

int pair_rotate(struct pairing *p, struct err *err)
{
    struct collection old = {"", words_split("")};
    int rc = check_complete(p, err);
    if (rc == 0)
        rc = each_key(p, collect, &old, err);
    if (rc == 0 && install(p, err)) {
        undo(p);
        rc = -1;
    }
    if (rc == 0) {
        rc = each_key(p, move_key, NULL, err);
        if (rc == 0)
            rc = forget(p, old.keys, err);
        if (rc)
            err_prefix(err, "both the old and the new keys are let in now; say it again");
    }
    words_free(old.keys);
    if (rc == 0 && pair_mesh_try(p, "", true) > 0)
        rc = err_set(
            err, ERR_FAILED, "the new keys are in their place, but not all hosts were reached");
    return rc;
}
