/*
 * `mirrord init`: writes the configuration that all hosts get, once. It goes through the parser
 * before it is put in its place, and never replaces one that is there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "command/command.h"
#include "command/config/config.h"
#include "command/init/init_text.h"
#include "command/options.h"

enum { FILE_MODE = 0644, DIRECTORY_MODE = 0755 };

struct request {
    const char *config, *as;
    struct init_wish wish;
};

static int take_hosts(void *to, const char *argument, struct err *err)
{
    return init_add_hosts(to, argument, err);
}

static int take_root(void *to, const char *argument, struct err *err)
{
    return init_add_root(to, argument, err);
}

/* ---- the file ---- */

static int already_there(const char *path, struct err *err)
{
    return err_set(err, ERR_USAGE,
        "%s is there already and stays as it is: edit it (mirrord check says what is wrong with "
        "it), or move it away and say this again, or write another one with -c FILE",
        path);
}

static int write_file(const char *path, const char *text, struct err *err)
{
    int fd CLEANUP_FD = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
    if (fd < 0)
        return err_sys(err, errno, "create %s", path);
    if (io_write_full(fd, text, strlen(text)) || fchmod(fd, FILE_MODE) || fsync(fd)) {
        err_sys(err, errno, "write %s", path);
        unlink(path);
        return -1;
    }
    return 0;
}

/* Under a name of its own until the parser has taken it. link(2) does not replace. */
static int publish(
    const char *path, const char *text, const char *as, struct config **c, struct err *err)
{
    char *fresh CLEANUP_FREE = mem_format("%s.new-%d", path, (int)getpid());
    if (write_file(fresh, text, err))
        return -1;
    int rc = config_load(fresh, as, c, err);
    if (rc == 0 && link(fresh, path) < 0) {
        rc = errno == EEXIST ? already_there(path, err) : err_sys(err, errno, "create %s", path);
        config_free(*c);
        *c = NULL;
    } else if (rc)
        err_prefix(err, "nothing was written, since the result would not do");
    unlink(fresh);
    return rc;
}

static char *directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == path ? mem_copy_string("/") : mem_copy_bytes(path, (size_t)(slash - path));
}

/* ---- what was said ---- */

static int check_wish(struct init_wish *w, struct err *err)
{
    if (w->host_count == 0)
        return err_set(
            err, ERR_USAGE, "say which hosts: --hosts web1,web2 (the first is the primary)");
    if (w->host_count == 1)
        return err_set(err, ERR_USAGE,
            "--hosts: %s alone has nobody to mirror to: say --hosts %s,web2", w->hosts[0].name,
            w->hosts[0].name);
    if (w->root_count == 0)
        return err_set(err, ERR_USAGE,
            "say which directories: --sites '/srv/www/*/htdocs' (in quotes, or the shell replaces "
            "the *), or --sites /srv/www/example.com");
    if (!w->primary)
        w->primary = w->hosts[0].name;
    if (!init_find_host(w, w->primary))
        return err_set(err, ERR_USAGE, "--primary %s: is none of --hosts", w->primary);
    if (w->user[0] == '-' || strpbrk(w->user, " \t\"\\$'/:") || !w->user[0])
        return err_set(err, ERR_USAGE, "--user %s: is no name of a user", w->user);
    return preset_find(w->preset, err) ? 0 : err_prefix(err, "--preset");
}

static void print_sites(const struct config *c)
{
    enum { SHOWN = 5 };
    for (size_t i = 0; i < c->site_count && i < SHOWN; i++)
        printf("  site %s: %s\n", c->sites[i].name, config_root_at(&c->sites[i], c->self));
    if (c->site_count > SHOWN)
        printf("  … and %zu more\n", c->site_count - SHOWN);
    if (c->self && c->site_count == 0)
        puts("  no directory matches yet");
}

static void print_result(const char *path, const struct init_wish *w, const struct config *c)
{
    printf("%s: %zu hosts, %s is the primary of %zu site%s\n", path, c->host_count, w->primary,
        c->site_count, c->site_count == 1 ? "" : "s");
    if (c->self)
        print_sites(c);
    else
        puts("  this host is none of them: say --as HOST with the other commands, or go to one");
    bool usual = strcmp(path, CONFIG_DEFAULT_PATH) == 0;
    printf("next: mirrord pair%s%s", usual ? "" : " -c ", usual ? "" : path);
    for (size_t i = 0; i < c->host_count; i++)
        if (strcmp(c->hosts[i].name, c->self ? c->self : w->primary) != 0)
            printf(" %s", c->hosts[i].name);
    puts("");
}

static int init(struct request *r, struct err *err)
{
    struct init_wish *w = &r->wish;
    if (check_wish(w, err))
        return -1;
    char *cwd CLEANUP_FREE = getcwd(NULL, 0);
    char *given CLEANUP_FREE =
        r->config[0] == '/' ? mem_copy_string(r->config) : mem_format("%s/%s", cwd, r->config);
    char *path CLEANUP_FREE = config_clean_path(given);
    if (!path)
        return err_set(err, ERR_USAGE, "-c %s: is written without '..'", r->config);
    if (access(path, F_OK) == 0)
        return already_there(path, err);
    char *dir CLEANUP_FREE = directory_of(path);
    char *identity CLEANUP_FREE = mem_format("%s/id_ed25519", dir);
    char *known CLEANUP_FREE = mem_format("%s/known_hosts", dir);
    w->identity = w->identity ? w->identity : identity;
    w->known_hosts = w->known_hosts ? w->known_hosts : known;
    char *text CLEANUP_FREE = init_text(w);
    struct config *c = NULL;
    if (io_make_path(dir, DIRECTORY_MODE, err) || publish(path, text, r->as, &c, err))
        return -1;
    print_result(path, w, c);
    config_free(c);
    return 0;
}

int command_init(int argc, char **argv)
{
    struct request r = {.config = CONFIG_DEFAULT_PATH, .wish = {.preset = "none", .user = "root"}};
    struct init_wish *w = &r.wish;
    const struct option_spec specs[] = {
        {0, "hosts", OPTION_CALL, w, "HOST,…", "the hosts: NAME or NAME=ADDRESS[:PORT]",
            take_hosts},
        {0, "sites", OPTION_CALL, w, "PATTERN",
            "a document root, or with one '*' many of them; may be said again", take_root},
        {0, "preset", OPTION_TEXT, &w->preset, "NAME",
            "what kind of sites: none, wordpress, bedrock, releases"},
        {0, "primary", OPTION_TEXT, &w->primary, "HOST",
            "which is written to (default: the first)"},
        {0, "user", OPTION_TEXT, &w->user, "USER",
            "whom the hosts' keys log in as (default: root); another one starts mirrord with sudo"},
        OPTION_CONFIG(&r.config),
        OPTION_AS(&r.as),
        {'i', "identity", OPTION_TEXT, &w->identity, "FILE",
            "the key (default: id_ed25519 beside the configuration)"},
        {0, "known-hosts", OPTION_TEXT, &w->known_hosts, "FILE",
            "the hosts' keys (default: known_hosts beside it)"},
        OPTION_STATE_DIR(&w->state_dir),
        OPTION_CONTROL(&w->control),
        {0},
    };
    const struct options o = {"--hosts HOST,… --sites PATTERN [--preset NAME] [-c FILE]",
        "Writes the configuration, which all hosts get; never replaces one that is there.", specs,
        -1};
    struct err err = {0};
    int first = options_parse(&o, argc, argv, &err);
    if (first > 0 && first < argc)
        err_set(&err, ERR_USAGE,
            "'%s' is one word too many: the pattern of --sites is written in quotes, or the shell "
            "puts what matches in its place: --sites '/srv/www/*/htdocs'",
            argv[first]);
    else if (first > 0)
        init(&r, &err);
    init_wish_clear(w);
    return options_report(argv[0], &err);
}
