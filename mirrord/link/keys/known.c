/*
 * The reader of known_hosts files. Own code, since libssh2's knows neither markers (a revoked key
 * would pass as trusted) nor patterns, and does not tell file and line; the hash of hashed names
 * comes from the caller, who has a cryptographic library.
 */
#include "link/keys/known.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"

enum { KNOWN_MAX = 8 * 1024 * 1024 };

struct search {
    const char *name;     /* as ssh writes it for this port */
    const char *portless; /* NULL for port 22 */
    known_hash_matches *matches;
    void *arg;
};

static bool pattern_matches(const struct search *s, const char *pattern, const char *name)
{
    if (*pattern == '|')
        return s->matches(s->arg, pattern, name);
    /* Brackets are literal here: [host]:port. */
    char *glob CLEANUP_FREE = mem_alloc(2 * strlen(pattern) + 1);
    char *g = glob;
    for (const char *p = pattern; *p; p++) {
        if (*p == '[' || *p == ']' || *p == '\\')
            *g++ = '\\';
        *g++ = *p;
    }
    return fnmatch(glob, name, FNM_CASEFOLD) == 0;
}

/* Comma-separated patterns; a matching one with '!' excludes the line. */
static bool list_matches(const struct search *s, char *list, const char *name)
{
    bool found = false;
    for (char *p = strsep(&list, ","); p; p = strsep(&list, ",")) {
        bool negated = *p == '!';
        if (!pattern_matches(s, p + negated, name))
            continue;
        if (negated)
            return false;
        found = true;
    }
    return found;
}

static bool names_match(const struct search *s, const char *list)
{
    char *copy CLEANUP_FREE = mem_copy_string(list);
    if (list_matches(s, copy, s->name))
        return true;
    if (!s->portless)
        return false;
    char *again CLEANUP_FREE = mem_copy_string(list); /* ssh takes the plain name for any port */
    return list_matches(s, again, s->portless);
}

static char *next_word(char **at)
{
    char *word = *at + strspn(*at, " \t");
    char *end = word + strcspn(word, " \t");
    *at = *end ? end + 1 : end;
    *end = 0;
    return *word ? word : NULL;
}

static void take_line(
    struct known *k, const struct search *s, const char *file, unsigned number, char *text)
{
    char *word = next_word(&text);
    if (!word || *word == '#')
        return;
    bool revoked = false, authority = false;
    if (*word == '@') {
        revoked = strcmp(word, "@revoked") == 0;
        authority = strcmp(word, "@cert-authority") == 0;
        if (!revoked && !authority)
            return;
        word = next_word(&text);
    }
    char *type = next_word(&text), *key = next_word(&text);
    if (!word || !type || !key || !names_match(s, word))
        return;
    if (authority) {
        k->authority = true;
        return;
    }
    k->lines = mem_resize(k->lines, k->count + 1, sizeof *k->lines);
    k->lines[k->count++] = (struct known_line){.file = file,
        .line = number,
        .revoked = revoked,
        .type = mem_copy_string(type),
        .key = mem_copy_string(key)};
}

static void take_text(struct known *k, const struct search *s, const char *file, char *text)
{
    unsigned number = 0;
    for (char *line = strsep(&text, "\n"); line; line = strsep(&text, "\n")) {
        line[strcspn(line, "\r")] = 0;
        take_line(k, s, file, ++number, line);
    }
}

static int take_file(struct known *k, const struct search *s, const char *file, struct err *err)
{
    char *text CLEANUP_FREE = NULL;
    size_t len = 0;
    int rc = io_slurp(AT_FDCWD, file, KNOWN_MAX, &text, &len, err);
    if (rc > 0 || (rc < 0 && err->sys == ENOTDIR))
        return 0;
    if (rc < 0)
        return err_prefix(err, "known hosts");
    take_text(k, s, file, text);
    return 0;
}

int known_load(const struct words *files, const char *name, unsigned port,
    known_hash_matches *matches, void *arg, struct known *out, struct err *err)
{
    char *full CLEANUP_FREE =
        port == 22 ? mem_copy_string(name) : mem_format("[%s]:%u", name, port);
    struct search s = {full, port == 22 ? NULL : name, matches, arg};
    struct known k = {0};
    for (size_t i = 0; i < files->count; i++)
        if (take_file(&k, &s, files->word[i], err)) {
            known_free(&k);
            return -1;
        }
    *out = k;
    return 0;
}

void known_load_text(const char *text, const char *file, const char *name,
    known_hash_matches *matches, void *arg, struct known *out)
{
    struct search s = {name, NULL, matches, arg};
    char *copy CLEANUP_FREE = mem_copy_string(text);
    *out = (struct known){0};
    take_text(out, &s, file, copy);
}

void known_free(struct known *k)
{
    for (size_t i = 0; i < k->count; i++) {
        free(k->lines[i].type);
        free(k->lines[i].key);
    }
    free(k->lines);
    *k = (struct known){0};
}

enum known_verdict known_check(
    const struct known *k, const char *type, const char *key, const struct known_line **line)
{
    enum known_verdict verdict = KNOWN_ABSENT;
    *line = NULL;
    for (size_t i = 0; i < k->count; i++) {
        const struct known_line *l = &k->lines[i];
        bool same = strcmp(l->key, key) == 0;
        if (l->revoked && same) {
            *line = l;
            return KNOWN_REVOKED;
        }
        enum known_verdict says = same                         ? KNOWN_MATCH
                                  : strcmp(l->type, type) == 0 ? KNOWN_CHANGED
                                                               : KNOWN_OTHER;
        /* The best wins: match, then changed, then other. */
        bool better = says == KNOWN_MATCH || verdict == KNOWN_ABSENT ||
                      (says == KNOWN_CHANGED && verdict == KNOWN_OTHER);
        if (l->revoked || verdict == KNOWN_MATCH || !better)
            continue;
        verdict = says;
        *line = l;
    }
    return verdict;
}
