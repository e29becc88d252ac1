/* The parts of `mirrord check` that look at this machine's files; see check_report.h. */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "command/check/check_report.h"
#include "command/config/policy.h"
#include "primary/scan/watch.h"
#include "secondary/confine/sandbox.h"

enum { COUNT_MAX = 5 * 1000 * 1000 }; /* directories; more are not counted */

/* ---- State, control, keys ---- */

/* The directory itself, or where it would be made. The caller frees it. */
static char *nearest_existing(const char *path)
{
    char *at = mem_copy_string(path);
    while (access(at, F_OK) != 0 && strcmp(at, "/") != 0) {
        char *slash = strrchr(at, '/');
        if (slash == at)
            slash++;
        *slash = '\0';
    }
    return at;
}

static void check_writable(struct check_report *r, const char *key, const char *dir)
{
    char *at CLEANUP_FREE = nearest_existing(dir);
    struct stat st;
    if (stat(at, &st) == 0 && S_ISDIR(st.st_mode) && access(at, W_OK | X_OK) == 0)
        return;
    char *what CLEANUP_FREE = mem_format("%s: %s cannot be written to", key, at);
    char *repair CLEANUP_FREE =
        mem_format("run as root, or give %s to this user, or set %s to another place", at, key);
    check_report_problem(r, r->config->path, 0, what, repair);
}

void check_report_metrics(struct check_report *r)
{
    const char *path = r->config->metrics;
    if (!path)
        return;
    char *dir CLEANUP_FREE = mem_copy_bytes(path, (size_t)(strrchr(path, '/') - path) + 1);
    if (access(dir, W_OK | X_OK) == 0)
        return;
    char *what CLEANUP_FREE = mem_format("metrics: %s: %s", dir, strerror(errno));
    char *repair CLEANUP_FREE = mem_format(
        "mkdir -p %s, or set metrics to a file in node_exporter's textfile directory", dir);
    check_report_problem(r, r->config->path, 0, what, repair);
}

static void check_identity(
    struct check_report *r, const char *file, unsigned line, const char *who, const char *path)
{
    struct stat st;
    if (!path)
        return;
    if (stat(path, &st) != 0 || access(path, R_OK) != 0) {
        char *what CLEANUP_FREE = mem_format("%sidentity %s: %s", who, path, strerror(errno));
        char *repair CLEANUP_FREE =
            mem_format("mirrord pair HOST…   (or ssh-keygen -t ed25519 -N '' -f %s)", path);
        check_report_problem(r, file, line, what, repair);
    } else if (st.st_mode & 077) {
        char *what CLEANUP_FREE =
            mem_format("%sidentity %s can be read by others than its owner", who, path);
        char *repair CLEANUP_FREE = mem_format("chmod 600 %s", path);
        check_report_problem(r, file, line, what, repair);
    }
}

static void check_known_hosts(
    struct check_report *r, const char *file, unsigned line, const char *who, const char *path)
{
    if (!path || access(path, R_OK) == 0)
        return;
    char *what CLEANUP_FREE = mem_format("%sknown-hosts %s: %s", who, path, strerror(errno));
    char *repair CLEANUP_FREE = mem_format(
        "mirrord pair HOST…   (or ssh-keyscan HOST >> %s, and compare the fingerprints)", path);
    check_report_problem(r, file, line, what, repair);
}

/* Keys are needed where something is pushed from. */
static bool pushes_anything(const struct config *c)
{
    for (size_t i = 0; i < c->site_count; i++)
        if (strcmp(c->sites[i].primary, c->self) == 0)
            return true;
    return false;
}

static void check_keys(struct check_report *r)
{
    const struct config *c = r->config;
    check_identity(r, c->path, 0, "", c->identity);
    check_known_hosts(r, c->path, 0, "", c->known_hosts);
    for (size_t i = 0; i < c->host_count; i++) {
        const struct config_host *h = &c->hosts[i];
        char *who CLEANUP_FREE = mem_format("host %s: ", h->name);
        check_identity(r, h->file, h->line, who, h->identity);
        check_known_hosts(r, h->file, h->line, who, h->known_hosts);
    }
}

void check_report_places(struct check_report *r)
{
    const struct config *c = r->config;
    char *control_dir CLEANUP_FREE = mem_copy_string(c->control);
    char *slash = strrchr(control_dir, '/');
    slash[slash == control_dir] = '\0';
    check_writable(r, "state-dir", c->state_dir);
    check_writable(r, "control", control_dir);
    if (!c->self)
        check_report_problem(r, c->path, 0, "none of its hosts has this host's name",
            "name it in a host block, or say --as HOST");
    else if (pushes_anything(c))
        check_keys(r);
    if (geteuid() != 0)
        puts(
            "note: not root: files of other users cannot be read, owners cannot be set, leases on\n"
            "      their files cannot be taken");
}

void check_report_sandbox(void)
{
    struct sandbox *box = sandbox_new();
    const char *lacks = sandbox_lacks(box);
    if (lacks)
        printf("note: receivers on this host are not confined by %s\n", lacks);
    sandbox_free(box);
}

/* ---- Roots ---- */

static void site_problem(
    struct check_report *r, const struct config_site *s, const char *what, const char *repair)
{
    char *text CLEANUP_FREE = mem_format("site %s: %s", s->name, what);
    check_report_problem(r, s->file, s->line, text, repair);
}

static void check_missing_root(
    struct check_report *r, const struct config_site *s, const char *root, bool primary)
{
    char *parent CLEANUP_FREE = mem_copy_string(root);
    parent[strrchr(root, '/') == root ? 1 : strrchr(root, '/') - root] = '\0';
    if (!primary && access(parent, W_OK | X_OK) == 0)
        return; /* the first session makes it */
    char *what CLEANUP_FREE = mem_format("root %s: %s", root, strerror(errno));
    char *repair CLEANUP_FREE =
        mem_format("mount it, or mkdir -p %s, or correct root", primary ? root : parent);
    site_problem(r, s, what, repair);
}

static void check_root(struct check_report *r, const struct config_site *s, bool primary)
{
    const char *root = config_root_at(s, r->config->self);
    struct stat st;
    if (lstat(root, &st) != 0) {
        check_missing_root(r, s, root, primary);
    } else if (S_ISLNK(st.st_mode)) {
        char *what CLEANUP_FREE = mem_format("root %s is a symbolic link", root);
        site_problem(r, s, what,
            "name the directory it is in, with preset = releases where a deployment switches the "
            "link, or else the directory that it points to");
    } else if (!S_ISDIR(st.st_mode)) {
        char *what CLEANUP_FREE = mem_format("root %s is not a directory", root);
        site_problem(r, s, what, "correct root, or move away what is there");
    } else if (access(root, primary ? R_OK | X_OK : R_OK | W_OK | X_OK) != 0) {
        char *what CLEANUP_FREE = mem_format("root %s: %s", root, strerror(errno));
        site_problem(r, s, what, "run as root, or as the owner of the files");
    }
}

/* Whom the configuration gives everything on this host to. */
static void check_owner(struct check_report *r, const struct config_site *s)
{
    struct receive_policy ignored;
    struct err err;
    if (policy_of(s, r->config->self, &ignored, &err) == 0)
        return;
    const struct config_at *at = config_at(s, r->config->self);
    const char *what = strstr(err.text, ": at ");
    check_report_problem(r, at->file, at->line, what ? what + 2 : err.text,
        "create the user and the group here, or correct owner");
}

/* What the '*' stands in is not made by a session. */
static bool has_place(struct check_report *r, const struct config_site *glob, const char *root)
{
    char *place CLEANUP_FREE = mem_copy_bytes(root, strcspn(root, "*"));
    if (access(place, F_OK) == 0)
        return true;
    char *what CLEANUP_FREE = mem_format(
        "sites %s: the directory %s, where they are to be, is missing", glob->name, place);
    char *repair CLEANUP_FREE = mem_format("mount its volume, or mkdir -p %s", place);
    check_report_problem(r, glob->file, glob->line, what, repair);
    return false;
}

/* On a secondary, which gets the directories, that is nothing to speak of. */
static void look_at_glob(struct check_report *r, const struct config_site *glob)
{
    const struct config *c = r->config;
    const char *root = config_root_at(glob, c->self);
    bool primary = strcmp(glob->primary, c->self) == 0;
    if (!config_site_has_host(glob, c->self) || (!primary && !has_place(r, glob, root)))
        return;
    for (size_t i = 0; i < c->site_count; i++)
        if (c->sites[i].block == glob)
            return;
    if (primary)
        printf("note: %s:%u: sites %s: no directory matches %s, so nothing of it is mirrored yet\n",
            glob->file, glob->line, glob->name, QUOTED(root, strlen(root)));
}

void check_report_roots(struct check_report *r)
{
    const struct config *c = r->config;
    for (size_t i = 0; c->self && i < c->glob_count; i++)
        look_at_glob(r, &c->globs[i]);
    for (size_t i = 0; c->self && i < c->site_count; i++) {
        if (!config_site_has_host(&c->sites[i], c->self))
            continue;
        check_root(r, &c->sites[i], strcmp(c->sites[i].primary, c->self) == 0);
        check_owner(r, &c->sites[i]);
    }
}

/* ---- Limits ---- */

/* Directories that get a watch. What is excluded gets none. */
static uint64_t count_directories(const struct config_site *s, const char *root)
{
    char *const roots[] = {(char *)root, NULL};
    FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_NOSTAT | FTS_XDEV, NULL);
    uint64_t count = 0;
    FTSENT *e;
    while (walk && count < COUNT_MAX && (e = fts_read(walk))) {
        if (e->fts_info != FTS_D)
            continue;
        const char *path = e->fts_level > 0 ? e->fts_path + strlen(root) + 1 : "";
        if (*path && filter_excludes(s->filter, bytes_of(path), true))
            fts_set(walk, e, FTS_SKIP);
        else
            count++;
    }
    if (walk)
        fts_close(walk);
    return count;
}

static void limit_problem(
    struct check_report *r, const char *name, uint64_t limit, uint64_t needed, const char *of)
{
    if (needed <= limit)
        return;
    char *what CLEANUP_FREE = mem_format("fs.inotify.%s is %llu; %llu are needed for %s", name,
        (unsigned long long)limit, (unsigned long long)needed, of);
    char *repair CLEANUP_FREE = mem_format("sysctl -w fs.inotify.%s=%llu   (and in "
                                           "/etc/sysctl.d/60-mirrord.conf)",
        name, (unsigned long long)(2 * needed));
    check_report_problem(r, r->config->path, 0, what, repair);
}

void check_report_limits(struct check_report *r)
{
    const struct config *c = r->config;
    uint64_t sites = 0, directories = 0;
    for (size_t i = 0; c->self && i < c->site_count; i++) {
        const struct config_site *s = &c->sites[i];
        if (strcmp(s->primary, c->self) != 0)
            continue;
        sites++;
        directories += count_directories(s, config_root_at(s, c->self));
    }
    if (sites == 0)
        return;
    printf("%llu director%s to watch in %llu site%s\n", (unsigned long long)directories,
        directories == 1 ? "y" : "ies", (unsigned long long)sites, sites == 1 ? "" : "s");
    limit_problem(r, "max_user_watches", watch_limit("max_user_watches"),
        directories + directories / 4, "the directories there are, and a quarter more");
    limit_problem(r, "max_user_instances", watch_limit("max_user_instances"), 2 * sites,
        "one for each site, and as many for other programs");
}
