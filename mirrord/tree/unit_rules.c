/* Units as they are configured; see unit_rules.h. */
#include "tree/unit_rules.h"

#include <fnmatch.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "protocol/path.h"

enum { TEXT_MAX = 1024 };

struct part { /* the names of a path, each a pattern */
    char **names;
    size_t count;
};

struct rule {
    char *text; /* parts joined by " + " */
    struct part *parts;
    size_t count;
};

struct unit_rules {
    struct rule rules[UNIT_RULES_MAX];
    size_t count;
    char *brackets[UNIT_RULES_MAX];
    size_t bracket_count;
    unsigned settle_ms, settle_max_ms;
};

struct unit_rules *unit_rules_new(void)
{
    struct unit_rules *r = mem_alloc(sizeof *r);
    unit_rules_set_times(r, UNIT_SETTLE_MS, UNIT_SETTLE_MAX_MS);
    return r;
}

static void free_rule(struct rule *u)
{
    for (size_t i = 0; i < u->count; i++) {
        for (size_t k = 0; k < u->parts[i].count; k++)
            free(u->parts[i].names[k]);
        free(u->parts[i].names);
    }
    free(u->parts);
    free(u->text);
}

void unit_rules_clear(struct unit_rules *r)
{
    while (r->count > 0)
        free_rule(&r->rules[--r->count]);
}

void unit_rules_clear_brackets(struct unit_rules *r)
{
    while (r->bracket_count > 0)
        free(r->brackets[--r->bracket_count]);
}

void unit_rules_free(struct unit_rules *r)
{
    if (!r)
        return;
    unit_rules_clear(r);
    unit_rules_clear_brackets(r);
    free(r);
}

static void must(int result, const struct err *err)
{
    if (result == 0)
        return;
    log_error("%s", err->text);
    abort();
}

struct unit_rules *unit_rules_copy(const struct unit_rules *r)
{
    struct unit_rules *copy = unit_rules_new();
    struct err err;
    if (!r)
        return copy;
    for (size_t i = 0; i < r->count; i++)
        must(unit_rules_add(copy, r->rules[i].text, &err), &err);
    for (size_t i = 0; i < r->bracket_count; i++)
        must(unit_rules_add_bracket(copy, r->brackets[i], &err), &err);
    unit_rules_set_times(copy, r->settle_ms, r->settle_max_ms);
    return copy;
}

/* A path without the slashes around it; empty when it is none. */
static struct bytes trimmed(struct bytes path)
{
    const char *at = (const char *)path.data;
    while (path.len > 0 && (*at == ' ' || *at == '/')) {
        at++;
        path.len--;
    }
    while (path.len > 0 && (at[path.len - 1] == ' ' || at[path.len - 1] == '/'))
        path.len--;
    return (struct bytes){at, path.len};
}

/* The path's first name, taken off it. */
static struct bytes next_name(struct bytes *path)
{
    const char *start = path->data;
    const char *slash = memchr(start, '/', path->len);
    struct bytes name = {start, slash ? (size_t)(slash - start) : path->len};
    size_t gone = name.len + (slash != NULL);
    *path = (struct bytes){start + gone, path->len - gone};
    return name;
}

static int add_part(struct rule *u, struct bytes text, struct err *err)
{
    struct bytes rest = trimmed(text);
    if (!path_valid(rest) || rest.len == 0)
        return err_set(
            err, ERR_USAGE, "\"%s\" is not a path beneath the root", QUOTED(text.data, text.len));
    u->parts = mem_resize(u->parts, u->count + 1, sizeof *u->parts);
    struct part *p = &u->parts[u->count++];
    *p = (struct part){0};
    while (rest.len > 0) {
        struct bytes name = next_name(&rest);
        p->names = mem_resize(p->names, p->count + 1, sizeof *p->names);
        p->names[p->count++] = mem_copy_bytes(name.data, name.len);
        if (strstr(p->names[p->count - 1], "**"))
            return err_set(err, ERR_USAGE, "\"**\": a unit lies at one depth");
    }
    return 0;
}

static bool same_parent(const struct part *a, const struct part *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i + 1 < a->count; i++)
        if (strcmp(a->names[i], b->names[i]) != 0)
            return false;
    return true;
}

static int check_parts(const struct rule *u, struct err *err)
{
    for (size_t i = 0; u->count > 1 && i < u->count; i++) {
        const struct part *p = &u->parts[i];
        if (!same_parent(&u->parts[0], p))
            return err_set(err, ERR_USAGE, "the parts of a unit lie in one directory");
        for (size_t k = 0; k + 1 < p->count; k++)
            if (strpbrk(p->names[k], "*?["))
                return err_set(
                    err, ERR_USAGE, "in a unit of parts only their last name is a pattern");
    }
    return 0;
}

static int parse_rule(struct rule *u, const char *text, struct err *err)
{
    while (text) {
        const char *plus = strstr(text, " + ");
        size_t len = plus ? (size_t)(plus - text) : strlen(text);
        if (add_part(u, (struct bytes){text, len}, err) < 0)
            return -1;
        text = plus ? plus + 3 : NULL;
    }
    return check_parts(u, err);
}

int unit_rules_add(struct unit_rules *r, const char *text, struct err *err)
{
    struct rule u = {0};
    if (r->count == UNIT_RULES_MAX)
        return err_set(err, ERR_USAGE, "more than %d units", UNIT_RULES_MAX);
    if (strlen(text) > TEXT_MAX)
        return err_set(err, ERR_USAGE, "it is longer than %d bytes", TEXT_MAX);
    u.text = mem_copy_string(text);
    if (parse_rule(&u, text, err) < 0) {
        free_rule(&u);
        return -1;
    }
    r->rules[r->count++] = u;
    return 0;
}

int unit_rules_add_bracket(struct unit_rules *r, const char *text, struct err *err)
{
    struct bytes path = trimmed(bytes_of(text));
    bool dir = *text && text[strlen(text) - 1] == '/';
    if (r->bracket_count == UNIT_RULES_MAX)
        return err_set(err, ERR_USAGE, "more than %d brackets", UNIT_RULES_MAX);
    if (path.len == 0 || !path_valid(path))
        return err_set(
            err, ERR_USAGE, "\"%s\" is not a path beneath the root", QUOTED(text, strlen(text)));
    r->brackets[r->bracket_count++] =
        mem_format("%.*s%s", (int)path.len, (const char *)path.data, dir ? "/" : "");
    return 0;
}

void unit_rules_set_times(struct unit_rules *r, unsigned settle_ms, unsigned settle_max_ms)
{
    r->settle_ms = settle_ms;
    r->settle_max_ms = settle_max_ms;
}

unsigned unit_rules_settle(const struct unit_rules *r)
{
    return r->settle_ms;
}

unsigned unit_rules_settle_max(const struct unit_rules *r)
{
    return r->settle_max_ms;
}

const char *unit_rules_unit(const struct unit_rules *r, size_t i)
{
    return i < r->count ? r->rules[i].text : NULL;
}

const char *unit_rules_bracket(const struct unit_rules *r, size_t i)
{
    return i < r->bracket_count ? r->brackets[i] : NULL;
}

static bool name_fits(const char *pattern, struct bytes name)
{
    char text[PATH_NAME_MAX + 1];
    if (name.len > PATH_NAME_MAX)
        return false;
    memcpy(text, name.data, name.len);
    text[name.len] = '\0';
    return strcmp(pattern, text) == 0 ||
           (strpbrk(pattern, "*?[") && fnmatch(pattern, text, 0) == 0);
}

/* How much of the path the part covers: as many names as it has. 0: it does not fit, or (then
 * *above) the path ended before the part did. */
static size_t fit(const struct part *p, struct bytes path, bool *above)
{
    struct bytes rest = path;
    *above = false;
    for (size_t i = 0; i < p->count; i++) {
        if (rest.len == 0) {
            *above = true;
            return 0;
        }
        struct bytes name = next_name(&rest);
        if (!name_fits(p->names[i], name))
            return 0;
    }
    return path.len - rest.len - (rest.len > 0);
}

/* The bytes of the path that the rule's unit covers, or 0. */
static size_t covered(const struct rule *u, struct bytes path, bool is_dir)
{
    bool above;
    for (size_t i = 0; i < u->count; i++) {
        size_t n = fit(&u->parts[i], path, &above);
        if (n > 0 && (n < path.len || is_dir || u->count > 1))
            return n;
    }
    return 0;
}

bool unit_rules_match(const struct unit_rules *r, struct bytes path, bool is_dir, struct bytes *key)
{
    size_t best = 0;
    for (size_t i = 0; path.len > 0 && i < r->count; i++) {
        const struct rule *u = &r->rules[i];
        size_t n = covered(u, path, is_dir);
        if (n == 0 || (best > 0 && n >= best))
            continue;
        best = n;
        *key = u->count > 1 ? bytes_of(u->text) : (struct bytes){path.data, n};
    }
    return best > 0;
}

bool unit_rules_above(const struct unit_rules *r, struct bytes path)
{
    bool above = false;
    for (size_t i = 0; i < r->count && !above; i++)
        for (size_t k = 0; k < r->rules[i].count && !above; k++)
            fit(&r->rules[i].parts[k], path, &above);
    return above;
}

/* The rule of a unit of parts, or NULL. */
static const struct rule *of_parts(const struct unit_rules *r, struct bytes key)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->rules[i].count > 1 && bytes_equal(bytes_of(r->rules[i].text), key))
            return &r->rules[i];
    return NULL;
}

bool unit_rules_touches(const struct unit_rules *r, struct bytes key, struct bytes path)
{
    const struct rule *u = of_parts(r, key);
    if (!u)
        return path_beneath(path, key) || path_beneath(key, path);
    bool above = covered(u, path, true) > 0;
    for (size_t i = 0; i < u->count && !above; i++)
        fit(&u->parts[i], path, &above);
    return above;
}

struct bytes unit_rules_parent(const struct unit_rules *r, struct bytes key)
{
    const struct rule *u = of_parts(r, key);
    if (!u)
        return path_parent(key);
    const char *end = strstr(u->text, " + ");
    return path_parent(trimmed((struct bytes){u->text, (size_t)(end - u->text)}));
}
