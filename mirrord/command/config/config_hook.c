/* The commands after a commit and around a switch (on-commit, on-switch and their companions):
 * their values, what counts on one host, and what is wrong with them on this one. */
#include <errno.h>
#include <pwd.h>
#include <string.h>

#include "base/mem.h"
#include "command/check/check_report.h"
#include "command/config/config_impl.h"
#include "command/words.h"
#include "secondary/hook/hold.h"
#include "secondary/hook/hook.h"

enum {
    TIMEOUT_MIN_MS = 1000,
    TIMEOUT_MAX_MS = 3600 * 1000,
    SWITCH_MIN_MS = 100,
    SWITCH_MAX_MS = 30 * 1000, /* for so long it can keep readers waiting, three times */
};

static bool is_none(const char *command)
{
    return strcmp(command, "none") == 0;
}

static int check_command(
    const struct config_block *b, const char *key, const char *command, struct err *err)
{
    char **words = words_split(command);
    bool good = words && words[0] && words[0][0] == '/';
    words_free(words);
    return good || is_none(command)
               ? 0
               : config_fail_at(b, key, err,
                     "'%s' is not the absolute path of a command with its arguments (or none), or "
                     "a quote is not closed",
                     command);
}

static int take_command(
    const struct config_block *b, const char *key, char **command, struct err *err)
{
    return config_take_text(b, key, command, err) ||
                   (*command && check_command(b, key, *command, err))
               ? -1
               : 0;
}

struct range {
    unsigned min_ms, max_ms;
    const char *words;
};

static int take_timeout(const struct config_block *b, const char *key, const struct range *r,
    unsigned *timeout_ms, struct err *err)
{
    unsigned timeout = *timeout_ms;
    if (config_take_duration(b, key, &timeout, err))
        return -1;
    if (config_value(b, key) && (timeout < r->min_ms || timeout > r->max_ms))
        return config_fail_at(b, key, err, "it is not from %s", r->words);
    *timeout_ms = timeout;
    return 0;
}

int config_take_hook(const struct config_block *b, struct config_hook *h, struct err *err)
{
    static const struct range commit = {TIMEOUT_MIN_MS, TIMEOUT_MAX_MS, "1s to 1h"};
    static const struct range on_switch = {SWITCH_MIN_MS, SWITCH_MAX_MS, "100ms to 30s"};
    bool bad = take_command(b, "on-commit", &h->command, err) ||
               take_command(b, "on-switch", &h->on_switch, err) ||
               config_take_text(b, "on-commit-user", &h->user, err) ||
               take_timeout(b, "on-commit-timeout", &commit, &h->timeout_ms, err) ||
               take_timeout(b, "on-switch-timeout", &on_switch, &h->on_switch_timeout_ms, err);
    return bad ? -1 : 0;
}

struct config_hook config_hook_copy(const struct config_hook *h)
{
    return (struct config_hook){mem_copy_string(h->command), mem_copy_string(h->user),
        h->timeout_ms, mem_copy_string(h->on_switch), h->on_switch_timeout_ms};
}

void config_hook_free(struct config_hook *h)
{
    free(h->command);
    free(h->user);
    free(h->on_switch);
}

struct config_hook config_hook_at(const struct config_site *s, const char *host)
{
    struct config_hook found = s->hook;
    for (size_t i = 0; i < s->at_count; i++) {
        const struct config_hook *at = &s->at[i].hook;
        if (strcmp(s->at[i].host, host) != 0)
            continue;
        found.command = at->command ? at->command : found.command;
        found.user = at->user ? at->user : found.user;
        found.timeout_ms = at->timeout_ms ? at->timeout_ms : found.timeout_ms;
        found.on_switch = at->on_switch ? at->on_switch : found.on_switch;
        if (at->on_switch_timeout_ms)
            found.on_switch_timeout_ms = at->on_switch_timeout_ms;
    }
    if (found.command && is_none(found.command))
        found.command = NULL;
    if (found.on_switch && is_none(found.on_switch))
        found.on_switch = NULL;
    if (!found.timeout_ms)
        found.timeout_ms = HOOK_TIMEOUT_MS;
    if (!found.on_switch_timeout_ms)
        found.on_switch_timeout_ms = HOLD_TIMEOUT_MS;
    return found;
}

bool config_receive_hook(const struct config_site *s, const char *host, enum receive_command which,
    struct receive_hook *out)
{
    struct config_hook h = config_hook_at(s, host);
    const char *command = which == RECEIVE_ON_SWITCH ? h.on_switch : h.command;
    if (!command)
        return false;
    *out = (struct receive_hook){words_split(command), mem_copy_string(h.user),
        which == RECEIVE_ON_SWITCH ? h.on_switch_timeout_ms : h.timeout_ms};
    return true;
}

/* --- check --- */

static void check_one(
    struct check_report *r, const struct config_site *s, const char *key, const char *command)
{
    struct err why;
    char **words = words_split(command);
    if (hook_check_command(words[0], &why) < 0) {
        char *what CLEANUP_FREE = mem_format("site %s: %s: %s", s->name, key, why.text);
        char *repair CLEANUP_FREE = mem_format(
            "install it, owned by root: chown root CMD; chmod 755 CMD; or correct %s", key);
        check_report_problem(r, s->file, s->line, what, repair);
    }
    words_free(words);
}

static void check_hook(struct check_report *r, const struct config_site *s)
{
    struct config_hook h = config_hook_at(s, r->config->self);
    if (h.command)
        check_one(r, s, "on-commit", h.command);
    if (h.on_switch)
        check_one(r, s, "on-switch", h.on_switch);
    if (!h.command && !h.on_switch)
        return;
    if (h.user && !getpwnam(h.user)) {
        char *what CLEANUP_FREE =
            mem_format("site %s: on-commit-user: there is no user %s here", s->name, h.user);
        check_report_problem(r, s->file, s->line, what, "correct it, or make the user");
    }
}

void check_report_hooks(struct check_report *r)
{
    const struct config *c = r->config;
    for (size_t i = 0; c->self && i < c->site_count; i++)
        if (config_site_has_host(&c->sites[i], c->self))
            check_hook(r, &c->sites[i]);
}
