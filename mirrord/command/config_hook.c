/* The command after a commit (on-commit and its companions): its values, what counts on one host,
 * and what is wrong with it on this one. */
#include <errno.h>
#include <pwd.h>
#include <string.h>

#include "base/mem.h"
#include "command/check_report.h"
#include "command/config_impl.h"
#include "command/words.h"
#include "secondary/hook.h"

enum { TIMEOUT_MIN_MS = 1000, TIMEOUT_MAX_MS = 3600 * 1000 };

static bool is_none(const char *command)
{
    return strcmp(command, "none") == 0;
}

static int check_command(const struct config_block *b, const char *command, struct err *err)
{
    char **words = words_split(command);
    bool good = words && words[0] && words[0][0] == '/';
    words_free(words);
    return good || is_none(command)
               ? 0
               : config_fail_at(b, "on-commit", err,
                     "'%s' is not the absolute path of a command with its arguments (or none), or "
                     "a quote is not closed",
                     command);
}

int config_take_hook(const struct config_block *b, struct config_hook *h, struct err *err)
{
    unsigned timeout = h->timeout_ms;
    if (config_take_text(b, "on-commit", &h->command, err) ||
        (h->command && check_command(b, h->command, err)) ||
        config_take_text(b, "on-commit-user", &h->user, err) ||
        config_take_duration(b, "on-commit-timeout", &timeout, err))
        return -1;
    if (config_value(b, "on-commit-timeout") &&
        (timeout < TIMEOUT_MIN_MS || timeout > TIMEOUT_MAX_MS))
        return config_fail_at(b, "on-commit-timeout", err, "it is not from 1s to 1h");
    h->timeout_ms = timeout;
    return 0;
}

struct config_hook config_hook_copy(const struct config_hook *h)
{
    return (struct config_hook){
        mem_copy_string(h->command), mem_copy_string(h->user), h->timeout_ms};
}

void config_hook_free(struct config_hook *h)
{
    free(h->command);
    free(h->user);
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
    }
    if (found.command && is_none(found.command))
        found.command = NULL;
    if (!found.timeout_ms)
        found.timeout_ms = HOOK_TIMEOUT_MS;
    return found;
}

bool config_receive_hook(const struct config_site *s, const char *host, struct receive_hook *out)
{
    struct config_hook h = config_hook_at(s, host);
    if (!h.command)
        return false;
    *out = (struct receive_hook){
        words_split(h.command), mem_copy_string(h.user), h.timeout_ms};
    return true;
}

/* --- check --- */

static void check_hook(struct check_report *r, const struct config_site *s)
{
    struct err why;
    struct config_hook h = config_hook_at(s, r->config->self);
    if (!h.command)
        return;
    char **words = words_split(h.command);
    if (hook_check_command(words[0], &why) < 0) {
        char *what CLEANUP_FREE = mem_format("site %s: on-commit: %s", s->name, why.text);
        check_report_problem(r, s->file, s->line, what,
            "install it, owned by root: chown root CMD; chmod 755 CMD; or correct on-commit");
    }
    words_free(words);
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
