/*
 * Configuration files to blocks of texts, with libconfuse, which nobody else includes. It knows the
 * grammar, which keys there are, and where everything was written (libconfuse keeps neither the
 * line of a value nor that of a section's beginning); it knows nothing of what the values mean.
 */
#include <confuse.h>
#include <errno.h>
#include <glob.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/set.h"
#include "command/config/config_impl.h"
#include "command/nearest.h"

enum { FILES_MAX = 10000 };

struct parse {
    struct set *lines; /* section's address and key → line; the empty key is its beginning */
    struct config_sources *from;
    struct err err; /* the first one */
};

/* ---- Lines and errors ---- */

/* Every section's first option carries the struct parse: libconfuse hands its callbacks nothing
 * else that is ours. Its name holds a blank, so that a file can set it only on purpose. */
static struct parse *parse_of(cfg_t *cfg)
{
    return (struct parse *)cfg->opts[0].simple_value.ptr;
}

static struct set_item *line_item(struct parse *p, const cfg_t *cfg, const char *key)
{
    char id[sizeof cfg + 64];
    memcpy(id, &cfg, sizeof cfg);
    size_t n = strnlen(key, sizeof id - sizeof cfg);
    memcpy(id + sizeof cfg, key, n);
    return set_add(p->lines, id, sizeof cfg + n);
}

static unsigned line_of(struct parse *p, const cfg_t *cfg, const char *key)
{
    return (unsigned)(uintptr_t)line_item(p, cfg, key)->value;
}

/* "host web2", "defaults", or "" at the top. */
static const char *section_words(const cfg_t *cfg, char out[320])
{
    if (strcmp(cfg->name, "root") == 0)
        out[0] = '\0';
    else
        snprintf(
            out, 320, "%s%s%.255s", cfg->name, cfg->title ? " " : "", cfg->title ? cfg->title : "");
    return out;
}

static int fail_text(cfg_t *cfg, const char *fmt, va_list ap)
{
    struct parse *p = parse_of(cfg);
    if (p->err.code)
        return -1;
    char text[ERR_TEXT_MAX];
    vsnprintf(text, sizeof text, fmt, ap);
    return err_set(&p->err, ERR_USAGE, "%s:%d: %s", cfg->filename, cfg->line, text);
}

/* An error at the line that is being read. */
static int fail_here(cfg_t *cfg, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int fail_here(cfg_t *cfg, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail_text(cfg, fmt, ap);
    va_end(ap);
    return -1;
}

static int unknown_key(cfg_t *cfg, const char *key)
{
    const char *known[64] = {NULL};
    size_t n = 0;
    for (cfg_opt_t *o = cfg->opts; o->name && n + 1 < sizeof known / sizeof *known; o++)
        if (o->name[0] != ' ')
            known[n++] = o->name;
    const char *meant = nearest_word(key, known);
    char words[320];
    const char *where = section_words(cfg, words);
    return fail_here(cfg, "unknown key '%s'%s%s%s%s%s", key, *where ? " in " : "", where,
        meant ? ": did you mean '" : "", meant ? meant : "", meant ? "'?" : "");
}

static int duplicate_title(cfg_t *cfg, const char *title)
{
    struct parse *p = parse_of(cfg);
    for (cfg_opt_t *o = cfg->opts; o->name; o++)
        for (unsigned i = 0; o->type == CFGT_SEC && i < o->nvalues; i++) {
            cfg_t *first = o->values[i]->section;
            if (first && first->title && strcmp(first->title, title) == 0)
                return fail_here(cfg, "%s %s is there twice (first on line %u)", o->name, title,
                    line_of(p, first, ""));
        }
    return fail_here(cfg, "%s is there twice", title);
}

/* libconfuse's own complaints; two of them are put into better words. */
static void on_error(cfg_t *cfg, const char *fmt, va_list ap)
{
    if (strstr(fmt, "no such option"))
        unknown_key(cfg, va_arg(ap, const char *));
    else if (strstr(fmt, "duplicate title"))
        duplicate_title(cfg, va_arg(ap, const char *));
    else if (strstr(fmt, "premature end"))
        fail_here(cfg, "the file ends inside a block or a string: a brace or a quote is missing");
    else
        fail_text(cfg, fmt, ap);
}

/* Called for each value as it is read; a key may be given once (a list may be added to). */
static int note_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    struct set_item *item = line_item(parse_of(cfg), cfg, opt->name);
    if (item->value && opt->nvalues <= 1)
        return fail_here(cfg, "%s is there twice (first on line %u)", opt->name,
            (unsigned)(uintptr_t)item->value);
    if (!item->value)
        item->value = (void *)(uintptr_t)cfg->line;
    *(const char **)result = value;
    return 0;
}

/* Called when a section begins, since its second, hidden option has a default to be parsed. */
static int note_begin(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    (void)opt;
    line_item(parse_of(cfg), cfg, "")->value = (void *)(uintptr_t)(cfg->line ? cfg->line : 1);
    *(const char **)result = value;
    return 0;
}

/* ---- Files ---- */

/* 1: it was among them already. */
static int add_path(cfg_t *cfg, char ***list, size_t *count, const char *path)
{
    for (size_t i = 0; i < *count; i++)
        if (strcmp((*list)[i], path) == 0)
            return 1;
    if (*count >= FILES_MAX)
        return fail_here(cfg, "include: more than %d files", FILES_MAX);
    *list = mem_resize(*list, *count + 1, sizeof **list);
    (*list)[(*count)++] = mem_copy_string(path);
    return 0;
}

static int add_file(cfg_t *cfg, const char *path)
{
    struct config_sources *from = parse_of(cfg)->from;
    int r = add_path(cfg, &from->files, &from->file_count, path);
    return r > 0 ? fail_here(cfg, "include: %s is read already", path) : r;
}

static bool is_pattern(const char *text)
{
    return strpbrk(text, "*?[");
}

/* This directory, or all that match. */
static int add_dirs(cfg_t *cfg, const char *pattern)
{
    struct config_sources *from = parse_of(cfg)->from;
    glob_t found;
    int r = 0;
    if (!is_pattern(pattern))
        return add_path(cfg, &from->dirs, &from->dir_count, pattern);
    int rc = glob(pattern, GLOB_ONLYDIR, NULL, &found);
    for (size_t i = 0; rc == 0 && r >= 0 && i < found.gl_pathc; i++)
        r = add_path(cfg, &from->dirs, &from->dir_count, found.gl_pathv[i]);
    globfree(&found);
    return r;
}

/* Whatever comes into the directory of the first component with a *, or beneath, may match. */
static int note_dirs(cfg_t *cfg, const char *pattern)
{
    int r = 0;
    const char *slash = is_pattern(pattern) ? memrchr(pattern, '/', strcspn(pattern, "*?[")) : NULL;
    for (; r >= 0 && slash; slash = strchr(slash + 1, '/')) {
        char *above CLEANUP_FREE =
            mem_copy_bytes(pattern, slash == pattern ? 1 : (size_t)(slash - pattern));
        r = add_dirs(cfg, above);
    }
    return r < 0 ? -1 : 0;
}

/* include("PATTERN"), relative to the file that says so. The files are read after this one: nothing
 * depends on the order, and libconfuse's own includes end at a depth of ten. */
static int on_include(cfg_t *cfg, cfg_opt_t *opt, int argc, const char **argv)
{
    (void)opt;
    if (argc != 1)
        return fail_here(cfg, "include takes one file or pattern: include(\"conf.d/*.conf\")");
    const char *slash = strrchr(cfg->filename, '/');
    char *pattern CLEANUP_FREE =
        argv[0][0] == '/' || !slash
            ? mem_copy_string(argv[0])
            : mem_format("%.*s/%s", (int)(slash - cfg->filename), cfg->filename, argv[0]);
    glob_t found;
    int result = note_dirs(cfg, pattern);
    int rc = glob(pattern, 0, NULL, &found);
    if (rc == GLOB_NOMATCH && !is_pattern(pattern))
        result = fail_here(cfg, "include: there is no file %s", pattern);
    else if (rc && rc != GLOB_NOMATCH)
        result = fail_here(cfg, "include: %s cannot be listed", pattern);
    for (size_t i = 0; rc == 0 && result == 0 && i < found.gl_pathc; i++)
        result = add_file(cfg, found.gl_pathv[i]);
    globfree(&found);
    return result;
}

static int on_hidden(cfg_t *cfg, cfg_opt_t *opt, int argc, const char **argv)
{
    (void)argc;
    (void)argv;
    return unknown_key(cfg, opt->name);
}

#define KEY(name)      CFG_STR_CB(name, NULL, CFGF_NONE, note_value)
#define KEY_LIST(name) CFG_STR_LIST_CB(name, NULL, CFGF_NONE, note_value)
#define HIDDEN(p)                                                                                  \
    {.name = " parse",                                                                             \
        .type = CFGT_FUNC,                                                                         \
        .func = on_hidden,                                                                         \
        .simple_value = {.ptr = (void **)(p)}},                                                    \
        CFG_STR_LIST_CB(" begin", (char *)"{x}", CFGF_NONE, note_begin)
#define TITLED (CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES)
#define HOOK                                                                                       \
    KEY("on-commit"), KEY("on-commit-user"), KEY("on-commit-timeout"), KEY("on-switch"),           \
        KEY("on-switch-timeout")
#define SETTINGS                                                                                   \
    KEY("preset"), KEY("wp-config"), KEY("maintenance"), KEY_LIST("exclude"), KEY_LIST("include"), \
        KEY("owner"), KEY("special-bits"), KEY("fsync"), KEY("max-delete"),                        \
        KEY("max-delete-count"), KEY("max-size"), KEY("drift"), KEY("keep-deleted"),               \
        KEY_LIST("unit"), KEY_LIST("bracket"), KEY("settle"), KEY("settle-max"),                   \
        KEY("unit-grace"), KEY("min-free"), KEY("socket-user"), KEY("health-max-lag"),             \
        KEY("health-orphaned"), HOOK

/* A parser of one file; it copies the tables. */
static cfg_t *new_parser(struct parse *p)
{
    cfg_opt_t host[] = {HIDDEN(p), KEY("address"), KEY("user"), KEY("port"), KEY("identity"),
        KEY("known-hosts"), KEY("transport"), KEY("remote-command"), KEY("compress"),
        KEY("bwlimit"), KEY("keepalive"), CFG_END()};
    cfg_opt_t defaults[] = {HIDDEN(p), SETTINGS, CFG_END()};
    cfg_opt_t at[] = {HIDDEN(p), KEY("root"), KEY("owner"), KEY_LIST("exclude"), HOOK, CFG_END()};
    cfg_opt_t site[] = {HIDDEN(p), KEY("root"), KEY_LIST("hosts"), KEY("primary"), SETTINGS,
        CFG_SEC("at", at, TITLED), CFG_END()};
    cfg_opt_t sites[] = {HIDDEN(p), KEY("glob"), KEY_LIST("hosts"), KEY("primary"), SETTINGS,
        CFG_SEC("at", at, TITLED), CFG_END()};
    cfg_opt_t include = {.name = "include", .type = CFGT_FUNC, .func = on_include};
    cfg_opt_t top[] = {HIDDEN(p), KEY("state-dir"), KEY("control"), KEY("site-sockets"),
        KEY("rescan"), KEY("scan-rate"), KEY("metrics"), KEY("metrics-interval"), KEY("identity"),
        KEY("known-hosts"), CFG_SEC("host", host, TITLED),
        CFG_SEC("defaults", defaults, CFGF_MULTI), CFG_SEC("site", site, TITLED),
        CFG_SEC("sites", sites, TITLED), include, CFG_END()};
    cfg_t *cfg = cfg_init(top, CFGF_NONE);
    if (!cfg) {
        log_error("out of memory");
        abort();
    }
    cfg_set_error_function(cfg, on_error);
    return cfg;
}

/* ---- Blocks ---- */

static void copy_value(struct parse *p, cfg_t *cfg, cfg_opt_t *opt, struct config_block *block)
{
    if (opt->nvalues == 0 || !opt->values[0]->string)
        return;
    size_t n = block->value_count++;
    block->values = mem_resize(block->values, n + 1, sizeof *block->values);
    struct config_value *v = &block->values[n];
    *v = (struct config_value){.key = mem_copy_string(opt->name), .count = opt->nvalues};
    v->line = line_of(p, cfg, opt->name);
    v->texts = mem_array(v->count, sizeof *v->texts);
    for (size_t i = 0; i < v->count; i++)
        v->texts[i] = mem_copy_string(opt->values[i]->string);
}

static void copy_block(struct parse *p, cfg_t *cfg, struct config_block *block)
{
    *block = (struct config_block){.kind = mem_copy_string(cfg->name),
        .title = mem_copy_string(cfg->title ? cfg->title : ""),
        .file = mem_copy_string(cfg->filename),
        .line = line_of(p, cfg, "")};
    for (cfg_opt_t *o = cfg->opts; o->name; o++) {
        if (o->type == CFGT_STR && o->name[0] != ' ')
            copy_value(p, cfg, o, block);
        for (unsigned i = 0; o->type == CFGT_SEC && i < o->nvalues; i++) {
            size_t n = block->block_count++;
            block->blocks = mem_resize(block->blocks, n + 1, sizeof *block->blocks);
            copy_block(p, o->values[i]->section, &block->blocks[n]);
        }
    }
}

static void clear_block(struct config_block *b)
{
    for (size_t i = 0; i < b->value_count; i++) {
        for (size_t j = 0; j < b->values[i].count; j++)
            free(b->values[i].texts[j]);
        free(b->values[i].texts);
        free(b->values[i].key);
    }
    for (size_t i = 0; i < b->block_count; i++)
        clear_block(&b->blocks[i]);
    free(b->values);
    free(b->blocks);
    free(b->kind);
    free(b->title);
    free(b->file);
}

void config_file_free(struct config_block *files)
{
    if (!files)
        return;
    clear_block(files);
    free(files);
}

/* ---- The whole ---- */

static int parse_text(struct parse *p, cfg_t *cfg, char *text, size_t len)
{
    FILE *f = fmemopen(text, len, "r");
    if (!f)
        return err_sys(&p->err, errno, "%s", cfg->filename);
    int rc = cfg_parse_fp(cfg, f);
    fclose(f);
    if (rc != CFG_SUCCESS && !p->err.code)
        fail_here(cfg, "cannot be understood");
    return p->err.code ? -1 : 0;
}

static int parse_file(struct parse *p, const char *path, struct config_block *all)
{
    char *text CLEANUP_FREE = NULL;
    size_t len;
    if (config_text_read(path, &text, &len, &p->err))
        return -1;
    cfg_t *cfg = new_parser(p);
    cfg->filename = mem_copy_string(path);
    int rc = len ? parse_text(p, cfg, text, len) : 0;
    if (rc == 0) {
        size_t n = all->block_count++;
        all->blocks = mem_resize(all->blocks, n + 1, sizeof *all->blocks);
        copy_block(p, cfg, &all->blocks[n]);
    }
    cfg_free(cfg);
    return rc;
}

/* libconfuse's lexer is one for the whole process, and the daemon reads its configuration on a
 * reload and when it goes on with a handover, which has a thread of its own. */
static pthread_mutex_t lexer = PTHREAD_MUTEX_INITIALIZER;

void config_sources_free(struct config_sources *from)
{
    for (size_t i = 0; i < from->file_count; i++)
        free(from->files[i]);
    for (size_t i = 0; i < from->dir_count; i++)
        free(from->dirs[i]);
    free(from->files);
    free(from->dirs);
}

int config_file_read(
    const char *path, struct config_block **out, struct config_sources *from, struct err *err)
{
    struct parse p = {.from = from};
    struct config_block *all = mem_alloc(sizeof *all);
    *from = (struct config_sources){.files = mem_array(1, sizeof *from->files), .file_count = 1};
    from->files[0] = mem_copy_string(path);
    int rc = 0;
    pthread_mutex_lock(&lexer);
    for (size_t i = 0; i < from->file_count && rc == 0; i++) {
        p.lines = set_new();
        rc = parse_file(&p, from->files[i], all);
        set_free(p.lines);
    }
    pthread_mutex_unlock(&lexer);
    if (rc) {
        config_file_free(all);
        if (err)
            *err = p.err;
        return -1;
    }
    *out = all;
    return 0;
}
