/*
 * The text of a configuration file before it is parsed. libconfuse 3.3 counts a line with a comment
 * three times, which would make every "file:line" wrong; so comments become blanks here first. It
 * knows quotes and comments and no other syntax.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "command/config/config_impl.h"

enum { FILE_MAX = 16 * 1024 * 1024 };

/* The byte behind the string that starts at p with its quote. */
static char *skip_quoted(char *p)
{
    char quote = *p++;
    while (*p && *p != quote)
        p += *p == '\\' && p[1] ? 2 : 1;
    return *p ? p + 1 : p;
}

static char *blank_line_comment(char *p)
{
    while (*p && *p != '\n')
        *p++ = ' ';
    return p;
}

/* Newlines stay. An unclosed comment takes the rest of the file, as in the parser. */
static char *blank_block_comment(char *p)
{
    char *end = strstr(p + 2, "*/");
    for (char *stop = end ? end + 2 : p + strlen(p); p < stop; p++)
        if (*p != '\n')
            *p = ' ';
    return p;
}

static void blank_comments(char *p)
{
    while (*p) {
        if (*p == '"' || *p == '\'')
            p = skip_quoted(p);
        else if (*p == '#' || (p[0] == '/' && p[1] == '/'))
            p = blank_line_comment(p);
        else if (p[0] == '/' && p[1] == '*')
            p = blank_block_comment(p);
        else
            p++;
    }
}

/* libconfuse takes the end of a file for the end of every block in it, so a brace that was
 * forgotten would make half a configuration. */
static int check_braces(const char *path, char *text, struct err *err)
{
    enum { DEPTH_MAX = 8 };
    unsigned opened[DEPTH_MAX] = {0}, depth = 0, line = 1;
    for (char *p = text; *p;) {
        if (*p == '"' || *p == '\'') {
            for (char *end = skip_quoted(p); p < end; p++)
                line += *p == '\n';
            continue;
        }
        if (*p == '{' && depth < DEPTH_MAX)
            opened[depth++] = line;
        else if (*p == '}' && depth > 0)
            depth--;
        line += *p++ == '\n';
    }
    return depth == 0 ? 0
                      : err_set(err, ERR_USAGE, "%s:%u: the '{' of this line is not closed", path,
                            opened[depth - 1]);
}

int config_text_read(const char *path, char **out, size_t *len, struct err *err)
{
    char *text = NULL;
    struct err why = {0};
    int rc = io_slurp(AT_FDCWD, path, FILE_MAX, &text, len, &why);
    if (rc == 1)
        return err_set(err, ERR_USAGE, "%s: there is no such file%s; see mirrord.conf(5)", path,
            strcmp(path, CONFIG_DEFAULT_PATH) == 0
                ? ": `mirrord init` writes it, `mirrord pair` takes it to the other hosts"
                : "");
    if (rc)
        return err_set(err, ERR_USAGE, "%s: %s", path, why.text);
    if (memchr(text, '\0', *len)) {
        free(text);
        return err_set(err, ERR_USAGE, "%s: is not a text file", path);
    }
    blank_comments(text);
    if (check_braces(path, text, err)) {
        free(text);
        return -1;
    }
    *out = text;
    return 0;
}

char *config_clean_path(const char *path)
{
    if (path[0] != '/')
        return NULL;
    char *clean = mem_alloc(strlen(path) + 2), *end = clean;
    while (*path) {
        size_t n = strcspn(path, "/");
        if (n == 2 && memcmp(path, "..", 2) == 0) {
            free(clean);
            return NULL;
        }
        if (n && !(n == 1 && *path == '.')) {
            *end++ = '/';
            memcpy(end, path, n);
            end += n;
        }
        path += n + (path[n] == '/');
    }
    if (end == clean)
        *end++ = '/';
    *end = '\0';
    return clean;
}
