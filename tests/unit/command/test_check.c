/* check: each thing that can be wrong on this machine is found, with its line and a repair. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/mem.h"
#include "command/command.h"

struct dir {
    char path[64];
    char *config;
};

static int make_dir(void **state)
{
    struct dir *d = mem_alloc(sizeof *d);
    strcpy(d->path, "/dev/shm/mirrord-check-XXXXXX");
    if (!mkdtemp(d->path)) {
        strcpy(d->path, "/tmp/mirrord-check-XXXXXX");
        if (!mkdtemp(d->path))
            return -1;
    }
    d->config = mem_format("%s/mirrord.conf", d->path);
    *state = d;
    return 0;
}

static int remove_dir(void **state)
{
    struct dir *d = *state;
    char *command = mem_format("rm -rf '%s'", d->path);
    int rc = system(command);
    free(command);
    free(d->config);
    free(d);
    return rc;
}

/* '@' in the text is the directory. */
static void write_config(const struct dir *d, const char *text)
{
    FILE *f = fopen(d->config, "w");
    assert_non_null(f);
    for (; *text; text++) {
        if (*text == '@')
            fputs(d->path, f);
        else
            fputc(*text, f);
    }
    assert_int_equal(fclose(f), 0);
}

static char *in_dir(const struct dir *d, const char *name)
{
    return mem_format("%s/%s", d->path, name);
}

static void make_path(const struct dir *d, const char *name)
{
    char *path = in_dir(d, name);
    assert_int_equal(mkdir(path, 0755), 0);
    free(path);
}

/* check -c CONFIG --as web1 MORE…; what is printed goes to *out. */
static int check(const struct dir *d, const char *more, const char *operand, char **out)
{
    char *argv[] = {(char *)"check", (char *)"-c", d->config, (char *)"--as", (char *)"web1",
        (char *)more, (char *)operand, NULL};
    fflush(stdout);
    FILE *file = tmpfile();
    int saved = dup(STDOUT_FILENO);
    dup2(fileno(file), STDOUT_FILENO);
    int code = command_check(operand ? 7 : 6, argv);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    struct stat st;
    fstat(fileno(file), &st);
    *out = mem_alloc((size_t)st.st_size + 1);
    assert_int_equal(io_pread_full(fileno(file), *out, (size_t)st.st_size, 0), st.st_size);
    fclose(file);
    return code;
}

static void assert_in(const char *out, const char *part)
{
    if (!strstr(out, part))
        fail_msg("\"%s\" is not in\n%s", part, out);
}

#define PLACES "state-dir = \"@/state\" control = \"@/run/control\"\n"
#define HOSTS  "host web1 {} host web2 {}\n"

static void test_all_well(void **state)
{
    struct dir *d = *state;
    char *out;
    make_path(d, "www");
    make_path(d, "www/a");
    make_path(d, "www/a/cache");
    make_path(d, "www/a/cache/deep");
    write_config(d, PLACES HOSTS "site s { root = \"@/www\" hosts = {web1, web2} primary = web1 "
                                 "exclude = {\"a/cache/\"} }\n");
    int code = check(d, "--offline", NULL, &out);
    assert_in(out, "this is web1, primary of 1, secondary of 0\n");
    assert_in(out, "2 directories to watch in 1 site\n");
    assert_in(out, "all well\n");
    assert_int_equal(code, 0);
    free(out);
    write_config(d, PLACES "metrics = \"@/no/x.prom\"\n" HOSTS);
    assert_int_equal(check(d, "--offline", NULL, &out), 1);
    assert_in(out, "metrics: ");
    assert_in(out, "/no/: No such file or directory\n    repair: mkdir -p ");
    free(out);
    const char *glob = PLACES HOSTS "sites x { glob = \"@/none/*\" hosts = {web1, web2} "
                                    "primary = web1 }\n";
    write_config(d, glob);
    assert_int_equal(check(d, "--offline", NULL, &out), 0);
    assert_in(out, ":3: sites x: no directory matches /");
    assert_in(out, "/none/*, so nothing of it is mirrored yet\n");
    free(out);
}

/* Who can use a site's own socket. */
static void test_sockets(void **state)
{
    struct dir *d = *state;
    char *out;
    make_path(d, "www");
    make_path(d, "www/a");
    make_path(d, "www/b");
    write_config(d, PLACES HOSTS "sites x { glob = \"@/www/*\" hosts = {web1, web2} "
                                 "primary = web1 }\n");
    int code = check(d, "--offline", NULL, &out);
    assert_int_equal(code, 0);
    if (geteuid() == 0) {
        assert_in(out, "note: site a and 1 more: the root belongs to root");
        assert_in(out, "cannot be reached by other users: chmod o+x");
    }
    free(out);
    write_config(d, PLACES HOSTS "sites x { glob = \"@/www/*\" hosts = {web1, web2} "
                                 "primary = web1 socket-user = \"no such\" }\n");
    code = check(d, "--offline", NULL, &out);
    if (geteuid() == 0) {
        assert_int_equal(code, 1);
        assert_in(out, "site a: socket-user: there is no user no such on this host");
    }
    free(out);
}

static void test_roots(void **state)
{
    struct dir *d = *state;
    char *out, *file = in_dir(d, "file"), *link = in_dir(d, "link");
    fclose(fopen(file, "w"));
    assert_int_equal(symlink("elsewhere", link), 0);
    write_config(d,
        PLACES HOSTS "site gone { root = \"@/gone\" hosts = {web1, web2} primary = web1 }\n"
                     "site file { root = \"@/file\" hosts = {web1, web2} primary = web1 }\n"
                     "site link { root = \"@/link\" hosts = {web1, web2} primary = web1 }\n"
                     "site new { root = \"@/new\" hosts = {web1, web2} primary = web2 }\n"
                     "site far { root = \"@/no/new\" hosts = {web1, web2} primary = web2 }\n");
    assert_int_equal(check(d, "--offline", NULL, &out), 1);
    assert_in(out, "mirrord.conf:3: site gone: root ");
    assert_in(out, "/gone: No such file or directory\n    repair: mount it, or mkdir -p ");
    assert_in(out, "mirrord.conf:4: site file: root ");
    assert_in(out, "is not a directory\n    repair: ");
    assert_in(out, "mirrord.conf:5: site link: root ");
    assert_in(out, "is a symbolic link\n    repair: ");
    assert_in(out, "mirrord.conf:7: site far: root ");
    assert_null(strstr(out, "site new"));
    free(out);
    free(file);
    free(link);
}

/* What a glob's '*' stands in is not made by a session: on a secondary it has to be there, too. */
static void test_places_of_sites(void **state)
{
    struct dir *d = *state;
    char *out;
    write_config(d, PLACES HOSTS "sites x { glob = \"@/none/*/htdocs\" hosts = {web1, web2} "
                                 "primary = web2 }\n");
    assert_int_equal(check(d, "--offline", NULL, &out), 1);
    assert_in(out, "mirrord.conf:3: sites x: the directory ");
    assert_in(
        out, "/none/, where they are to be, is missing\n    repair: mount its volume, or mkdir");
    free(out);
    make_path(d, "none");
    assert_int_equal(check(d, "--offline", NULL, &out), 0);
    free(out);
}

static void test_keys_and_places(void **state)
{
    struct dir *d = *state;
    char *out, *key = in_dir(d, "key");
    make_path(d, "www");
    fclose(fopen(key, "w"));
    assert_int_equal(chmod(key, 0644), 0);
    write_config(d, "state-dir = \"@/key/state\" control = \"@/run/control\"\n"
                    "identity = \"@/key\" known-hosts = \"@/known\"\n"
                    "host web1 {}\nhost web2 { identity = \"@/nokey\" }\n"
                    "site s { root = \"@/www\" hosts = {web1, web2} primary = web1 }\n");
    assert_int_equal(check(d, "--offline", NULL, &out), 1);
    assert_in(out, "state-dir: ");
    assert_in(out, "cannot be written to\n    repair: ");
    assert_in(out, "can be read by others than its owner\n    repair: chmod 600 ");
    assert_in(out, "/known: No such file or directory\n    repair: mirrord pair ");
    assert_in(out, "mirrord.conf:4: host web2: identity ");
    assert_in(out, "/nokey: No such file or directory\n    repair: mirrord pair ");
    free(out);
    free(key);
}

/* A secondary is tried through a child process: one that answers, one that is not there. */
static void test_reach(void **state)
{
    struct dir *d = *state;
    char *out;
    make_path(d, "www");
    write_config(d, PLACES
        "host web1 {}\n"
        "host web2 { transport = child remote-command = \"sh -c 'echo mirrord 9.9'\" }\n"
        "host web3 { transport = child remote-command = \"sh -c 'cat >&2'\" }\n"
        "host web4 { transport = child remote-command = \"sh -c 'echo not here >&2; exit 127'\" }\n"
        "site s { root = \"@/www\" hosts = {web1, web2, web3, web4} primary = web1 }\n");
    assert_int_equal(check(d, "--as=web1", NULL, &out), 1);
    assert_in(out, "host web2: reached over child, mirrord 9.9\n");
    assert_in(out, "host web3: reached over child\n");
    assert_in(out, "mirrord.conf:5: host web4: ");
    assert_in(out, "is not installed on ");
    assert_in(out, "not here");
    free(out);
}

static void test_effective(void **state)
{
    struct dir *d = *state;
    char *out;
    write_config(d,
        HOSTS "defaults { exclude = {\"*.bak\"} }\n"
              "site s { root = /r hosts = {web1, web2} primary = web1 at web2 { root = /other\n"
              "  owner = \"www:web\" exclude = {\"/log/\"} } at web1 { owner = no exclude = {x} }\n"
              "  include = {keep} max-size = 1K min-free = 2G owner = no }\n");
    assert_int_equal(check(d, "--effective", "s", &out), 0);
    assert_in(out, "  primary   web1: /r\n    owner no\n    exclude x\n"
                   "  secondary web2: /other\n    owner www:web\n    exclude /log/\n");
    assert_in(out, "preset none, owner no, special-bits no, fsync checkpoint, drift heal\n");
    assert_in(out, "files over 1024 bytes are left alone\n");
    assert_in(out, "/sites/s, of the root's owner\n");
    assert_in(out, "  exclude *.bak\n  include keep\n  exclude x\n");
    free(out);
    assert_int_equal(check(d, "--effective", "t", &out), 2);
    free(out);
}

static void make_file(const struct dir *d, const char *name, const char *text)
{
    char *path = in_dir(d, name);
    for (char *slash = path + strlen(d->path) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(path, 0755);
        *slash = '/';
    }
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    free(path);
}

#define VERSION "<?php\n/** x */\n$wp_version = '6.4.2';\n"

/* The lines that were printed for site c are taken, and leave nothing to be said. */
static void use_the_lines(const struct dir *d, const char *out)
{
    struct buf lines = {0};
    for (const char *at = strchr(strstr(out, "\nc: ") + 1, '\n') + 1; *at == ' ';) {
        size_t len = strcspn(at, "\n") + 1;
        buf_append(&lines, at, len);
        at += len;
    }
    buf_append(&lines, "", 1);
    char *text CLEANUP_FREE =
        mem_format("%ssite c { root = \"@/c\" hosts = {web1, web2} primary = web1 "
                   "preset = wordpress\n%s}\n",
            HOSTS, (const char *)buf_bytes(&lines));
    char *again CLEANUP_FREE = NULL;
    buf_free(&lines);
    write_config(d, text);
    check(d, "--offline", NULL, &again);
    assert_null(strstr(again, "c: WordPress"));
    assert_in(again, "WordPress in 1 site, 1 of them multisite\n");
}

/* A preset that fits is only counted; for others the lines to write are printed. */
static void test_layouts(void **state)
{
    struct dir *d = *state;
    char *out;
    make_file(d, "a/wp-includes/version.php", VERSION);
    make_file(d, "a/wp-content/plugins/x/x.php", "");
    make_file(d, "a/wp-content/themes/x/x.php", "");
    make_file(d, "b/web/wp/wp-includes/version.php", VERSION);
    make_file(d, "b/web/app/plugins/x", "");
    make_file(d, "c/core/wp-includes/version.php", "no version");
    make_file(d, "c/stuff/plugins/x", "");
    make_file(d, "c/stuff/themes/x", "");
    make_file(d, "c/wp-config.php",
        "<?php\n  // define('MULTISITE', true);\ndefine( 'MULTISITE', true );\n");
    make_file(d, "d/releases/7/index.php", "");
    make_file(d, "e/wp/wp-includes/version.php", VERSION);
    make_file(d, "e/app/plugins/x", "");
    make_file(d, "e/app/themes/x", "");
    make_file(d, "f/index.html", "no PHP at all");
    char *link = in_dir(d, "d/current");
    assert_int_equal(symlink("releases/7", link), 0);
    free(link);
    write_config(d,
        HOSTS "site a { root = \"@/a\" hosts = {web1, web2} primary = web1 preset = wordpress }\n"
              "site b { root = \"@/b\" hosts = {web1, web2} primary = web1 preset = wordpress }\n"
              "site c { root = \"@/c\" hosts = {web1, web2} primary = web1 preset = wordpress }\n"
              "site d { root = \"@/d\" hosts = {web1, web2} primary = web1 }\n"
              "site e { root = \"@/e\" hosts = {web1, web2} primary = web1 preset = bedrock }\n"
              "site f { root = \"@/f\" hosts = {web1, web2} primary = web1 }\n");
    check(d, "--offline", NULL, &out);
    assert_null(strstr(out, "\na: "));
    assert_null(strstr(out, "\nf: "));
    assert_in(out, "b: WordPress 6.4.2 laid out by Bedrock, but preset = wordpress (");
    assert_in(out, "    preset  = bedrock\n");
    assert_in(out, "c: WordPress, multisite; say also\n"
                   "    unit    = {\"stuff/plugins/*\", \"stuff/themes/*\", \"stuff/languages\", "
                   "\"core\"}\n"
                   "    bracket = {\"core/.maintenance\", \"stuff/upgrade/\", "
                   "\".git/index.lock\"}\n"
                   "    exclude = {\"");
    assert_in(out, "\"core/.maintenance\"");
    assert_in(out, "\"stuff/upgrade-temp-backup/\"");
    assert_in(out, "\"stuff/et-cache/\"");
    assert_in(out, "d: releases, but preset = none (");
    assert_in(
        out, "e: WordPress 6.4.2 laid out by Bedrock; its root is the project's web directory");
    assert_in(out, "WordPress in 5 sites, 1 of them multisite\n");
    use_the_lines(d, out);
    free(out);
}

static void test_bad_configuration(void **state)
{
    struct dir *d = *state;
    char *out;
    write_config(d, "hots x {}\n");
    assert_int_equal(check(d, "--offline", NULL, &out), 2);
    assert_string_equal(out, "");
    free(out);
}

#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(test_all_well),
        WITH_DIR(test_sockets),
        WITH_DIR(test_roots),
        WITH_DIR(test_places_of_sites),
        WITH_DIR(test_keys_and_places),
        WITH_DIR(test_reach),
        WITH_DIR(test_effective),
        WITH_DIR(test_layouts),
        WITH_DIR(test_bad_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
