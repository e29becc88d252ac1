/*
 * The configuration that `mirrord init` writes; see init_text.h. What goes into it was typed by an
 * operator: it is checked here, so that nothing in it needs quoting, and once more by the parser
 * before the file is put in its place.
 */
#include "command/init/init_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "command/config/config.h"
#include "command/options.h"

enum { PORT_MAX = 65535 };

/* ---- what was said ---- */

static bool is_made_of(const char *text, const char *letters)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    for (; *text; text++)
        if (!strchr(plain, *text) && !strchr(letters, *text))
            return false;
    return true;
}

static int take_port(struct init_host *h, const char *text, struct err *err)
{
    if (options_number(text, &h->port, err) || h->port == 0 || h->port > PORT_MAX)
        return err_set(err, ERR_USAGE, "'%s' is no port", text);
    return 0;
}

/* "ADDRESS", "ADDRESS:PORT", "[IPv6]:PORT", or an IPv6 address by itself. */
static int take_address(struct init_host *h, char *text, struct err *err)
{
    char *colon = strchr(text, ':');
    char *port = colon && !strchr(colon + 1, ':') ? colon : NULL;
    if (*text == '[') {
        char *end = strchr(++text, ']');
        if (!end || (end[1] && end[1] != ':'))
            return err_set(err, ERR_USAGE, "'[%s' is not [ADDRESS]:PORT", text);
        port = end[1] ? end + 1 : NULL;
        *end = '\0';
    }
    if (port)
        *port++ = '\0';
    if (!*text || *text == '-' || !is_made_of(text, "._-:%"))
        return err_set(err, ERR_USAGE, "'%s' is no address", QUOTED(text, strlen(text)));
    h->address = mem_copy_string(text);
    return port ? take_port(h, port, err) : 0;
}

static int add_host(struct init_wish *w, char *text, struct err *err)
{
    char *equals = strchr(text, '=');
    if (equals)
        *equals++ = '\0';
    if (!*text || *text == '-' || !is_made_of(text, "._-"))
        return err_set(err, ERR_USAGE,
            "'%s' is no name of a host: what is wanted is NAME or NAME=ADDRESS[:PORT], with commas "
            "between hosts",
            QUOTED(text, strlen(text)));
    if (init_find_host(w, text))
        return err_set(err, ERR_USAGE, "%s is there twice", text);
    w->hosts = mem_resize(w->hosts, w->host_count + 1, sizeof *w->hosts);
    struct init_host *h = &w->hosts[w->host_count++];
    *h = (struct init_host){.name = mem_copy_string(text)};
    return equals && take_address(h, equals, err) ? err_prefix(err, "%s", h->name) : 0;
}

int init_add_hosts(struct init_wish *w, const char *list, struct err *err)
{
    char *copy CLEANUP_FREE = mem_copy_string(list);
    char *rest = copy;
    for (char *text = strsep(&rest, ","); text; text = strsep(&rest, ","))
        if (add_host(w, text, err))
            return -1;
    return 0;
}

const struct init_host *init_find_host(const struct init_wish *w, const char *name)
{
    for (size_t i = 0; i < w->host_count; i++)
        if (strcmp(w->hosts[i].name, name) == 0)
            return &w->hosts[i];
    return NULL;
}

static bool is_unfit(const char *path)
{
    for (const char *p = path; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f || strchr("\"\\$", *p))
            return true;
    return false;
}

int init_add_root(struct init_wish *w, const char *root, struct err *err)
{
    const char *star = strchr(root, '*');
    char *clean CLEANUP_FREE = config_clean_path(root);
    if (!clean || strcmp(clean, "/") == 0)
        return err_set(err, ERR_USAGE, "'%s' is not the absolute path of a document root", root);
    if (is_unfit(root))
        return err_set(err, ERR_USAGE,
            "%s: a path with a quote, '$', a backslash or a control character is written into the "
            "file by hand, see mirrord.conf(5)",
            QUOTED(root, strlen(root)));
    if (star && strchr(star + 1, '*'))
        return err_set(
            err, ERR_USAGE, "%s: one '*', which names the site, is all there can be", root);
    if (strpbrk(root, "?["))
        return err_set(err, ERR_USAGE, "%s: of the wildcards only '*' is one here", root);
    w->roots = mem_resize(w->roots, w->root_count + 1, sizeof *w->roots);
    w->roots[w->root_count++] = TAKE_PTR(clean);
    return 0;
}

void init_wish_clear(struct init_wish *w)
{
    for (size_t i = 0; i < w->host_count; i++) {
        free(w->hosts[i].name);
        free(w->hosts[i].address);
    }
    for (size_t i = 0; i < w->root_count; i++)
        free(w->roots[i]);
    free(w->hosts);
    free(w->roots);
    *w = (struct init_wish){0};
}

/* ---- the file ---- */

static void add(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    vsnprintf((char *)buf_room(b, (size_t)n + 1), (size_t)n + 1, fmt, again);
    buf_fill(b, (size_t)n);
    va_end(again);
    va_end(ap);
}

static void add_globals(struct buf *b, const struct init_wish *w)
{
    add(b, "# Written by mirrord init. Every host has this same file: after a change here\n"
           "# `mirrord pair` puts it on the others, and `mirrord reload` makes a daemon read it.\n"
           "# mirrord.conf(5) has every key.\n\n");
    add(b, "identity    = \"%s\"  # this host's key: mirrord pair makes it\n", w->identity);
    add(b, "known-hosts = \"%s\"  # the other hosts' keys, likewise\n", w->known_hosts);
    if (w->state_dir)
        add(b, "state-dir   = \"%s\"\n", w->state_dir);
    if (w->control)
        add(b, "control     = \"%s\"\n", w->control);
    add(b, "\n");
}

static void add_hosts(struct buf *b, const struct init_wish *w)
{
    bool sudo = strcmp(w->user, "root") != 0;
    add(b,
        "# A host is itself by its host name. `address` is where the others reach its sshd,\n"
        "# `user` whom their keys log in as%s.\n",
        sudo ? ", who may start mirrord as root (examples/sudoers)" : "");
    for (size_t i = 0; i < w->host_count; i++) {
        const struct init_host *h = &w->hosts[i];
        add(b, "host %s { address = \"%s\"", h->name, h->address ? h->address : h->name);
        if (h->port)
            add(b, "  port = %u", h->port);
        add(b, "  user = \"%s\"", w->user);
        if (sudo)
            add(b, "  remote-command = \"sudo -n mirrord\"");
        add(b, " }\n");
    }
}

static void add_defaults(struct buf *b, const struct init_wish *w)
{
    add(b,
        "\n# For all sites; each can say something else.\n"
        "defaults {\n"
        "  preset = %s\n"
        "  # keep-deleted = 14  # days that a secondary keeps what it deletes or overwrites\n"
        "  # exclude = {\"wp-content/uploads/private/\"}\n"
        "}\n",
        w->preset);
}

/* A site without a '*' is called as its root is, or what that is in where "htdocs" says nothing. */
static void add_name(struct buf *b, const char *root)
{
    static const char *const empty[] = {
        "htdocs", "public_html", "public", "www", "web", "html", "httpdocs", "docroot", NULL};
    char *copy CLEANUP_FREE = mem_copy_string(root);
    char *last = strrchr(copy, '/');
    for (const char *const *word = empty; *word && last > copy; word++)
        if (strcmp(last + 1, *word) == 0) {
            *last = '\0';
            last = strrchr(copy, '/');
            break;
        }
    add(b, "%s", last && last[1] ? last + 1 : "site");
}

static void add_sites(struct buf *b, const struct init_wish *w, const char *root, size_t number)
{
    if (strchr(root, '*')) {
        add(b, "\n# One site for each directory that matches, named by what the * stands for.\n");
        char *second CLEANUP_FREE = number ? mem_format("%zu", number + 1) : mem_copy_string("");
        add(b, "sites \"all%s\" {\n  glob    = \"%s\"\n", second, root);
    } else {
        add(b, "\nsite \"");
        add_name(b, root);
        add(b, "\" {\n  root    = \"%s\"\n", root);
    }
    add(b, "  hosts   = {");
    for (size_t i = 0; i < w->host_count; i++)
        add(b, "%s%s", i ? ", " : "", w->hosts[i].name);
    add(b, "}\n  primary = %s  # is written to; a promotion stands above this\n", w->primary);
    add(b, "  # at %s { root = \"/data%s\" }  # what differs on one host\n}\n",
        w->hosts[w->host_count - 1].name, root);
}

char *init_text(const struct init_wish *w)
{
    struct buf b = {0};
    add_globals(&b, w);
    add_hosts(&b, w);
    add_defaults(&b, w);
    for (size_t i = 0; i < w->root_count; i++)
        add_sites(&b, w, w->roots[i], i);
    char *text = mem_copy_bytes(buf_bytes(&b), buf_len(&b));
    buf_free(&b);
    return text;
}
