/*
 * A configuration from the blocks of its files: what is said once for all, and the hosts. A site is
 * config_site.c's, the syntax config_file.c's, single values are config_value.c's, the rules
 * between hosts and sites config_validate.c's.
 */
#include "command/config/config.h"

#include <limits.h>
#include <string.h>
#include <sys/un.h>

#include "base/mem.h"
#include "command/config/config_impl.h"
#include "command/words.h"
#include "primary/daemon/site_names.h"
#include "tree/state/state.h"

#define RESCAN_MAX (7 * 24 * 3600)

/* Split here once, so that everybody who starts it may rely on there being a command. */
static int check_command(const struct config_block *b, const struct config_host *h, struct err *err)
{
    char **words = words_split(h->remote_command);
    bool good = words && words[0];
    words_free(words);
    return good ? 0
                : config_fail_at(b, "remote-command", err,
                      "'%s' is no command, or a quote is not closed", h->remote_command);
}

static int read_host(const struct config_block *b, struct config_host *h, struct err *err)
{
    static const char *const transports[] = {"auto", "libssh2", "openssh", "child", NULL};
    static const char *const compressions[] = {"auto", "none", "zstd", NULL};
    unsigned transport = TRANSPORT_AUTO, compress = COMPRESS_AUTO;
    h->file = mem_copy_string(b->file);
    h->line = b->line;
    h->remote_command = mem_copy_string("mirrord");
    h->keepalive = CONFIG_KEEPALIVE;
    if (config_take_title(b, &h->name, err) || config_take_text(b, "address", &h->address, err) ||
        config_take_text(b, "user", &h->user, err) ||
        config_take_number(b, "port", 1, 65535, &h->port, err) ||
        config_take_path(b, "identity", &h->identity, err) ||
        config_take_path(b, "known-hosts", &h->known_hosts, err) ||
        config_take_text(b, "remote-command", &h->remote_command, err) ||
        config_take_word(b, "transport", transports, &transport, err) ||
        config_take_word(b, "compress", compressions, &compress, err) ||
        config_take_size(b, "bwlimit", &h->bwlimit, err) ||
        config_take_number(b, "keepalive", 1, CONFIG_KEEPALIVE, &h->keepalive, err) ||
        check_command(b, h, err))
        return -1;
    h->transport = (enum conn_transport)transport;
    h->compress = (enum config_compress)compress;
    if (!h->address)
        h->address = mem_copy_string(h->name);
    return 0;
}

/* The collector reads what is named so, and nothing else. */
static int take_metrics(struct config *c, const struct config_block *file, struct err *err)
{
    size_t n = c->metrics ? strlen(c->metrics) : 0;
    if (c->metrics && (n < 6 || strcmp(c->metrics + n - 5, ".prom") != 0))
        return config_fail_at(file, "metrics", err, "'%s' does not end in .prom", c->metrics);
    if (c->metrics_ms && config_value(file, "metrics-interval"))
        return config_fail_at(file, "metrics-interval", err, "is set in another file already");
    if (config_take_duration(file, "metrics-interval", &c->metrics_ms, err))
        return -1;
    if (config_value(file, "metrics-interval") && c->metrics_ms < 1000)
        return config_fail_at(file, "metrics-interval", err, "is less than a second");
    return 0;
}

static int take_site_sockets(struct config *c, const struct config_block *file, struct err *err)
{
    const struct config_value *v = config_value(file, "site-sockets");
    if (!v)
        return 0;
    if (c->site_sockets || c->no_site_sockets)
        return config_fail_at(file, "site-sockets", err, "is set in another file already");
    c->no_site_sockets = strcmp(v->texts[0], "none") == 0;
    if (c->no_site_sockets)
        return 0;
    if (config_take_path(file, "site-sockets", &c->site_sockets, err))
        return -1;
    if (strlen(c->site_sockets) > SITE_SOCKETS_DIR_MAX)
        return config_fail_at(file, "site-sockets", err,
            "has more than %d bytes: with a name behind it, it is longer than a socket's path can "
            "be",
            SITE_SOCKETS_DIR_MAX);
    return 0;
}

static int read_globals(struct config *c, const struct config_block *file, struct err *err)
{
    struct {
        const char *key;
        char **to;
    } globals[] = {{"state-dir", &c->state_dir}, {"control", &c->control},
        {"identity", &c->identity}, {"known-hosts", &c->known_hosts}, {"metrics", &c->metrics}};
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++) {
        if (*globals[i].to && config_value(file, globals[i].key))
            return config_fail_at(file, globals[i].key, err, "is set in another file already");
        if (config_take_path(file, globals[i].key, globals[i].to, err))
            return -1;
    }
    if (c->rescan && config_value(file, "rescan"))
        return config_fail_at(file, "rescan", err, "is set in another file already");
    if (config_take_number(file, "rescan", 1, RESCAN_MAX, &c->rescan, err))
        return -1;
    if (c->scan_rate != CONFIG_NOT_SAID && config_value(file, "scan-rate"))
        return config_fail_at(file, "scan-rate", err, "is set in another file already");
    if (config_take_size(file, "scan-rate", &c->scan_rate, err))
        return -1;
    if (take_metrics(c, file, err))
        return -1;
    if (c->control && strlen(c->control) >= sizeof((struct sockaddr_un *)0)->sun_path)
        return config_fail_at(file, "control", err, "is longer than a socket's path can be");
    return take_site_sockets(c, file, err);
}

static int add_host(struct config *c, const struct config_block *b, struct err *err)
{
    const struct config_host *first = config_host(c, b->title);
    if (first)
        return config_fail_at(
            b, "", err, "is there twice (first at %s:%u)", first->file, first->line);
    c->hosts = mem_resize(c->hosts, c->host_count + 1, sizeof *c->hosts);
    c->hosts[c->host_count] = (struct config_host){0};
    return read_host(b, &c->hosts[c->host_count++], err);
}

static int read_hosts(struct config *c, const struct config_block *file, struct err *err)
{
    for (size_t i = 0; i < file->block_count; i++)
        if (strcmp(file->blocks[i].kind, "host") == 0 && add_host(c, &file->blocks[i], err))
            return -1;
    return 0;
}

static int find_defaults(
    const struct config_block *files, const struct config_block **out, struct err *err)
{
    for (size_t i = 0; i < files->block_count; i++) {
        const struct config_block *file = &files->blocks[i];
        for (size_t j = 0; j < file->block_count; j++) {
            const struct config_block *b = &file->blocks[j];
            if (strcmp(b->kind, "defaults") != 0)
                continue;
            if (*out)
                return config_fail_at(
                    b, "", err, "is there twice (first at %s:%u)", (*out)->file, (*out)->line);
            *out = b;
        }
    }
    return 0;
}

static int read_sites(struct config *c, const struct config_block *file,
    const struct config_block *defaults, struct err *err)
{
    for (size_t i = 0; i < file->block_count; i++) {
        const struct config_block *b = &file->blocks[i];
        bool glob = strcmp(b->kind, "sites") == 0;
        if (!glob && strcmp(b->kind, "site") != 0)
            continue;
        struct config_site **list = glob ? &c->globs : &c->sites;
        size_t *count = glob ? &c->glob_count : &c->site_count;
        config_add_site(list, count, &(struct config_site){0});
        struct config_site *s = &(*list)[*count - 1];
        if (config_read_site(b, defaults, glob ? "glob" : "root", c->self, s, err) ||
            config_validate_site(c, s, glob, err))
            return -1;
    }
    return 0;
}

/* --as, else the host name, in full and then its first label. */
static int find_self(struct config *c, const char *as, struct err *err)
{
    char name[HOST_NAME_MAX + 1] = "";
    if (as && !config_host(c, as))
        return err_set(err, ERR_USAGE, "--as %s: there is no such host in %s", as, c->path);
    gethostname(name, sizeof name - 1);
    const struct config_host *h = config_host(c, as ? as : name);
    if (!h) {
        name[strcspn(name, ".")] = '\0';
        h = config_host(c, name);
    }
    c->self = h ? mem_copy_string(h->name) : NULL;
    return 0;
}

static void set_defaults(struct config *c)
{
    if (!c->state_dir)
        c->state_dir = state_default_dir();
    if (!c->control)
        c->control = config_default_control(c->state_dir);
    if (c->scan_rate == CONFIG_NOT_SAID)
        c->scan_rate = CONFIG_SCAN_RATE;
    if (!c->metrics_ms)
        c->metrics_ms = CONFIG_METRICS_MS;
}

static int build(
    struct config *c, const struct config_block *files, const char *as, struct err *err)
{
    const struct config_block *defaults = NULL;
    for (size_t i = 0; i < files->block_count; i++)
        if (read_globals(c, &files->blocks[i], err) || read_hosts(c, &files->blocks[i], err))
            return -1;
    if (find_self(c, as, err) || find_defaults(files, &defaults, err))
        return -1;
    for (size_t i = 0; i < files->block_count; i++)
        if (read_sites(c, &files->blocks[i], defaults, err))
            return -1;
    set_defaults(c);
    return config_expand(c, err) || config_validate_all(c, err) ? -1 : 0;
}

static char *absolute(const char *path)
{
    if (path[0] == '/')
        return mem_copy_string(path);
    char *cwd CLEANUP_FREE = getcwd(NULL, 0);
    return mem_format("%s/%s", cwd ? cwd : "", path);
}

int config_load(const char *path, const char *as, struct config **out, struct err *err)
{
    struct config *c = mem_alloc(sizeof *c);
    c->scan_rate = CONFIG_NOT_SAID;
    struct config_block *files = NULL;
    struct config_sources from = {0};
    struct timespec began;
    c->path = absolute(path);
    clock_gettime(CLOCK_REALTIME, &began);
    int rc = config_file_read(c->path, &files, &from, err);
    if (rc == 0) {
        config_note_sources(c, &from, &began);
        rc = build(c, files, as, err);
    }
    config_file_free(files);
    config_sources_free(&from);
    if (rc) {
        config_free(c);
        return -1;
    }
    *out = c;
    return 0;
}
