/*
 * Which paths are mirrored; see filter.h. Patterns and paths are bytes, whatever the locale. The
 * matcher goes back to the last "*" and the last "**" only, so that a hostile name costs at most
 * its length times the pattern's, never an exponential search.
 */
#include "tree/filter.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "protocol/path.h"
#include "tree/content/digest.h"

struct rule {
    bool include;
    bool anchored;  /* matched against the path, else against its last component */
    bool dirs_only; /* had a slash at its end */
    char *text;     /* as given */
    size_t text_len;
    const char *glob; /* within text, without the slashes at its ends */
    size_t glob_len;
};

struct filter {
    struct rule *rules;
    size_t count;
};

struct filter *filter_new(void)
{
    return mem_alloc(sizeof(struct filter));
}

void filter_free(struct filter *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->count; i++)
        free(f->rules[i].text);
    free(f->rules);
    free(f);
}

static int make_rule(struct bytes pattern, bool include, struct rule *out, struct err *err)
{
    const char *p = pattern.data;
    size_t n = pattern.len;
    struct rule r = {.include = include};
    if (n > MSG_RULE_MAX)
        return err_set(err, ERR_USAGE, "a pattern is longer than %d bytes", MSG_RULE_MAX);
    if (n > 0 && p[0] == '/') {
        r.anchored = true;
        p++;
        n--;
    }
    if (n > 0 && p[n - 1] == '/') {
        r.dirs_only = true;
        n--;
    }
    if (n == 0 || memchr(p, '\0', n))
        return err_set(err, ERR_USAGE, "\"%s\" is no pattern", QUOTED(pattern.data, pattern.len));
    if (memchr(p, '/', n))
        r.anchored = true;
    r.text = mem_copy_bytes(pattern.data, pattern.len);
    r.text_len = pattern.len;
    r.glob = r.text + (p - (const char *)pattern.data);
    r.glob_len = n;
    *out = r;
    return 0;
}

static int insert_rule(
    struct filter *f, size_t at, bool include, struct bytes pattern, struct err *err)
{
    struct rule r;
    if (f->count >= MSG_RULES_MAX)
        return err_set(err, ERR_USAGE, "more than %d patterns", MSG_RULES_MAX);
    if (make_rule(pattern, include, &r, err) != 0)
        return -1;
    f->rules = mem_resize(f->rules, f->count + 1, sizeof *f->rules);
    memmove(&f->rules[at + 1], &f->rules[at], (f->count - at) * sizeof *f->rules);
    f->rules[at] = r;
    f->count++;
    return 0;
}

struct filter *filter_copy(const struct filter *f)
{
    struct filter *copy = filter_new();
    for (size_t i = 0; i < f->count; i++) {
        struct msg_rule rule;
        filter_rule(f, i, &rule);
        /* Cannot fail: the same pattern was accepted once. */
        insert_rule(copy, i, rule.include, rule.pattern, NULL);
    }
    return copy;
}

int filter_add(struct filter *f, bool include, struct bytes pattern, struct err *err)
{
    return insert_rule(f, f->count, include, pattern, err);
}

int filter_prepend(struct filter *f, const char *const *excludes, struct err *err)
{
    size_t count = 0;
    while (excludes[count])
        count++;
    if (f->count + count > MSG_RULES_MAX)
        return err_set(err, ERR_USAGE, "more than %d patterns", MSG_RULES_MAX);
    for (size_t i = 0; i < count; i++)
        if (insert_rule(f, i, false, bytes_of(excludes[i]), err) != 0)
            return -1;
    return 0;
}

size_t filter_count(const struct filter *f)
{
    return f->count;
}

void filter_rule(const struct filter *f, size_t i, struct msg_rule *out)
{
    const struct rule *r = &f->rules[i];
    *out = (struct msg_rule){.include = r->include, .pattern = {r->text, r->text_len}};
}

/* Matches c against the set that starts at p[0] = '['. Returns the set's length, negative when c is
 * not in it; 0 when there is no closing bracket, and '[' means itself. */
static long match_set(const char *p, size_t n, unsigned char c)
{
    size_t i = 1;
    bool negated = i < n && (p[i] == '!' || p[i] == '^'), in = false;
    if (negated)
        i++;
    for (size_t first = i; i < n && (p[i] != ']' || i == first); i++) {
        unsigned char low = (unsigned char)p[i], high = low;
        if (i + 2 < n && p[i + 1] == '-' && p[i + 2] != ']') {
            high = (unsigned char)p[i + 2];
            i += 2;
        }
        in |= c >= low && c <= high;
    }
    if (i >= n)
        return 0;
    return in != negated ? (long)i + 1 : -((long)i + 1);
}

/* How much of the pattern one byte of text takes: 0 when it does not match. */
static size_t match_one(const char *p, size_t n, char c)
{
    if (*p == '?')
        return c != '/';
    if (*p == '[') {
        long set = match_set(p, n, (unsigned char)c);
        if (set != 0)
            return set > 0 && c != '/' ? (size_t)set : 0;
    }
    if (*p == '\\' && n > 1)
        return p[1] == c ? 2 : 0;
    return *p == c;
}

/* A place to go back to: the pattern behind a star, and the text that the star has not taken yet.
 */
struct retreat {
    bool set;
    bool whole_names; /* the two stars of a component: they take nothing, or names with slashes */
    size_t pattern, text;
};

/* Steps over the stars at p. */
static size_t take_stars(
    const char *glob, size_t len, size_t p, size_t t, struct retreat *star, struct retreat *stars)
{
    bool first = p == 0 || glob[p - 1] == '/';
    bool two = p + 1 < len && glob[p + 1] == '*';
    while (p < len && glob[p] == '*')
        p++;
    if (!two) {
        *star = (struct retreat){true, false, p, t};
        return p;
    }
    bool whole_names = first && p < len && glob[p] == '/';
    if (whole_names)
        p++;
    *stars = (struct retreat){true, whole_names, p, t};
    *star = (struct retreat){0};
    return p;
}

/* Lets the star take one byte (or name) more. */
static bool retreat_to(struct retreat *r, const char *text, size_t len, size_t *p, size_t *t)
{
    if (!r->set || r->text >= len)
        return false;
    if (r->whole_names) {
        const char *slash = memchr(text + r->text, '/', len - r->text);
        if (!slash)
            return false;
        r->text = (size_t)(slash - text);
    }
    *p = r->pattern;
    *t = ++r->text;
    return true;
}

static bool glob_matches(const char *glob, size_t glob_len, const char *text, size_t len)
{
    struct retreat star = {0}, stars = {0};
    size_t p = 0, t = 0;
    while (t < len || p < glob_len) {
        if (p < glob_len && glob[p] == '*') {
            p = take_stars(glob, glob_len, p, t, &star, &stars);
            continue;
        }
        size_t taken = p < glob_len && t < len ? match_one(glob + p, glob_len - p, text[t]) : 0;
        if (taken > 0) {
            p += taken;
            t++;
            continue;
        }
        /* One star stops at a slash. */
        if (star.set && star.text < len && text[star.text] == '/')
            star.set = false;
        if (retreat_to(&star, text, len, &p, &t))
            continue;
        star.set = false;
        if (!retreat_to(&stars, text, len, &p, &t))
            return false;
    }
    return true;
}

static bool rule_matches(const struct rule *r, struct bytes path, struct bytes name, bool is_dir)
{
    if (r->dirs_only && !is_dir)
        return false;
    if (!r->anchored)
        return glob_matches(r->glob, r->glob_len, name.data, name.len);
    return glob_matches(r->glob, r->glob_len, path.data, path.len);
}

bool filter_excludes(const struct filter *f, struct bytes path, bool is_dir)
{
    struct bytes name = path_name(path);
    if (path.len == 0)
        return false;
    if (path_is_reserved(name))
        return true;
    for (size_t i = f->count; i-- > 0;)
        if (rule_matches(&f->rules[i], path, name, is_dir))
            return !f->rules[i].include;
    return false;
}

bool filter_excludes_deep(const struct filter *f, struct bytes path, bool is_dir)
{
    const char *p = path.data;
    for (size_t n = 0; n < path.len; n++)
        if (p[n] == '/' && filter_excludes(f, (struct bytes){p, n}, true))
            return true;
    return filter_excludes(f, path, is_dir);
}

/* What all that it matches begins with. */
static struct bytes literal_part(const struct rule *r)
{
    size_t n = 0;
    while (n < r->glob_len && !strchr("*?[\\", r->glob[n]))
        n++;
    return (struct bytes){r->glob, n};
}

bool filter_touches(const struct filter *f, struct bytes path)
{
    for (size_t i = 0; i < f->count; i++) {
        struct bytes part = literal_part(&f->rules[i]);
        size_t n = part.len < path.len ? part.len : path.len;
        if (f->rules[i].anchored && memcmp(part.data, path.len ? path.data : "", n) == 0)
            return true;
    }
    return false;
}

void filter_digest(const struct filter *f, struct digest *out)
{
    struct wire_writer w = {0};
    for (size_t i = 0; i < f->count; i++) {
        wire_u8(&w, f->rules[i].include);
        wire_short(&w, (struct bytes){f->rules[i].text, f->rules[i].text_len});
    }
    digest_plain(w.data, w.len, out);
    wire_free(&w);
}
