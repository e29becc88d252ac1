/* The part of `mirrord check` about the sites' own sockets: whether whoever serves a site can use
 * its socket; see check_report.h. */
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "command/check/check_report.h"
#include "command/status/status_text.h"
#include "primary/daemon/site_names.h"

/* Does every directory down to it, as far as it is there, let others through? */
static void note_way(const char *dir)
{
    char *part CLEANUP_FREE = mem_copy_string(dir);
    struct stat st;
    for (size_t i = 1, len = strlen(dir); i <= len; i++) {
        if (dir[i] && dir[i] != '/')
            continue;
        part[i] = '\0';
        if (stat(part, &st) == 0 && !(st.st_mode & 0001)) {
            printf("note: the sites' sockets in %s cannot be reached by other users: chmod o+x %s\n"
                   "      (in mirrord.service: RuntimeDirectoryMode=0711)\n",
                dir, part);
            return;
        }
        part[i] = dir[i];
    }
}

static void check_user(struct check_report *r, const struct config_site *s)
{
    if (getpwnam(s->socket_user))
        return;
    char *what CLEANUP_FREE = mem_format(
        "site %s: socket-user: there is no user %s on this host", s->name, PLAIN(s->socket_user));
    check_report_problem(r, s->file, s->line, what, "correct socket-user, or add that user");
}

/* No PHP should run as root: who is meant to use that socket? */
static bool is_roots(const struct check_report *r, const struct config_site *s)
{
    struct stat st;
    return !s->socket_user && stat(config_root_at(s, r->config->self), &st) == 0 && st.st_uid == 0;
}

void check_report_sockets(struct check_report *r)
{
    const struct config *c = r->config;
    char *dir CLEANUP_FREE = config_site_sockets(c, c->control);
    const struct config_site *first = NULL;
    size_t more = 0;
    if (!dir && !c->no_site_sockets)
        printf("note: sites have no sockets of their own: %s is too deep for that; set "
               "site-sockets\n",
            c->control);
    if (!dir || !c->self || geteuid() != 0)
        return;
    note_way(dir);
    for (size_t i = 0; i < c->site_count; i++) {
        const struct config_site *s = &c->sites[i];
        if (!config_site_has_host(s, c->self))
            continue;
        if (s->socket_user)
            check_user(r, s);
        more += first && is_roots(r, s);
        if (!first && is_roots(r, s))
            first = s;
    }
    if (!first)
        return;
    printf("note: site %s", PLAIN(first->name));
    if (more)
        printf(" and %zu more", more);
    printf(": the root belongs to root, and so does the socket: the site's PHP cannot use it\n"
           "      unless socket-user says who that is\n");
}
