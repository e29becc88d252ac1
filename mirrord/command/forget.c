/*
 * `mirrord forget`: a site that is gone is not known any more (primary/daemon/forget.c), and where
 * the operator wants it so, neither are its copies (copies.c): these first, so that what could not
 * be deleted is not forgotten.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "command/command.h"
#include "command/config/config.h"
#include "command/control_client.h"
#include "command/options.h"
#include "command/resync/copies.h"

enum { TIMEOUT_MS = 60000 };

struct request {
    const char *config, *as, *control, *state_dir;
    int verbosity;
    bool delete_copies, yes;
    const char *site;
};

static atomic_bool stop;

static void on_signal(int number)
{
    stop = true;
    signal(number, SIG_DFL); /* a second one ends it at once */
}

static int ask(const struct request *r, const char *what, struct json **reply, struct err *err)
{
    char *path CLEANUP_FREE = NULL;
    if (config_control_path(r->control, r->config, &path, err))
        return -1;
    struct json *request = json_object();
    json_set_text(request, "do", what);
    json_set_text(request, "site", r->site);
    int rc = control_client_ask(path, request, TIMEOUT_MS, reply, err);
    json_free(request);
    return rc;
}

/* The daemon's word, which knows what was there; and the disk's, now. *held: so is all of the glob.
 */
static int check_gone(const struct request *r, const char *root, bool *held, struct err *err)
{
    struct json *status = NULL;
    struct stat st;
    bool gone = false;
    if (ask(r, "status", &status, err) < 0)
        return -1;
    const struct json *sites = json_get(status, "sites");
    for (size_t i = 0; i < json_count(sites); i++) {
        const struct json *s = json_at(sites, i);
        if (strcmp(json_get_text(s, "name", ""), r->site) != 0)
            continue;
        gone = json_get_number(s, "gone_since", 0) > 0;
        *held = strcmp(json_get_text(s, "state", ""), "held") == 0;
    }
    json_free(status);
    return gone && lstat(root, &st) < 0
               ? 0
               : err_set(err, ERR_REFUSED,
                     "%s is not a site of this host that is gone: its copies are not deleted",
                     r->site);
}

static void name_copies(
    FILE *out, const struct config *c, const struct config_site *s, const char *name)
{
    for (char **h = s->hosts; *h; h++) {
        const struct config_site *ignored;
        char *root CLEANUP_FREE = NULL;
        if (strcmp(*h, c->self) != 0 && config_find_root(c, name, *h, &ignored, &root) == 0)
            fprintf(out, "  %s on %s\n", root, *h);
    }
}

/* Ctrl-C ends the question, too, as the end of the input does: whenever it comes, since the signal
 * is let in while it waits only. */
static bool is_yes_typed(void)
{
    char line[16] = "";
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    sigset_t interrupt, before;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    sigprocmask(SIG_BLOCK, &interrupt, &before);
    fputs("Type yes to go on: ", stderr);
    bool typed = ppoll(&in, 1, NULL, &before) > 0 && fgets(line, sizeof line, stdin);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (!typed)
        fputc('\n', stderr);
    return typed && !stop && strcmp(line, "yes\n") == 0;
}

/* That a volume is not mounted is no reason to delete what may be the last copy: where all of a
 * glob is gone, a script's --yes is not enough. */
static int confirm(const struct request *r, bool held, const struct config *c,
    const struct config_site *s, struct err *err)
{
    if (r->yes && !held)
        return 0;
    if (!isatty(STDIN_FILENO) && held)
        return err_set(err, ERR_REFUSED,
            "all sites like %s are gone together: is their volume not mounted? The copies are not "
            "deleted; if it is meant to be so, say it on a terminal",
            r->site);
    if (!isatty(STDIN_FILENO))
        return err_set(err, ERR_USAGE,
            "--delete-copies is asked about on a terminal only; elsewhere say --yes, too");
    fprintf(stderr,
        "All that was mirrored of %s is deleted there (with keep-deleted: moved to the "
        "trash):\n",
        r->site);
    name_copies(stderr, c, s, r->site);
    if (held)
        fputs("All sites like it are gone together: is their volume not mounted?\n", stderr);
    if (is_yes_typed())
        return 0;
    return err_set(err, stop ? ERR_FAILED : ERR_REFUSED,
        "%snothing is deleted, and %s not forgotten", stop ? "interrupted: " : "", r->site);
}

static int delete_copies(const struct request *r, struct err *err)
{
    struct config *c;
    const struct config_site *s;
    char *root CLEANUP_FREE = NULL;
    if (config_load(r->config ? r->config : CONFIG_DEFAULT_PATH, r->as, &c, err) < 0)
        return -1;
    bool held = false;
    int rc = 0;
    if (!c->self)
        rc = config_no_self(c, err);
    else if (config_find_root(c, r->site, c->self, &s, &root) != 0)
        rc = config_unknown_site(c, r->site, err);
    if (rc == 0)
        rc = check_gone(r, root, &held, err);
    if (rc == 0)
        rc = confirm(r, held, c, s, err);
    if (rc == 0)
        rc = copies_delete(&(const struct copies){.c = c,
                               .s = s,
                               .name = r->site,
                               .root = root,
                               .state_dir = r->state_dir ? r->state_dir : c->state_dir,
                               .quiet = r->verbosity < 0,
                               .stop = &stop},
            err);
    config_free(c);
    return rc;
}

static int forget(const struct request *r, struct err *err)
{
    struct json *reply = NULL;
    if (r->delete_copies && delete_copies(r, err) < 0)
        return -1;
    if (stop)
        return err_set(err, ERR_FAILED, "interrupted: %s is not forgotten", r->site);
    int rc = ask(r, "forget", &reply, err);
    json_free(reply);
    if (rc == 0 && r->verbosity >= 0)
        printf("%s: forgotten\n", r->site);
    return rc;
}

int command_forget(int argc, char **argv)
{
    struct request r = {0};
    const struct option_spec specs[] = {
        OPTION_CONFIG(&r.config),
        OPTION_AS(&r.as),
        OPTION_CONTROL(&r.control),
        OPTION_STATE_DIR(&r.state_dir),
        {0, "delete-copies", OPTION_FLAG, &r.delete_copies, NULL,
            "delete on the secondaries what was mirrored of it"},
        {0, "yes", OPTION_FLAG, &r.yes, NULL, "without asking"},
        OPTION_VERBOSE(&r.verbosity),
        OPTION_QUIET(&r.verbosity),
        {0},
    };
    const struct options o = {"[--delete-copies [--yes]] SITE",
        "Says that a site which is gone was removed for good: it is not known any more. Its copies "
        "stay on the secondaries, unless they are to be deleted, too.",
        specs, 1};
    struct err err = {0};
    int first = options_parse(&o, argc, argv, &err);
    if (first <= 0)
        return options_report(argv[0], &err);
    options_set_level(LOG_LEVEL_WARNING, r.verbosity);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    r.site = argv[first];
    if (first == argc)
        err_set(&err, ERR_USAGE, "say which site: mirrord status names those that are gone");
    else
        forget(&r, &err);
    return options_report(argv[0], &err);
}
