/* config: what a file means, where each mistake is said to be, and what is derived for one host. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "command/config/config.h"
#include "command/config/known_sites.h"
#include "secondary/hook/hook.h"

struct dir {
    char path[64];
};

static int make_dir(void **state)
{
    struct dir *d = mem_alloc(sizeof *d);
    strcpy(d->path, "/dev/shm/mirrord-config-XXXXXX");
    if (!mkdtemp(d->path)) {
        strcpy(d->path, "/tmp/mirrord-config-XXXXXX");
        if (!mkdtemp(d->path))
            return -1;
    }
    *state = d;
    return 0;
}

static int remove_dir(void **state)
{
    struct dir *d = *state;
    char *command = mem_format("rm -rf '%s'", d->path);
    int rc = system(command);
    free(command);
    free(d);
    return rc;
}

static char *write_file(const struct dir *d, const char *name, const char *text)
{
    char *path = mem_format("%s/%s", d->path, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    return path;
}

static void make_path(const struct dir *d, const char *name)
{
    char *path = mem_format("%s/%s", d->path, name);
    assert_int_equal(mkdir(path, 0755), 0);
    free(path);
}

static struct config *load(const struct dir *d, const char *text, const char *as)
{
    char *path = write_file(d, "mirrord.conf", text);
    struct config *c = NULL;
    struct err err = {0};
    if (config_load(path, as, &c, &err))
        fail_msg("%s", err.text);
    assert_string_equal(c->path, path);
    free(path);
    return c;
}

/* Loading fails with ERR_USAGE and exactly this behind the directory's name. */
static void assert_fails(const struct dir *d, const char *text, const char *expected)
{
    char *path = write_file(d, "mirrord.conf", text);
    struct config *c = NULL;
    struct err err = {0};
    char *whole = mem_format("%s/%s", d->path, expected);
    assert_int_equal(config_load(path, NULL, &c, &err), -1);
    assert_null(c);
    assert_int_equal(err.code, ERR_USAGE);
    assert_string_equal(err.text, whole);
    free(whole);
    free(path);
}

#define HOSTS "host web1 {}\nhost web2 {}\nhost web3 {}\n"

static void test_everything(void **state)
{
    struct config *c = load(*state,
        "# a comment; libconfuse would count its line three times\n"
        "state-dir = \"/var/lib/m//\"\n"
        "control = /run/m/control site-sockets = \"/run/m/own/\"\n"
        "identity = '/etc/m/id'  // another\n"
        "rescan = 600 scan-rate = 500K metrics = /m/x.prom metrics-interval = 5s\n"
        "known-hosts = \"/etc/m/known\"\n"
        "host web1 { address = \"10.0.0.1\" }\n"
        "host web2 { address = \"::1\" user = root port = 2222 identity = \"/id2\"\n"
        "  known-hosts = /kh2 transport = openssh remote-command = \"sudo mirrord\"\n"
        "  compress = zstd bwlimit = 1.5M keepalive = 3 }\n"
        "defaults { preset = wordpress exclude = {\"*.bak\"} owner = no max-delete = 30% }\n"
        "site example.com {\n"
        "  root = \"/srv/www/./example.com/\" hosts = {web1, web2} primary = web1\n"
        "  at web2 { root = /data/example on-commit = \"/bin/there 'a b'\" on-commit-user = www\n"
        "  on-switch = /bin/gate }\n"
        "  exclude = {\"tmp/\", a} exclude += {b} include = {keep} special-bits = yes fsync = "
        "batch on-commit-timeout = 5s on-switch-timeout = 900ms\n"
        "  max-delete-count = 5 max-size = 10K min-free = 10% keep-deleted = 14 unit-grace = 0 "
        "drift = report socket-user = www-data health-max-lag = 90s health-orphaned = down\n"
        "}\n",
        "web2");
    assert_string_equal(c->state_dir, "/var/lib/m");
    assert_string_equal(c->control, "/run/m/control");
    assert_string_equal(c->site_sockets, "/run/m/own");
    char *sockets CLEANUP_FREE = config_site_sockets(c, "/elsewhere/control");
    assert_string_equal(sockets, "/run/m/own");
    assert_int_equal(c->rescan, 600);
    assert_string_equal(c->metrics, "/m/x.prom");
    assert_int_equal(c->metrics_ms, 5000);
    assert_int_equal(c->scan_rate, 500 * 1024);
    assert_string_equal(c->identity, "/etc/m/id");
    assert_string_equal(c->known_hosts, "/etc/m/known");
    assert_string_equal(c->self, "web2");
    const struct config_host *h = config_host(c, "web2");
    assert_string_equal(h->address, "::1");
    assert_string_equal(h->user, "root");
    assert_int_equal(h->port, 2222);
    assert_string_equal(h->identity, "/id2");
    assert_string_equal(h->known_hosts, "/kh2");
    assert_int_equal(h->transport, TRANSPORT_OPENSSH);
    assert_string_equal(h->remote_command, "sudo mirrord");
    assert_int_equal(h->compress, COMPRESS_ZSTD);
    assert_int_equal(h->bwlimit, 1536 * 1024);
    assert_int_equal(h->keepalive, 3);
    assert_int_equal(h->line, 8);
    const struct config_site *s = config_site(c, "example.com");
    assert_string_equal(s->root, "/srv/www/example.com");
    assert_string_equal(config_root_at(s, "web1"), "/srv/www/example.com");
    assert_string_equal(config_root_at(s, "web2"), "/data/example");
    assert_true(config_site_has_host(s, "web1"));
    assert_false(config_site_has_host(s, "web3"));
    assert_null(config_hook_at(s, "web1").command);
    struct receive_hook hook;
    assert_false(config_receive_hook(s, "web1", RECEIVE_ON_COMMIT, &hook));
    assert_false(config_receive_hook(s, "web1", RECEIVE_ON_SWITCH, &hook));
    assert_true(config_receive_hook(s, "web2", RECEIVE_ON_COMMIT, &hook));
    assert_string_equal(hook.argv[0], "/bin/there");
    assert_string_equal(hook.argv[1], "a b");
    assert_null(hook.argv[2]);
    assert_string_equal(hook.user, "www");
    assert_int_equal(hook.timeout_ms, 5000);
    receive_hook_clear(&hook);
    assert_true(config_receive_hook(s, "web2", RECEIVE_ON_SWITCH, &hook));
    assert_string_equal(hook.argv[0], "/bin/gate");
    assert_null(hook.argv[1]);
    assert_string_equal(hook.user, "www");
    assert_int_equal(hook.timeout_ms, 900);
    receive_hook_clear(&hook);
    assert_int_equal(s->line, 12);
    assert_false(s->owner);
    assert_true(s->special_bits);
    assert_true(s->fsync_batch);
    assert_string_equal(s->socket_user, "www-data");
    assert_int_equal(s->max_delete_percent, 30);
    assert_int_equal(s->max_delete_count, 5);
    assert_int_equal(s->max_size, 10240);
    assert_int_equal(s->min_free.percent, 10);
    assert_true(s->drift_report);
    assert_int_equal(s->keep_days, 14);
    assert_int_equal(s->unit_grace, 0);
    assert_int_equal(s->health_lag_ms, 90000);
    assert_int_equal(s->health_orphaned_ms, 0);
    assert_string_equal(preset_name(s->preset), "wordpress");
    config_free(c);
}

/* Preset first, then defaults' patterns, then the site's, exclude before include. */
static void test_order_of_rules(void **state)
{
    struct config *c = load(*state,
        HOSTS "defaults { exclude = {d1} include = {d2} preset = wordpress }\n"
              "site s { root = /r hosts = {web1, web2} primary = web1 include = {s2}\n"
              "  exclude = {s1} }\n",
        "web1");
    const struct filter *f = config_site(c, "s")->filter;
    static const char *const last[] = {"d1", "d2", "s1", "s2"};
    static const int include[] = {0, 1, 0, 1};
    size_t n = filter_count(f);
    assert_true(n > 4);
    for (size_t i = 0; i < 4; i++) {
        struct msg_rule rule;
        filter_rule(f, n - 4 + i, &rule);
        assert_true(bytes_equal(rule.pattern, bytes_of(last[i])));
        assert_int_equal(rule.include, include[i]);
    }
    assert_int_equal(config_site(c, "s")->max_size, UINT64_C(2) << 30);
    config_free(c);
}

static void test_defaults_of_everything(void **state)
{
    struct config *c =
        load(*state, HOSTS "site s { root = /r hosts = {web1, web2} primary = web1 }\n", "web1");
    const struct config_site *s = config_site(c, "s");
    const struct config_host *h = config_host(c, "web2");
    assert_string_equal(h->address, "web2");
    assert_string_equal(h->remote_command, "mirrord");
    assert_int_equal(h->transport, TRANSPORT_AUTO);
    assert_null(h->user);
    assert_int_equal(h->port, 0);
    assert_int_equal(h->bwlimit, 0);
    assert_int_equal(h->keepalive, 15);
    assert_true(s->owner);
    assert_false(s->special_bits);
    assert_false(s->fsync_batch);
    assert_false(s->drift_report);
    assert_int_equal(s->max_delete_percent, 20);
    assert_int_equal(s->max_delete_count, 200);
    assert_int_equal(s->keep_days, 0);
    assert_int_equal(s->unit_grace, 60);
    assert_int_equal(s->health_lag_ms, CONFIG_LAG_MS);
    assert_true(s->health_orphaned_ms == CONFIG_HEALTH_NEVER);
    assert_int_equal(s->max_size, 0);
    assert_int_equal(s->min_free.percent, 5);
    assert_int_equal(s->min_free.bytes, 0);
    assert_int_equal(filter_count(s->filter), 0);
    assert_non_null(c->state_dir);
    assert_non_null(c->control);
    assert_null(c->identity);
    assert_null(s->socket_user);
    char *sockets CLEANUP_FREE = config_site_sockets(c, "/run/m/control");
    assert_string_equal(sockets, "/run/m/sites");
    char deep[120] = {0};
    memset(deep, '/', sizeof deep - 1);
    assert_null(config_site_sockets(c, deep));
    config_free(c);
}

static void test_site_sockets(void **state)
{
    struct config *c = load(*state, "site-sockets = none\n", NULL);
    assert_null(config_site_sockets(c, "/run/m/control"));
    config_free(c);
    assert_fails(*state, "\nsite-sockets = sites\n",
        "mirrord.conf:2: site-sockets: 'sites' is not an absolute path (without \"..\")");
    assert_fails(*state,
        "site-sockets = /23456789/123456789/123456789/123456789/123456789/123456789/123456789/"
        "123456789/1\n",
        "mirrord.conf:1: site-sockets: has more than 80 bytes: with a name behind it, it is longer "
        "than a socket's path can be");
    free(write_file(*state, "other.conf", "site-sockets = none\n"));
    char *whole = mem_format("%s/mirrord.conf", ((struct dir *)*state)->path);
    free(write_file(*state, "mirrord.conf", "include(\"other.conf\")\nsite-sockets = /s\n"));
    struct err err;
    assert_int_equal(config_load(whole, NULL, &c, &err), -1);
    assert_non_null(strstr(err.text, "other.conf:1: site-sockets: is set in another file already"));
    free(whole);
}

static void test_mistakes_of_syntax(void **state)
{
    assert_fails(*state, "host web2 {\n # x\n /* y\n z */ prot = 22\n}\n",
        "mirrord.conf:4: unknown key 'prot' in host web2: did you mean 'port'?");
    assert_fails(*state, "stat-dir = /x\n",
        "mirrord.conf:1: unknown key 'stat-dir': did you mean 'state-dir'?");
    assert_fails(*state, "\nfrobnicate = 1\n", "mirrord.conf:2: unknown key 'frobnicate'");
    assert_fails(
        *state, "defaults {\n own = yes }\n", "mirrord.conf:2: unknown key 'own' in defaults");
    assert_fails(*state, HOSTS "site s { at web1 {\n rot = /x } }\n",
        "mirrord.conf:5: unknown key 'rot' in at web1: did you mean 'root'?");
    assert_fails(*state, "\" parse\"(x)\n", "mirrord.conf:1: unknown key ' parse'");
    assert_fails(*state, "host web1 {}\nhost web1 {}\n",
        "mirrord.conf:2: host web1 is there twice (first on line 1)");
    assert_fails(*state, "host web1 { port = 1\nport = 2 }\n",
        "mirrord.conf:2: port is there twice (first on line 1)");
    assert_fails(*state, "defaults { exclude = {a, b}\n exclude = {c} }\n",
        "mirrord.conf:2: exclude is there twice (first on line 1)");
    assert_fails(*state, "host web1 {\n address = \"x\n}\n",
        "mirrord.conf:1: the '{' of this line is not closed");
    assert_fails(*state, "host web1 {\n address \"x\"\n}\n",
        "mirrord.conf:2: missing equal sign after option 'address'");
    assert_fails(*state, "}\n", "mirrord.conf:1: unexpected closing brace");
}

static void test_bad_values(void **state)
{
    static const struct {
        const char *text, *error;
    } hosts[] = {
        {"port = 0", "port: '0' is not a number from 1 to 65535"},
        {"port = 65536", "port: '65536' is not a number from 1 to 65535"},
        {"port = 22x", "port: '22x' is not a number from 1 to 65535"},
        {"port = -1", "port: '-1' is not a number from 1 to 65535"},
        {"identity = id", "identity: 'id' is not an absolute path (without \"..\")"},
        {"identity = /a/../b", "identity: '/a/../b' is not an absolute path (without \"..\")"},
        {"transport = ssh", "transport: 'ssh' is none of auto, libssh2, openssh, child"},
        {"compress = gzip", "compress: 'gzip' is none of auto, none, zstd"},
        {"keepalive = 60", "keepalive: '60' is not a number from 1 to 15"},
        {"bwlimit = fast", "bwlimit: 'fast' is not a size such as 500K, 20M or 1.5G"},
        {"user = \"\"", "user: is empty"},
        {"remote-command = \" \"", "remote-command: ' ' is no command, or a quote is not closed"},
        {"remote-command = \"a 'b\"",
            "remote-command: 'a 'b' is no command, or a quote is not closed"},
    };
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        char *text = mem_format("host web1 {\n %s\n}\n", hosts[i].text);
        char *error = mem_format("mirrord.conf:2: host web1: %s", hosts[i].error);
        assert_fails(*state, text, error);
        free(text);
        free(error);
    }
    static const struct {
        const char *text, *error;
    } sites[] = {
        {"owner = maybe", "owner: 'maybe' is none of no, yes, false, true"},
        {"drift = fix", "drift: 'fix' is none of heal, report"},
        {"max-delete = 20", "max-delete: '20' is not a percentage such as \"20%\" (a number goes "
                            "to max-delete-count)"},
        {"max-delete = 101%", "max-delete: '101%' is not a percentage such as \"20%\" (a number "
                              "goes to max-delete-count)"},
        {"max-delete-count = 5%", "max-delete-count: '5%' is not a number from 0 to 4294967295"},
        {"keep-deleted = 3651", "keep-deleted: '3651' is not a number from 0 to 3650"},
        {"unit-grace = 60s", "unit-grace: '60s' is not a number from 0 to 86400"},
        {"on-commit = reload", "on-commit: 'reload' is not the absolute path of a command with "
                               "its arguments (or none), or a quote is not closed"},
        {"on-commit-timeout = 0s", "on-commit-timeout: it is not from 1s to 1h"},
        {"on-switch = gate", "on-switch: 'gate' is not the absolute path of a command with its "
                             "arguments (or none), or a quote is not closed"},
        {"on-switch-timeout = 31s", "on-switch-timeout: it is not from 100ms to 30s"},
        {"health-max-lag = 5", "health-max-lag: '5' is not a time such as 100ms, 1.5s or 10m"},
        {"health-max-lag = 20ms", "health-max-lag: is less than a second"},
        {"health-orphaned = 1d",
            "health-orphaned: '1d' is none of up, down, and a time such as 10m"},
        {"min-free = much", "min-free: 'much' is not a size such as 500K, 20M or 1.5G"},
        {"min-free = x%", "min-free: 'x%' is not a percentage such as \"20%\""},
        {"min-free = 95%", "min-free: more than 90% is never free"},
        {"max-size = -1", "max-size: '-1' is not a size such as 500K, 20M or 1.5G"},
        {"settle = 5", "settle: '5' is not a time such as 100ms, 1.5s or 10m"},
        {"settle-max = 1d", "settle-max: '1d' is not a time such as 100ms, 1.5s or 10m"},
        {"settle = 0x1ms", "settle: '0x1ms' is not a time such as 100ms, 1.5s or 10m"},
        {"unit = {\"../x\"}", "unit: \"../x\" is not a path beneath the root"},
        {"bracket = {\"/\"}", "bracket: \"/\" is not a path beneath the root"},
        {"preset = joomla",
            "preset: there is no preset \"joomla\" (there are none, wordpress, bedrock "
            "and releases)"},
        {"wp-config = no", "wp-config: 'no' is none of mirror, local"},
        {"exclude = {\"\"}", "exclude: \"\" is no pattern"},
    };
    for (size_t i = 0; i < sizeof sites / sizeof *sites; i++) {
        char *text = mem_format(
            HOSTS "site s { root = /r hosts = {web1} primary = web1\n %s }\n", sites[i].text);
        char *error = mem_format("mirrord.conf:5: site s: %s", sites[i].error);
        assert_fails(*state, text, error);
        free(text);
        free(error);
    }
}

static void test_rules_between_hosts_and_sites(void **state)
{
    assert_fails(*state, HOSTS "site s { hosts = {web1} primary = web1 }\n",
        "mirrord.conf:4: site s: it has no root");
    assert_fails(*state, HOSTS "site s { root = /r hosts = {web1} }\n",
        "mirrord.conf:4: site s: it has no primary: say which host is written to");
    assert_fails(*state, HOSTS "site s { root = /r primary = web1 }\n",
        "mirrord.conf:4: site s: it has no hosts: say hosts = {web1, web2}");
    assert_fails(*state, HOSTS "site s { root = /r hosts = {} primary = web1 }\n",
        "mirrord.conf:4: site s: it has no hosts: say hosts = {web1, web2}");
    assert_fails(*state, HOSTS "site s { root = www hosts = {web1} primary = web1 }\n",
        "mirrord.conf:4: site s: root: 'www' is not an absolute path (without \"..\")");
    assert_fails(*state, HOSTS "site s { root = \"//\" hosts = {web1} primary = web1 }\n",
        "mirrord.conf:4: site s: root: '/' is the whole file system, not a document root");
    assert_fails(*state, HOSTS "site s { root = /r hosts = {web1, wbe2} primary = web1 }\n",
        "mirrord.conf:4: site s: there is no host wbe2: did you mean web2?");
    assert_fails(*state, HOSTS "site s { root = /r hosts = {web1, db} primary = web1 }\n",
        "mirrord.conf:4: site s: there is no host db: add  host db { address = … }");
    assert_fails(*state, HOSTS "site s { root = /r hosts = {web1, web1} primary = web1 }\n",
        "mirrord.conf:4: site s: hosts names web1 twice");
    assert_fails(*state, HOSTS "site s { root = /r hosts = {web1, web2} primary = web3 }\n",
        "mirrord.conf:4: site s: its primary web3 is not among its hosts");
    assert_fails(*state,
        HOSTS "site s { root = /r hosts = {web1, web2} primary = web1 at web3 { root = /x } }\n",
        "mirrord.conf:4: site s: at web3: that host is not among its hosts");
    assert_fails(*state, HOSTS "site \"a/b\" { root = /r hosts = {web1} primary = web1 }\n",
        "mirrord.conf:4: site a/b: a name has no blank, ':' or '/'");
    assert_fails(*state, HOSTS "site \"\" { root = /r hosts = {web1} primary = web1 }\n",
        "mirrord.conf:4: site: a name has 1 to 255 bytes and no '-' in front");
}

static void test_overlapping_roots(void **state)
{
    struct config *c;
    struct err err;
    char *path = write_file(*state, "mirrord.conf",
        HOSTS "site inner { root = /srv/a/b hosts = {web1} primary = web1 }\n"
              "site near { root = /srv/a.b hosts = {web1} primary = web1 }\n"
              "site outer { root = /srv/a hosts = {web1, web2} primary = web1 }\n");
    char *expected = mem_format(
        "%s:4: site inner: its root /srv/a/b on web1 overlaps /srv/a of site outer (%s:6)", path,
        path);
    assert_int_equal(config_load(path, NULL, &c, &err), -1);
    assert_string_equal(err.text, expected);
    free(expected);
    free(path);
}

static void test_overlap_only_on_one_host(void **state)
{
    struct config *c = load(*state,
        HOSTS "site a { root = /srv hosts = {web1, web2} primary = web1 at web2 { root = /a } }\n"
              "site b { root = /srv/b hosts = {web2, web3} primary = web2 }\n",
        "web1");
    assert_int_equal(c->site_count, 2);
    config_free(c);
    struct err err;
    char *path = write_file(*state, "mirrord.conf",
        HOSTS "site a { root = /a hosts = {web1, web2} primary = web1 at web2 { root = /x } }\n"
              "site b { root = /x/b hosts = {web2, web3} primary = web2 }\n");
    assert_int_equal(config_load(path, NULL, &c, &err), -1);
    assert_non_null(strstr(err.text, ":5: site b: its root /x/b on web2 overlaps /x of site a ("));
    free(path);
}

static void test_has_changed(void **state)
{
    struct timespec old[2] = {{1000000000, 0}, {1000000000, 0}};
    struct config *c = load(*state, HOSTS, "web1");
    while (config_has_changed(c)) /* written just now: perhaps while it was read */
        continue;
    free(write_file(*state, "mirrord.conf", HOSTS "rescan = 5\n"));
    assert_true(config_has_changed(c));
    assert_false(config_has_changed(c));
    assert_int_equal(utimensat(AT_FDCWD, c->path, old, 0), 0);
    assert_true(config_has_changed(c));
    assert_int_equal(unlink(c->path), 0);
    assert_true(config_has_changed(c));
    assert_false(config_has_changed(c));
    config_free(c);
}

/* Read again until what it is from was not written just now. */
static struct config *load_settled(const struct dir *d, const char *text)
{
    struct config *c = load(d, text, "web1");
    char *path = mem_copy_string(c->path);
    while (config_has_changed(c)) {
        config_free(c);
        assert_int_equal(config_load(path, "web1", &c, NULL), 0);
    }
    free(path);
    return c;
}

/* What an include would find besides. */
static void test_has_changed_where_includes_look(void **state)
{
    const char *text =
        "include(\"conf.d/*.conf\") include(\"later/*.conf\") include(\"some/*/of.conf\")\n";
    make_path(*state, "conf.d");
    make_path(*state, "some");
    free(write_file(*state, "conf.d/one.conf", "host web1 {}\n"));
    struct config *c = load_settled(*state, text);
    free(write_file(*state, "conf.d/two.conf", "host web2 {}\n"));
    assert_true(config_has_changed(c));
    make_path(*state, "later");
    assert_true(config_has_changed(c));
    make_path(*state, "some/more");
    assert_true(config_has_changed(c));
    assert_false(config_has_changed(c));
    config_free(c);
    c = load_settled(*state, text);
    free(write_file(*state, "some/more/of.conf", "host web3 {}\n"));
    assert_true(config_has_changed(c));
    config_free(c);
    c = load_settled(*state, text);
    free(write_file(*state, "conf.d/one.conf", "host web1 {} # the same\n"));
    assert_true(config_has_changed(c));
    assert_non_null(config_file_path(c, 3));
    assert_null(config_file_path(c, 4)); /* the directories are no files of it */
    config_free(c);
}

static void test_at(void **state)
{
    struct config *c = load(*state,
        HOSTS
        "sites s { glob = \"/none/*\" hosts = {web1, web2, web3} primary = web1\n"
        "  include = {a} at web1 { exclude = {x} } at web2 { owner = \"www\" exclude = {y, z} }\n"
        "  at web3 { owner = no } }\n",
        "web1");
    const struct config_site *s = &c->globs[0];
    assert_int_equal(config_at(s, "web1")->owner, OWNER_AS_SITE);
    assert_int_equal(config_at(s, "web2")->owner, OWNER_FIXED);
    assert_string_equal(config_at(s, "web2")->user, "www");
    assert_null(config_at(s, "web2")->group);
    assert_int_equal(filter_count(config_exclude_at(s, "web2")), 2);
    assert_int_equal(config_at(s, "web3")->owner, OWNER_NO);
    assert_null(config_exclude_at(s, "web3"));
    assert_null(config_at(s, "web4"));
    assert_int_equal(filter_count(s->filter), 2); /* with what this host leaves out */
    assert_true(filter_excludes(s->filter, bytes_of("x"), false));
    assert_false(filter_excludes(s->filter, bytes_of("y"), false));
    config_free(c);
}

static void test_at_refused(void **state)
{
    static const char *const bad[][2] = {
        {"owner = \":g\"", "':g' is none of yes, no, USER and USER:GROUP"},
        {"owner = \"u:\"", "'u:' is none of"},
        {"owner = \"a:b:c\"", "'a:b:c' is none of"},
        {"owner = \"\"", "owner: is empty"},
        {"exclude = {\"\"}", "exclude: \"\" is no pattern"},
        {"include = {x}", "unknown key 'include'"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct config *c;
        struct err err;
        char *text = mem_format(HOSTS
            "site a { root = /a hosts = {web1, web2} primary = web1 at web2 {\n%s\n} }\n",
            bad[i][0]);
        char *path = write_file(*state, "mirrord.conf", text);
        assert_int_equal(config_load(path, NULL, &c, &err), -1);
        assert_non_null(strstr(err.text, ":5: "));
        assert_non_null(strstr(err.text, bad[i][1]));
        free(path);
        free(text);
    }
}

static void test_units(void **state)
{
    struct config *c = load(*state,
        "host web1 {}\nhost web2 {}\n"
        "defaults { preset = wordpress settle = 1.5s settle-max = 10m }\n"
        "site a { root = /a hosts = {web1, web2} primary = web1 }\n"
        "site b { root = /b hosts = {web1, web2} primary = web1 unit = {\"x/*\", \"y + z\"}\n"
        "  bracket = {none} settle = 100ms settle-max = 2h }\n"
        "site c { root = /c hosts = {web1, web2} primary = web1 unit = {none} preset = none }\n",
        "web1");
    const struct unit_rules *a = c->sites[0].units, *b = c->sites[1].units;
    assert_string_equal(unit_rules_unit(a, 0), "wp-content/plugins/*");
    assert_string_equal(unit_rules_bracket(a, 0), ".maintenance");
    assert_int_equal(unit_rules_settle(a), 1500);
    assert_int_equal(unit_rules_settle_max(a), 600000);
    assert_string_equal(unit_rules_unit(b, 1), "y + z");
    assert_null(unit_rules_unit(b, 2));
    assert_null(unit_rules_bracket(b, 0));
    assert_int_equal(unit_rules_settle(b), 100);
    assert_int_equal(unit_rules_settle_max(b), 7200000);
    assert_null(unit_rules_unit(c->sites[2].units, 0));
    assert_null(unit_rules_bracket(c->sites[2].units, 0));
    config_free(c);
}

static void expect_excluded(const struct config_site *s, const char *path, bool excluded)
{
    assert_int_equal(filter_excludes_deep(s->filter, bytes_of(path), false), excluded);
}

/* What a server has for itself, and what closes the site during an update. */
static void test_local_files(void **state)
{
    struct config *c = load(*state,
        "host web1 {}\nhost web2 {}\ndefaults { preset = wordpress wp-config = local }\n"
        "site a { root = /a hosts = {web1, web2} primary = web1 }\n"
        "site b { root = /b hosts = {web1, web2} primary = web1 wp-config = mirror\n"
        "  maintenance = mirror }\n"
        "site c { root = /c hosts = {web1, web2} primary = web1 preset = bedrock }\n",
        "web1");
    expect_excluded(&c->sites[0], "wp-config.php", true);
    expect_excluded(&c->sites[0], ".maintenance", true);
    expect_excluded(&c->sites[0], "sub/wp-config.php", false);
    expect_excluded(&c->sites[1], "wp-config.php", false);
    expect_excluded(&c->sites[1], ".maintenance", false);
    expect_excluded(&c->sites[2], ".env", true);
    expect_excluded(&c->sites[2], "web/wp/.maintenance", true);
    assert_int_equal(c->sites[2].max_size, UINT64_C(2) << 30);
    config_free(c);
}

static void test_includes(void **state)
{
    make_path(*state, "conf.d");
    free(write_file(*state, "conf.d/a.conf", "host web2 {}\ninclude(\"more.conf\")\n"));
    free(write_file(*state, "conf.d/more.conf", "host web3 {}\n"));
    free(write_file(*state, "conf.d/z.site",
        "# one\nsite s { root = /r hosts = {web1, web3} primary = web1 }\n"));
    struct config *c = load(*state,
        "include(\"conf.d/a*.conf\")\nhost web1 {}\ninclude(\"conf.d/*.site\")\n"
        "include(\"nothing/*.conf\")\n",
        "web3");
    assert_int_equal(c->host_count, 3);
    assert_int_equal(c->site_count, 1);
    assert_int_equal(c->sites[0].line, 2);
    assert_non_null(strstr(c->sites[0].file, "/conf.d/z.site"));
    config_free(c);
}

static void test_mistakes_of_includes(void **state)
{
    make_path(*state, "conf.d");
    free(write_file(*state, "conf.d/a.conf", "host web1 {}\n"));
    free(write_file(*state, "conf.d/bad.conf", "host web9 {}\nhots web2 {}\n"));
    free(write_file(*state, "conf.d/loop.conf", "include(\"loop.conf\")\n"));
    assert_fails(*state, "include(\"conf.d/bad.conf\")\n",
        "conf.d/bad.conf:2: unknown key 'hots': did you mean 'host'?");
    struct config *c;
    struct err err;
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"metrics = /m/x\n", "mirrord.conf:1: metrics: '/m/x' does not end in .prom"},
        {"metrics = x.prom\n", "metrics: 'x.prom' is not an absolute path"},
        {"metrics-interval = 500ms\n", "metrics-interval: is less than a second"},
        {"include(\"gone.conf\")\n", "mirrord.conf:1: include: there is no file "},
        {"include()\n", "mirrord.conf:1: include takes one file or pattern"},
        {"include(\"conf.d/loop.conf\")\n", "conf.d/loop.conf:1: include: "},
        {"host web1 {}\ninclude(\"conf.d/a.conf\")\n",
            "conf.d/a.conf:1: host web1: is there twice (first at "},
        {"defaults {}\ndefaults {}\n", "mirrord.conf:2: defaults: is there twice (first at "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = write_file(*state, "mirrord.conf", cases[i].text);
        assert_int_equal(config_load(path, NULL, &c, &err), -1);
        assert_int_equal(err.code, ERR_USAGE);
        assert_non_null(strstr(err.text, cases[i].error));
        free(path);
    }
}

static void test_glob(void **state)
{
    const struct dir *d = *state;
    make_path(d, "www");
    make_path(d, "www/alpha");
    make_path(d, "www/alpha/htdocs");
    make_path(d, "www/beta");
    make_path(d, "www/beta/htdocs");
    make_path(d, "www/.hidden");
    make_path(d, "www/.hidden/htdocs");
    make_path(d, "www/gamma");
    free(write_file(d, "www/gamma/htdocs", "a file"));
    char *text = mem_format(HOSTS
        "sites shops { glob = \"%s/www/*/htdocs\" hosts = {web1, web2} primary = web1\n"
        "  at web2 { root = \"/data/*/web\" } exclude = {x} }\n",
        d->path);
    struct config *c = load(d, text, "web1");
    free(text);
    assert_int_equal(c->site_count, 2);
    const struct config_site *s = config_site(c, "alpha");
    char *root = mem_format("%s/www/alpha/htdocs", d->path);
    assert_string_equal(s->root, root);
    assert_string_equal(config_root_at(s, "web2"), "/data/alpha/web");
    assert_int_equal(filter_count(s->filter), 1);
    assert_non_null(config_site(c, "beta"));
    free(root);

    static const char *const refused[] = {"", "..", ".hidden", "a/b", "a:b", "*"};
    assert_int_equal(config_find_root(c, "new", "web2", &s, &root), 0);
    assert_string_equal(root, "/data/new/web");
    assert_string_equal(s->name, "shops");
    free(root);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        assert_int_equal(config_find_root(c, refused[i], "web2", &s, &root), 1);
    assert_int_equal(config_find_root(c, "new", "web3", &s, &root), 1);
    config_free(c);
}

/* NAME and presence of each site, in their order, and in brackets since when. */
static void assert_sites(const struct config *c, const char *wanted)
{
    static const char signs[] = {[SITE_THERE] = '+', [SITE_GONE] = '-', [SITE_ALL_GONE] = '?'};
    char text[256] = "";
    for (size_t i = 0; i < c->site_count; i++) {
        const struct config_site *s = &c->sites[i];
        size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, "%c%s(%lld) ", signs[s->presence], s->name,
            (long long)s->gone_since);
    }
    assert_string_equal(text, wanted);
}

static void move(const struct dir *d, const char *from, const char *to)
{
    char *a = mem_format("%s/%s", d->path, from), *b = mem_format("%s/%s", d->path, to);
    assert_int_equal(rename(a, b), 0);
    free(a);
    free(b);
}

/* Expanded anew and held against what is known, which is read again as after a restart. */
static void look(const struct dir *d, struct config *c, int64_t now, const char *wanted)
{
    struct known_sites *k;
    struct err err;
    assert_int_equal(known_sites_open(d->path, &k, &err), 0);
    assert_int_equal(config_expand_again(c, &err), 0);
    assert_int_equal(known_sites_apply(k, c, now, &err), 0);
    assert_sites(c, wanted);
    known_sites_free(k);
}

static struct config *load_glob(const struct dir *d, const char *pattern)
{
    char *text =
        mem_format(HOSTS "site alone { root = /alone hosts = {web1, web2} primary = web1 }\n"
                         "sites shops { glob = \"%s/%s\" hosts = {web1, web2} primary = web1 }\n",
            d->path, pattern);
    struct config *c = load(d, text, "web1");
    free(text);
    return c;
}

static void test_sites_come_and_go(void **state)
{
    const struct dir *d = *state;
    struct known_sites *k;
    struct err err;
    make_path(d, "v");
    make_path(d, "v/a b"); /* a name may have a blank */
    make_path(d, "v/b");
    struct config *c = load_glob(d, "v/*");
    look(d, c, 10, "+alone(0) +a b(0) +b(0) ");
    make_path(d, "v/c");
    look(d, c, 20, "+alone(0) +a b(0) +b(0) +c(0) ");
    move(d, "v/a b", "a b");
    look(d, c, 30, "+alone(0) +b(0) +c(0) -a b(30) ");
    move(d, "v", "w"); /* what was gone before is not held with the others */
    look(d, c, 40, "+alone(0) -a b(30) ?b(40) ?c(40) ");
    move(d, "w", "v");
    move(d, "v/c", "c");
    look(d, c, 50, "+alone(0) +b(0) -a b(30) -c(50) ");
    move(d, "a b", "v/a b");
    look(d, c, 60, "+alone(0) +a b(0) +b(0) -c(50) ");
    assert_int_equal(known_sites_open(d->path, &k, &err), 0);
    assert_int_equal(known_sites_forget(k, config_site(c, "c"), "web1", &err), 0);
    known_sites_free(k);
    look(d, c, 70, "+alone(0) +a b(0) +b(0) ");
    config_free(c);
    move(d, "v/b", "v/alone"); /* in the way of one that has this name by itself */
    c = load_glob(d, "nothing/*");
    look(d, c, 80, "+alone(0) "); /* of another pattern nothing is known */
    config_free(c);
}

/* What cannot be taken in leaves all as it was. */
static void test_expanding_into_a_clash(void **state)
{
    const struct dir *d = *state;
    struct err err;
    make_path(d, "v");
    make_path(d, "v/a");
    struct config *c = load_glob(d, "v/*");
    make_path(d, "v/alone");
    assert_int_equal(config_expand_again(c, &err), -1);
    assert_non_null(strstr(err.text, "has the same name as /alone"));
    assert_sites(c, "+alone(0) +a(0) ");
    config_free(c);
}

static void test_glob_clashes(void **state)
{
    const struct dir *d = *state;
    make_path(d, "www");
    make_path(d, "www/alpha");
    char *text =
        mem_format(HOSTS "site alpha { root = /elsewhere hosts = {web1} primary = web1 }\n"
                         "sites shops { glob = \"%s/www/*\" hosts = {web1} primary = web1 }\n",
            d->path);
    char *path = write_file(d, "mirrord.conf", text);
    struct config *c;
    struct err err;
    assert_int_equal(config_load(path, "web1", &c, &err), -1);
    assert_non_null(strstr(err.text, "mirrord.conf:5: site alpha: "));
    assert_non_null(strstr(err.text, "has the same name as /elsewhere ("));
    free(text);
    free(path);
    assert_fails(d, HOSTS "sites s { glob = /www/htdocs hosts = {web1} primary = web1 }\n",
        "mirrord.conf:4: site s: /www/htdocs: a pattern of sites has exactly one '*' and no '?' or "
        "'['");
    assert_fails(d, HOSTS "sites s { glob = \"/w/*/*\" hosts = {web1} primary = web1 }\n",
        "mirrord.conf:4: sites s: /w/*/*: a pattern of sites has exactly one '*' and no '?' or "
        "'['");
}

static void test_self(void **state)
{
    char name[256] = "";
    gethostname(name, sizeof name - 1);
    char *text = mem_format("host \"%s\" {}\nhost other {}\n", name);
    struct config *c = load(*state, text, NULL);
    assert_string_equal(c->self, name);
    config_free(c);
    free(text);
    c = load(*state, "host surely-not-this-one {}\n", NULL);
    assert_null(c->self);
    struct err err;
    assert_int_equal(config_no_self(c, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
    text = mem_format(
        "does not have this host, which is called %s; it has surely-not-this-one: ", name);
    assert_non_null(strstr(err.text, text));
    free(text);
    config_free(c);
    char *path = write_file(*state, "mirrord.conf", HOSTS);
    assert_int_equal(config_load(path, "web9", &c, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
    assert_non_null(strstr(err.text, "--as web9: there is no such host in "));
    free(path);
}

static void test_unreadable(void **state)
{
    const struct dir *d = *state;
    struct config *c;
    struct err err;
    char *path = mem_format("%s/gone.conf", d->path);
    assert_int_equal(config_load(path, NULL, &c, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
    assert_non_null(strstr(err.text, "there is no such file"));
    free(path);
    assert_int_equal(config_load(d->path, NULL, &c, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
    path = mem_format("%s/nul.conf", d->path);
    FILE *f = fopen(path, "w");
    fwrite("a\0b", 1, 3, f);
    fclose(f);
    assert_int_equal(config_load(path, NULL, &c, &err), -1);
    assert_non_null(strstr(err.text, "is not a text file"));
    free(path);
}

static void test_empty_file(void **state)
{
    struct config *c = load(*state, "", NULL);
    assert_int_equal(c->host_count, 0);
    assert_int_equal(c->site_count, 0);
    config_free(c);
}

/* A mistake leaves nothing behind in the parser: the next file is read from a clean start. */
static void test_again_after_a_mistake(void **state)
{
    assert_fails(*state, "host web1 { address = \"open\n",
        "mirrord.conf:1: the '{' of this line is not closed");
    struct config *c = load(*state, HOSTS, "web1");
    assert_int_equal(c->host_count, 3);
    config_free(c);
}

static void *load_often(void *path)
{
    for (int i = 0; i < 100; i++) {
        struct config *c;
        if (config_load(path, "web1", &c, NULL) < 0)
            return path;
        config_free(c);
    }
    return NULL;
}

/* A reload, while a handover that was begun goes on. */
static void test_two_threads(void **state)
{
    char *path = write_file(*state, "mirrord.conf",
        HOSTS "site s { root = /r hosts = {web1, web2} primary = web1 exclude = {a, b, c} }\n");
    pthread_t threads[2];
    void *failed;
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, load_often, path), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    free(path);
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {{"0", 0}, {"10", 10}, {"500K", 512000}, {"500k", 512000}, {"20M", 20971520},
        {"1.5G", 1610612736}, {"2T", UINT64_C(2) << 40}};
    static const char *const bad[] = {
        "", "K", "-1", "1KB", "1 K", "0x10", "1e3", "nan", "inf", "99999999999T", "5%"};
    struct err err;
    uint64_t v;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(config_parse_size(good[i].text, &v, &err), 0);
        assert_int_equal(v, good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        v = 42;
        assert_int_equal(config_parse_size(bad[i], &v, &err), -1);
        assert_int_equal(err.code, ERR_USAGE);
        assert_int_equal(v, 42);
    }
}

static void test_clean_paths(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"/", "/"}, {"//", "/"}, {"/.", "/"}, {"/a/", "/a"},
        {"//a//./b/.", "/a/b"}, {"/..a/b..", "/..a/b.."}, {"a", NULL}, {"", NULL}, {"/a/..", NULL},
        {"/../a", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *clean = config_clean_path(cases[i][0]);
        if (cases[i][1])
            assert_string_equal(clean, cases[i][1]);
        else
            assert_null(clean);
        free(clean);
    }
}

#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(test_everything),
        WITH_DIR(test_order_of_rules),
        WITH_DIR(test_defaults_of_everything),
        WITH_DIR(test_site_sockets),
        WITH_DIR(test_mistakes_of_syntax),
        WITH_DIR(test_bad_values),
        WITH_DIR(test_rules_between_hosts_and_sites),
        WITH_DIR(test_overlapping_roots),
        WITH_DIR(test_overlap_only_on_one_host),
        WITH_DIR(test_at),
        WITH_DIR(test_has_changed),
        WITH_DIR(test_has_changed_where_includes_look),
        WITH_DIR(test_at_refused),
        WITH_DIR(test_units),
        WITH_DIR(test_local_files),
        WITH_DIR(test_includes),
        WITH_DIR(test_mistakes_of_includes),
        WITH_DIR(test_glob),
        WITH_DIR(test_sites_come_and_go),
        WITH_DIR(test_expanding_into_a_clash),
        WITH_DIR(test_glob_clashes),
        WITH_DIR(test_self),
        WITH_DIR(test_unreadable),
        WITH_DIR(test_empty_file),
        WITH_DIR(test_again_after_a_mistake),
        WITH_DIR(test_two_threads),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_clean_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
