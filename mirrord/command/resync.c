/* `mirrord resync`: the command line of both forms, SRC HOST:DEST without a configuration, and the
 * sites of one; the work is resync_job.c's. */
#include <limits.h>
#include <signal.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "command/command.h"
#include "command/config/config.h"
#include "command/config/role.h"
#include "command/control_client.h"
#include "command/far.h"
#include "command/options.h"
#include "command/resync/resync_job.h"
#include "command/resync/resync_report.h"
#include "command/resync/resync_summary.h"
#include "command/words.h"
#include "tree/state/machine.h"
#include "tree/state/state.h"

struct request {
    struct filter *filter;    /* --exclude and --include, in order */
    struct unit_rules *units; /* of --preset */
    const char *config, *as, *control;
    unsigned port;
    const char *identity, *known_hosts, *remote_command, *state_dir, *preset;
    enum conn_transport transport;
    bool verify; /* `mirrord verify`: compare content, change nothing */
    bool dry_run, itemize, no_delete, force, adopt, checksum, json, progress;
    unsigned max_delete_percent, max_delete_count;
    uint64_t bwlimit;
    int compress;
    int verbosity;
    char **operands;
    int operand_count;

    char *state_dir_now;
    char *scratch;                  /* verify, or beside a daemon: the state of this run */
    bool beside;                    /* -n, while a daemon has the sites */
    struct resync_summary *summary; /* -n of a configuration's sites */
    struct epoch epoch;
    struct digest host_id;
    char host[HOST_NAME_MAX + 1];
    struct err worst;     /* of all jobs: the one that decides the exit code */
    struct json *results; /* --json with a configuration */
};

static atomic_bool stop;

static void on_signal(int number)
{
    stop = true;
    signal(number, SIG_DFL); /* a second one ends it at once */
}

/* options */

static int take_exclude(void *to, const char *pattern, struct err *err)
{
    return filter_add(to, false, bytes_of(pattern), err);
}

static int take_include(void *to, const char *pattern, struct err *err)
{
    return filter_add(to, true, bytes_of(pattern), err);
}

static int take_choice(
    const char *const *choices, const char *text, const char *option, int *out, struct err *err)
{
    for (int i = 0; choices[i]; i++)
        if (strcmp(choices[i], text) == 0) {
            *out = i;
            return 0;
        }
    return err_set(err, ERR_USAGE, "%s: '%s' is not one of its values", option, text);
}

static int take_transport(void *to, const char *text, struct err *err)
{
    static const char *const choices[] = {"auto", "libssh2", "openssh", NULL};
    int i = 0;
    if (take_choice(choices, text, "--transport", &i, err))
        return -1;
    *(enum conn_transport *)to = (enum conn_transport)i;
    return 0;
}

static int take_compress(void *to, const char *text, struct err *err)
{
    static const char *const choices[] = {"auto", "none", "zstd", NULL};
    int i = 0;
    if (take_choice(choices, text, "--compress", &i, err))
        return -1;
    *(int *)to = i - 1;
    return 0;
}

static int take_max_delete(void *to, const char *text, struct err *err)
{
    struct request *r = to;
    size_t n = strlen(text);
    bool percent = n > 1 && text[n - 1] == '%';
    char *digits CLEANUP_FREE = mem_copy_bytes(text, percent ? n - 1 : n);
    unsigned value;
    if (options_number(digits, &value, err) || (percent && value > 100))
        return err_set(
            err, ERR_USAGE, "--max-delete: '%s' is neither a number nor 0%% to 100%%", text);
    r->max_delete_percent = percent ? value : 0;
    r->max_delete_count = percent ? 0 : value;
    return 0;
}

static int take_rate(void *to, const char *text, struct err *err)
{
    return config_parse_size(text, to, err) ? err_prefix(err, "--bwlimit") : 0;
}

struct option_table {
    struct option_spec specs[32]; /* ends with one without a name */
};

static struct option_table list_options(struct request *r)
{
    return (struct option_table){{
        OPTION_CONFIG(&r->config),
        OPTION_AS(&r->as),
        OPTION_CONTROL(&r->control),
        {'p', "port", OPTION_NUMBER, &r->port, "N", "the far sshd's port", NULL},
        {'i', "identity", OPTION_TEXT, &r->identity, "FILE", "private key", NULL},
        {0, "known-hosts", OPTION_TEXT, &r->known_hosts, "FILE", "host keys to trust", NULL},
        {0, "transport", OPTION_CALL, &r->transport, "auto|libssh2|openssh", "how to connect",
            take_transport},
        {0, "remote-command", OPTION_TEXT, &r->remote_command, "CMD",
            "mirrord on the far end (default mirrord)", NULL},
        OPTION_STATE_DIR(&r->state_dir),
        {'n', "dry-run", OPTION_FLAG, &r->dry_run, NULL, "change nothing", NULL},
        {0, "itemize", OPTION_FLAG, &r->itemize, NULL, "name each change", NULL},
        {0, "no-delete", OPTION_FLAG, &r->no_delete, NULL, "leave what SRC has not", NULL},
        {0, "max-delete", OPTION_CALL, r, "N|P%", "refuse to delete more (default 20% and 200)",
            take_max_delete},
        {0, "force", OPTION_FLAG, &r->force, NULL, "delete more than max-delete", NULL},
        {0, "adopt", OPTION_FLAG, &r->adopt, NULL, "take over a DEST that mirrord did not make",
            NULL},
        {0, "exclude", OPTION_CALL, r->filter, "PATTERN", "leave out at both ends", take_exclude},
        {0, "include", OPTION_CALL, r->filter, "PATTERN", "mirror although excluded", take_include},
        {0, "preset", OPTION_TEXT, &r->preset, "NAME",
            "exclusions and units of a kind of site: none, wordpress, bedrock, releases", NULL},
        {0, "checksum", OPTION_FLAG, &r->checksum, NULL, "read all content at both ends", NULL},
        {0, "bwlimit", OPTION_CALL, &r->bwlimit, "RATE", "bytes a second: 500K, 20M", take_rate},
        {0, "compress", OPTION_CALL, &r->compress, "auto|none|zstd", "pack content on the way",
            take_compress},
        {0, "json", OPTION_FLAG, &r->json, NULL, "one JSON object at the end", NULL},
        {0, "progress", OPTION_FLAG, &r->progress, NULL, "a progress line, on no terminal too",
            NULL},
        {'a', "archive", OPTION_IGNORE, NULL, NULL, "already so", NULL},
        {'z', "compress-already", OPTION_IGNORE, NULL, NULL, "already so", NULL},
        {0, "delete", OPTION_IGNORE, NULL, NULL, "already so", NULL},
        {0, "stats", OPTION_IGNORE, NULL, NULL, "already so", NULL},
        OPTION_VERBOSE(&r->verbosity),
        OPTION_QUIET(&r->verbosity),
    }};
}

static int parse(struct request *r, int argc, char **argv, struct err *err)
{
    const struct option_table table = list_options(r);
    const struct options o = {"SRC [USER@]HOST:DEST | [-c FILE] [SITE [HOST…]]",
        r->verify ? "Reads content at both ends and names what differs; changes nothing."
                  : "Makes DEST exactly SRC, once; or the secondaries of configured sites.",
        table.specs, -1};
    int first = options_parse(&o, argc, argv, err);
    if (first > 0 && r->port > 65535)
        return err_set(err, ERR_USAGE, "--port: %u is more than 65535", r->port);
    r->operands = argv + first;
    r->operand_count = argc - first;
    return first;
}

/* running */

static void note_outcome(struct request *r, const struct err *err)
{
    if (err->code && (!r->worst.code || r->worst.code == ERR_PARTIAL))
        r->worst = *err;
}

static void report(
    struct request *r, const char *name, const struct resync_result *out, const struct err *err)
{
    if (r->json) {
        struct json *j = resync_report_json(name, out, err);
        if (r->results) {
            json_append_json(r->results, j);
            return;
        }
        char *text CLEANUP_FREE = json_print(j, true);
        puts(text);
        json_free(j);
    } else if (r->verify && r->verbosity >= 0 && (!err->code || err->code == ERR_BEHIND)) {
        printf("%s%s%llu files compared by content, %llu path%s differ%s\n", name,
            name[0] ? ": " : "", (unsigned long long)out->walk.files,
            (unsigned long long)out->items, out->items == 1 ? "" : "s", out->items == 1 ? "s" : "");
    } else if (r->verbosity >= 0 && (!err->code || err->code == ERR_PARTIAL)) {
        char *line CLEANUP_FREE = resync_report_line(name, r->dry_run, out);
        puts(line);
    }
}

static struct site_options site_options_of(const struct request *r, const struct filter *f)
{
    return (struct site_options){.name = "",
        .state_dir = r->scratch ? r->scratch : r->state_dir_now,
        .filter = f,
        .owner = true,
        .checksum = r->checksum,
        .adopt = r->adopt,
        .force = r->force,
        .accept_root = r->force,
        .dry_run = r->dry_run,
        .no_delete = r->no_delete,
        .max_delete_percent = r->max_delete_percent,
        .max_delete_count = r->max_delete_count,
        .unit_grace = CONFIG_UNIT_GRACE};
}

/* What a dry run would change is what differs. */
static void judge_drift(const struct resync_result *out, struct err *err)
{
    if (out->items)
        err_set(err, ERR_BEHIND, "%llu path%s", (unsigned long long)out->items,
            out->items == 1 ? " differs" : "s differ");
}

/* The job's own errors begin with the host that is in `name`, too. */
static void put_name(struct err *err, const char *name, const char *host)
{
    size_t len = strlen(host);
    if (strncmp(err->text, host, len) == 0 && err->text[len] == ':')
        err_set(err, err->code, "%s%s", name, err->text + len);
    else
        err_prefix(err, "%s", name);
}

static void run_job(struct request *r, const char *name, const struct site_options *site,
    const struct resync_target *target)
{
    bool terminal = isatty(STDERR_FILENO) && r->verbosity >= 0 && !r->json;
    struct resync_result out = {0};
    struct err err = {0};
    const struct resync_job job = {.site = *site,
        .target = target,
        .host_id = r->host_id,
        .host = r->host,
        .epoch = r->scratch ? r->epoch : (struct epoch){0},
        .progress = terminal || r->progress ? stderr : NULL,
        .itemize = r->itemize ? (r->json ? stderr : stdout) : NULL,
        .name_skipped = r->verbosity > 0,
        .stop = &stop};
    if (resync_job_run(&job, &out, &err) == 0)
        err_clear(&err);
    if (r->verify && !err.code)
        judge_drift(&out, &err);
    bool equal = r->summary && resync_summary_note(r->summary, site->name, &out, &err);
    if (!equal || r->json || r->verbosity > 0)
        report(r, name, &out, &err);
    if (err.code && name[0])
        put_name(&err, name, target->name);
    if (err.code && r->worst.code && !r->json)
        log_error("%s", err.text); /* only the first is printed at the end */
    note_outcome(r, &err);
    resync_result_free(&out);
}

/* SRC HOST:DEST */

/* Splits [USER@]HOST:DEST; HOST may be an IPv6 address in brackets. Pieces are the caller's. */
static int split_operand(const char *text, char **user, char **host, char **dest, struct err *err)
{
    const char *at = strchr(text, '@');
    const char *slash = strchr(text, '/');
    if (at && slash && slash < at)
        at = NULL;
    const char *start = at ? at + 1 : text;
    const char *end = start[0] == '[' ? strchr(start, ']') : strchr(start, ':');
    const char *colon = end && start[0] == '[' ? end + 1 : end;
    if (!end || colon[0] != ':' || end == start || !colon[1])
        return err_set(err, ERR_USAGE, "'%s' is not [USER@]HOST:DEST", text);
    for (const char *p = colon + 1; p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL)
        if (strncmp(p, "..", 2) == 0 && (p[2] == '/' || !p[2]))
            return err_set(err, ERR_USAGE, "%s: DEST is written without '..'", colon + 1);
    *user = at ? mem_copy_bytes(text, (size_t)(at - text)) : NULL;
    start += start[0] == '[';
    *host = mem_copy_bytes(start, (size_t)(end - start));
    *dest = mem_copy_string(colon + 1);
    return 0;
}

static char **remote_argv(const struct request *r, const char *dest, struct err *err)
{
    char **argv = words_split(r->remote_command ? r->remote_command : "mirrord");
    if (!argv || !argv[0]) {
        words_free(argv);
        err_set(err, ERR_USAGE, "--remote-command: a quote is not closed, or there is no word");
        return NULL;
    }
    const char *const rest[] = {"receive", "--root", dest, NULL};
    return words_append(argv, rest);
}

static int prepare(struct request *r, const char *state_dir, struct err *err)
{
    r->state_dir_now = state_dir ? mem_copy_string(state_dir) : state_default_dir();
    if ((r->verify || r->beside) && (r->scratch = state_scratch(r->state_dir_now, err)) == NULL)
        return -1;
    if (gethostname(r->host, sizeof r->host - 1) < 0 || !r->host[0])
        strcpy(r->host, "primary");
    return state_host_id(r->state_dir_now, &r->host_id, err);
}

static int without_configuration(struct request *r, struct err *err)
{
    char *user CLEANUP_FREE = NULL, *host CLEANUP_FREE = NULL, *dest CLEANUP_FREE = NULL;
    const struct preset *preset = preset_find(r->preset ? r->preset : "none", err);
    if (!preset || preset_add_excludes(preset, 0, r->filter, err) < 0)
        return -1;
    if (split_operand(r->operands[1], &user, &host, &dest, err) < 0)
        return -1;
    char **argv = remote_argv(r, dest, err);
    if (!argv || prepare(r, r->state_dir, err) < 0) {
        words_free(argv);
        return -1;
    }
    struct site_options site = site_options_of(r, r->filter);
    preset_add_units(preset, r->units);
    site.units = r->units;
    site.root = r->operands[0];
    const struct resync_target target = {.name = host,
        .place = dest,
        .link = {.transport = r->transport,
            .host = host,
            .user = user,
            .port = r->port,
            .identity = r->identity,
            .known_hosts = r->known_hosts,
            .argv = argv},
        .remote_root =
            dest[0] == '/' ? dest : NULL, /* a relative one is the far end's to resolve */
        .compress = r->compress,
        .bwlimit = r->bwlimit,
        .keepalive_ms = CONFIG_KEEPALIVE * 1000};
    run_job(r, "", &site, &target);
    words_free(argv);
    return 0;
}

/* sites of a configuration */

static bool named(char **names, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return count == 0;
}

static void push_to_host(struct request *r, const struct config *c, const struct config_site *s,
    const struct config_host *h, struct err *err)
{
    struct peer_options peer;
    char **argv = far_peer_options(c, h, &r->host_id, &peer, err);
    if (!argv) {
        note_outcome(r, err);
        return;
    }
    struct site_options site = site_options_of(r, s->filter);
    site.name = s->name;
    site.root = config_root_at(s, c->self);
    site.units = s->units;
    site.owner = s->owner;
    site.special_bits = s->special_bits;
    site.fsync_batch = s->fsync_batch;
    site.drift_report = s->drift_report;
    site.max_size = s->max_size;
    site.keep_days = s->keep_days;
    site.unit_grace = s->unit_grace;
    site.keep_root = !r->scratch;
    if (r->max_delete_percent == UINT_MAX) {
        site.max_delete_percent = s->max_delete_percent;
        site.max_delete_count = s->max_delete_count;
    }
    const struct resync_target target = {.name = h->name,
        .place = config_root_at(s, h->name),
        .link = peer.link,
        .without = config_exclude_at(s, h->name),
        .compress = peer.compress,
        .bwlimit = r->bwlimit ? r->bwlimit : peer.bwlimit,
        .keepalive_ms = peer.keepalive_ms};
    char *name CLEANUP_FREE = mem_format("%s %s", s->name, h->name);
    run_job(r, name, &site, &target);
    words_free(argv);
}

static void resync_sites(struct request *r, const struct config *c, struct err *err)
{
    for (size_t i = 0; i < c->site_count && !stop; i++) {
        const struct config_site *s = &c->sites[i];
        struct role role;
        if (!config_site_has_host(s, c->self) || role_of(c, s, r->state_dir_now, &role, err) < 0 ||
            !role.here || !named(r->operands, r->operand_count > 0, s->name))
            continue;
        r->epoch = role.epoch;
        for (char **h = s->hosts; *h && !stop; h++)
            if (strcmp(*h, c->self) != 0 &&
                named(r->operands + 1, r->operand_count > 1 ? r->operand_count - 1 : 0, *h))
                push_to_host(r, c, s, config_host(c, *h), err);
    }
}

static int ask(const char *path, struct json *request, struct json **reply, struct err *err)
{
    enum { FOR_EVER = 0 };
    int r = control_client_ask(path, request, FOR_EVER, reply, err);
    json_free(request);
    return r;
}

static struct json *request_of(const struct request *r, const char *what)
{
    struct json *request = json_object();
    json_set_text(request, "do", what);
    if (r->operand_count > 0)
        json_set_text(request, "site", r->operands[0]);
    return request;
}

/* The daemon compares; what a flush waits for is the end of that. */
static int level_by_daemon(struct request *r, const char *path, struct err *err)
{
    enum { DAY_MS = 24 * 60 * 60 * 1000 };
    struct json *request = request_of(r, "resync"), *hosts = json_array(), *reply = NULL;
    for (int i = 1; i < r->operand_count; i++)
        json_append_text(hosts, r->operands[i]);
    json_set_json(request, "hosts", hosts);
    json_set_bool(request, "force", r->force);
    json_set_bool(request, "adopt", r->adopt);
    if (ask(path, request, &reply, err) < 0)
        return -1;
    json_free(reply);
    reply = NULL;
    request = request_of(r, "flush");
    json_set_number(request, "timeout_ms", DAY_MS);
    if (ask(path, request, &reply, err) < 0)
        return -1;
    bool level = json_get_bool(reply, "level", false), held = json_get_bool(reply, "held", false);
    json_free(reply);
    if (held)
        return err_set(err, ERR_REFUSED, "held for safety: see mirrord status");
    if (!level)
        return err_set(err, ERR_BEHIND, "not all secondaries are level: see mirrord status");
    if (r->verbosity >= 0)
        puts("level (the running daemon did it)");
    return 0;
}

/* What a daemon does not do: it goes by the configuration. */
static int check_daemons_part(const struct request *r, struct err *err)
{
    if (r->no_delete || r->checksum || r->itemize || r->bwlimit ||
        r->max_delete_percent != UINT_MAX)
        return err_set(err, ERR_USAGE,
            "a daemon runs and does the work, by its configuration: --no-delete, --checksum, "
            "--itemize, --bwlimit and --max-delete go with -n only, or once it is stopped");
    return 0;
}

/* A daemon that runs holds the sites: it does the work. 0 done, 1 there is none, -1. */
static int ask_daemon(struct request *r, const struct config *c, struct err *err)
{
    const char *path = r->control ? r->control : c->control;
    struct json *ping = json_object(), *reply = NULL;
    struct err ignored;
    json_set_text(ping, "do", "ping");
    int alive = control_client_ask(path, ping, 5000, &reply, &ignored);
    json_free(ping);
    json_free(reply);
    r->beside = alive == 0 && r->dry_run;
    if (alive != 0 || r->beside)
        return 1;
    return check_daemons_part(r, err) < 0 ? -1 : level_by_daemon(r, path, err);
}

/* All that were asked for, one after the other. */
static void work_through(struct request *r, const struct config *c, struct err *err)
{
    struct err differ;
    snprintf(r->host, sizeof r->host, "%s", c->self);
    r->results = r->json ? json_array() : NULL;
    r->summary = r->dry_run && !r->verify ? resync_summary_new() : NULL;
    resync_sites(r, c, err);
    if (r->results) {
        char *text CLEANUP_FREE = json_print(r->results, true);
        puts(text);
        json_free(r->results);
    }
    if (!r->summary)
        return;
    char *line CLEANUP_FREE = resync_summary_line(r->summary, r->checksum);
    if (r->verbosity >= 0 && !r->json)
        puts(line);
    if (!r->worst.code && resync_summary_verdict(r->summary, &differ) < 0)
        r->worst = differ;
    resync_summary_free(r->summary);
}

/* A site of a glob whose root is not there: the daemon may know that it was, and says so. */
static int check_missing(struct request *r, const struct config *c, struct err *err)
{
    const struct config_site *block;
    char *root CLEANUP_FREE = NULL;
    bool possible = config_find_root(c, r->operands[0], c->self, &block, &root) == 0;
    int asked = possible && !r->verify ? ask_daemon(r, c, err) : 1;
    return asked == 1 ? config_unknown_site(c, r->operands[0], err) : asked;
}

static int check_names(struct request *r, const struct config *c, struct err *err)
{
    if (r->operand_count == 0)
        return 0;
    const struct config_site *s = config_site(c, r->operands[0]);
    if (!s)
        return check_missing(r, c, err);
    struct role role;
    if (role_of(c, s, r->state_dir ? r->state_dir : c->state_dir, &role, err) < 0)
        return -1;
    if (!role.here)
        return err_set(err, role.fenced ? ERR_REFUSED : ERR_USAGE,
            "%s is not the primary of site %s: that is %s", c->self, s->name, role.primary);
    for (int i = 1; i < r->operand_count; i++)
        if (!config_site_has_host(s, r->operands[i]) || strcmp(r->operands[i], c->self) == 0)
            return err_set(
                err, ERR_USAGE, "%s is not a secondary of site %s", r->operands[i], s->name);
    return 0;
}

static int with_configuration(struct request *r, struct err *err)
{
    struct config *c;
    if (config_load(r->config, r->as, &c, err) < 0)
        return -1;
    int result = c->self ? check_names(r, c, err) : config_no_self(c, err);
    if (result == 0)
        result = r->verify ? 1 : ask_daemon(r, c, err);
    if (result == 1)
        result = prepare(r, r->state_dir ? r->state_dir : c->state_dir, err);
    else if (result == 0) {
        config_free(c);
        return 0;
    }
    if (result == 0)
        result = machine_check(r->state_dir_now, err);
    if (result == 0)
        work_through(r, c, err);
    config_free(c);
    return result;
}

static bool is_one_shot(const struct request *r)
{
    return r->operand_count > 0 && strchr(r->operands[r->operand_count - 1], ':');
}

static int dispatch(struct request *r, struct err *err)
{
    if (is_one_shot(r) && r->operand_count != 2)
        return err_set(err, ERR_USAGE,
            "say SRC and [USER@]HOST:DEST: mirrord resync /srv/www/example.com "
            "root@web2:/srv/www/example.com");
    if (is_one_shot(r))
        return without_configuration(r, err);
    if (r->operand_count > 0 && strchr(r->operands[0], '/'))
        return err_set(err, ERR_USAGE, "%s is a path, but the last operand is not [USER@]HOST:DEST",
            r->operands[0]);
    return with_configuration(r, err);
}

static int run_command(int argc, char **argv, bool verify)
{
    struct request r = {.config = CONFIG_DEFAULT_PATH,
        .verify = verify,
        .dry_run = verify,
        .checksum = verify,
        .itemize = verify,
        .adopt = verify,
        .force = verify,
        .filter = filter_new(),
        .units = unit_rules_new(),
        .compress = -1,
        .max_delete_percent = UINT_MAX};
    struct err err = {0};
    int first = parse(&r, argc, argv, &err);
    if (first > 0) {
        options_set_level(LOG_LEVEL_WARNING, r.verbosity);
        signal(SIGINT, on_signal);
        signal(SIGTERM, on_signal);
        if (is_one_shot(&r) && r.max_delete_percent == UINT_MAX) {
            r.max_delete_percent = 20;
            r.max_delete_count = 200;
        }
        if (dispatch(&r, &err) == 0)
            err = r.worst;
    }
    filter_free(r.filter);
    unit_rules_free(r.units);
    if (r.scratch)
        state_discard(r.scratch);
    free(r.scratch);
    free(r.state_dir_now);
    return options_report(argv[0], &err);
}

int command_resync(int argc, char **argv)
{
    return run_command(argc, argv, false);
}

int command_verify(int argc, char **argv)
{
    return run_command(argc, argv, true);
}
