/* The options of `mirrord resync`, a table; see resync_options.h. */
#include "command/resync/resync_options.h"

#include <string.h>

#include "base/mem.h"
#include "command/config/config.h"
#include "command/options.h"

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
    struct resync_options *r = to;
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

static struct option_table list_options(struct resync_options *r)
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

int resync_options_parse(
    struct resync_options *o, bool verify, int argc, char **argv, struct err *err)
{
    *o = (struct resync_options){.config = CONFIG_DEFAULT_PATH,
        .verify = verify,
        .dry_run = verify,
        .checksum = verify,
        .itemize = verify,
        .adopt = verify,
        .force = verify,
        .filter = filter_new(),
        .compress = -1,
        .max_delete_percent = RESYNC_NOT_SAID};
    const struct option_table table = list_options(o);
    const struct options known = {"SRC [USER@]HOST:DEST | [-c FILE] [SITE [HOST…]]",
        verify ? "Reads content at both ends and names what differs; changes nothing."
               : "Makes DEST exactly SRC, once; or the secondaries of configured sites.",
        table.specs, -1};
    int first = options_parse(&known, argc, argv, err);
    if (first > 0 && o->port > 65535)
        return err_set(err, ERR_USAGE, "--port: %u is more than 65535", o->port);
    o->operands = argv + first;
    o->operand_count = argc - first;
    return first;
}

void resync_options_free(struct resync_options *o)
{
    filter_free(o->filter);
}

bool resync_options_name_dest(const struct resync_options *o)
{
    return o->operand_count > 0 && strchr(o->operands[o->operand_count - 1], ':');
}
