/*
 * Editing authorized_keys; see pair_text.h. The format is sshd(8)'s: options, in which quotes
 * protect blanks, type, key, comment; lines that are not understood are left alone.
 */
#include "command/pair/pair_text.h"

#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "link/process/quote.h"

struct piece {
    const char *at;
    size_t len;
};

struct line {
    struct piece options, type, key, comment; /* options may be empty */
};

static bool same(struct piece a, struct piece b)
{
    return a.len == b.len && memcmp(a.at, b.at, a.len) == 0;
}

static size_t skip_blanks(const char *p)
{
    return strspn(p, " \t");
}

static bool is_type(const char *p, size_t len)
{
    static const char *const heads[] = {"ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        if (len > strlen(heads[i]) && strncmp(p, heads[i], strlen(heads[i])) == 0)
            return true;
    return false;
}

/* Up to the blank that ends the options: one outside quotes, in which \" is no end. */
static size_t options_length(const char *p)
{
    bool quoted = false;
    size_t n = 0;
    for (; p[n] && p[n] != '\n' && (quoted || (p[n] != ' ' && p[n] != '\t')); n++) {
        if (p[n] == '\\' && p[n + 1] == '"')
            n++;
        else if (p[n] == '"')
            quoted = !quoted;
    }
    return n;
}

/* False for comments, empty lines and what is not understood. */
static bool parse(const char *p, struct line *out)
{
    p += skip_blanks(p);
    size_t n = strcspn(p, " \t\r\n");
    *out = (struct line){.options = {p, 0}};
    if (*p == '#' || n == 0)
        return false;
    if (!is_type(p, n)) {
        out->options.len = options_length(p);
        p += out->options.len + skip_blanks(p + out->options.len);
        n = strcspn(p, " \t\r\n");
    }
    if (!is_type(p, n))
        return false;
    out->type = (struct piece){p, n};
    p += n + skip_blanks(p + n);
    out->key = (struct piece){p, strcspn(p, " \t\r\n")};
    p += out->key.len + skip_blanks(p + out->key.len);
    out->comment = (struct piece){p, strcspn(p, "\r\n")};
    return out->key.len > 0;
}

bool pair_text_is_key(const char *text)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    size_t type = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-@.");
    if (!is_type(text, type) || text[type] != ' ')
        return false;
    const char *key = text + type + 1;
    size_t n = 0;
    while (key[n] && (strchr(letters, key[n]) || key[n] == '+' || key[n] == '/'))
        n++;
    return n > 0 && key[n + strspn(key + n, "=")] == '\0';
}

/* ---- the line ---- */

int pair_text_line(
    char *const *command, const char *key, const char *comment, char **out, struct err *err)
{
    char *words CLEANUP_FREE = quote_command(command);
    struct buf b = {0};
    static const char head[] = "restrict,command=\"";
    buf_append(&b, head, strlen(head));
    for (const char *p = words; *p; p++) {
        if ((unsigned char)*p < ' ' || *p == 0x7f || *p == '\\') {
            buf_free(&b);
            return err_set(err, ERR_USAGE,
                "%s: a quote within a word, a backslash or a control character cannot be written "
                "into authorized_keys",
                QUOTED(words, strlen(words)));
        }
        if (*p == '"')
            buf_append(&b, "\\", 1);
        buf_append(&b, p, 1);
    }
    char *tail CLEANUP_FREE = mem_format("\" %s %s", key, comment);
    buf_append(&b, tail, strlen(tail));
    *out = mem_copy_bytes(buf_bytes(&b), buf_len(&b));
    buf_free(&b);
    return 0;
}

/* ---- the file ---- */

struct edit {
    struct buf text, gone;
    const char *line; /* to be put in; NULL: none, or it is there by now */
    struct line wanted;
    bool keep_older, adds;
};

static void put_wanted(struct edit *e)
{
    if (e->line) {
        buf_append(&e->text, e->line, strlen(e->line));
        buf_append(&e->text, "\n", 1);
    }
    e->line = NULL;
}

/* Whether this line of the file stays. */
static bool stays(struct edit *e, const char *at)
{
    struct line l;
    if (!parse(at, &l))
        return true;
    bool options = same(l.options, e->wanted.options);
    if (same(l.type, e->wanted.type) && same(l.key, e->wanted.key)) {
        if (!e->adds || !options || !e->line)
            return false;
        e->line = NULL;
        return true;
    }
    return !e->adds || e->keep_older || !options || l.comment.len == 0 ||
           !same(l.comment, e->wanted.comment);
}

static void edit_text(struct edit *e, const char *text)
{
    while (*text) {
        size_t len = strcspn(text, "\n"), whole = len + (text[len] == '\n');
        bool keep = stays(e, text);
        buf_append(keep ? &e->text : &e->gone, text, len);
        buf_append(keep ? &e->text : &e->gone, "\n", 1);
        text += whole;
    }
    put_wanted(e);
}

static void run_edit(struct edit *e, const char *text, const char *line, struct pair_text_edit *out)
{
    parse(line, &e->wanted);
    edit_text(e, text);
    *out = (struct pair_text_edit){.text = mem_copy_bytes(buf_bytes(&e->text), buf_len(&e->text)),
        .gone = mem_copy_bytes(buf_bytes(&e->gone), buf_len(&e->gone))};
    out->same =
        strcmp(out->text, text) == 0 || (!*out->gone && strlen(out->text) == strlen(text) + 1);
    buf_free(&e->text);
    buf_free(&e->gone);
}

void pair_text_add(const char *text, const char *line, bool keep_older, struct pair_text_edit *out)
{
    struct edit e = {.line = line, .keep_older = keep_older, .adds = true};
    run_edit(&e, text, line, out);
}

void pair_text_remove(const char *text, const char *line, struct pair_text_edit *out)
{
    struct edit e = {0};
    run_edit(&e, text, line, out);
}

void pair_text_free(struct pair_text_edit *e)
{
    free(e->text);
    free(e->gone);
    *e = (struct pair_text_edit){0};
}
