/*
 * Single values of a configuration's blocks, by type: each function leaves its target alone where
 * the key is not set, and says "file:line: host web2: port: …" where the text is none of the
 * type's.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "command/config/config_impl.h"
#include "protocol/msg.h"

const struct config_value *config_value(const struct config_block *b, const char *key)
{
    for (size_t i = 0; i < b->value_count; i++)
        if (strcmp(b->values[i].key, key) == 0)
            return &b->values[i];
    return NULL;
}

static const char *text_of(const struct config_block *b, const char *key)
{
    const struct config_value *v = config_value(b, key);
    return v ? v->texts[0] : NULL;
}

int config_fail_at(
    const struct config_block *b, const char *key, struct err *err, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    const struct config_value *v = config_value(b, key);
    bool top = strcmp(b->kind, "root") == 0;
    return err_set(err, ERR_USAGE, "%s:%u: %s%s%s%s%s%s%s", b->file, v ? v->line : b->line,
        top ? "" : b->kind, *b->title ? " " : "", b->title, top ? "" : ": ", key, *key ? ": " : "",
        text);
}

int config_take_word(const struct config_block *b, const char *key, const char *const *words,
    unsigned *out, struct err *err)
{
    const char *value = text_of(b, key);
    for (unsigned i = 0; value && words[i]; i++)
        if (strcmp(value, words[i]) == 0) {
            *out = i;
            return 0;
        }
    if (!value)
        return 0;
    char list[160] = "";
    for (unsigned i = 0; words[i]; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", words[i]);
    return config_fail_at(b, key, err, "'%s' is none of %s", value, list);
}

static const char *const bool_words[] = {"no", "yes", "false", "true", NULL};

bool config_is_bool(const char *text)
{
    for (const char *const *w = bool_words; *w; w++)
        if (strcmp(text, *w) == 0)
            return true;
    return false;
}

int config_take_bool(const struct config_block *b, const char *key, bool *out, struct err *err)
{
    unsigned at = *out;
    if (config_take_word(b, key, bool_words, &at, err))
        return -1;
    *out = at % 2;
    return 0;
}

int config_take_number(const struct config_block *b, const char *key, unsigned min, unsigned max,
    unsigned *out, struct err *err)
{
    const char *value = text_of(b, key);
    if (!value)
        return 0;
    char *end;
    unsigned long v = strtoul(value, &end, 10);
    if (*end || value[0] < '0' || value[0] > '9' || strlen(value) > 10 || v < min || v > max)
        return config_fail_at(b, key, err, "'%s' is not a number from %u to %u", value, min, max);
    *out = (unsigned)v;
    return 0;
}

int config_take_percent(
    const struct config_block *b, const char *key, unsigned *out, struct err *err)
{
    const char *value = text_of(b, key);
    if (!value)
        return 0;
    char *end;
    unsigned long v = strtoul(value, &end, 10);
    if (strcmp(end, "%") != 0 || value[0] < '0' || value[0] > '9' || v > 100)
        return config_fail_at(b, key, err, "'%s' is not a percentage such as \"20%%\"%s", value,
            strcmp(key, "max-delete") == 0 ? " (a number goes to max-delete-count)" : "");
    *out = (unsigned)v;
    return 0;
}

int config_take_size(const struct config_block *b, const char *key, uint64_t *out, struct err *err)
{
    struct err why;
    const char *value = text_of(b, key);
    if (value && config_parse_size(value, out, &why))
        return config_fail_at(b, key, err, "%s", why.text);
    return 0;
}

int config_take_duration(
    const struct config_block *b, const char *key, unsigned *out_ms, struct err *err)
{
    struct err why;
    const char *value = text_of(b, key);
    if (value && config_parse_duration(value, out_ms, &why))
        return config_fail_at(b, key, err, "%s", why.text);
    return 0;
}

int config_take_text(const struct config_block *b, const char *key, char **out, struct err *err)
{
    const char *value = text_of(b, key);
    if (!value)
        return 0;
    if (!*value)
        return config_fail_at(b, key, err, "is empty");
    free(*out);
    *out = mem_copy_string(value);
    return 0;
}

int config_take_path(const struct config_block *b, const char *key, char **out, struct err *err)
{
    const char *value = text_of(b, key);
    if (!value)
        return 0;
    char *clean = config_clean_path(value);
    if (!clean)
        return config_fail_at(b, key, err, "'%s' is not an absolute path (without \"..\")", value);
    free(*out);
    *out = clean;
    return 0;
}

int config_take_root(const struct config_block *b, const char *key, char **out, struct err *err)
{
    if (config_take_path(b, key, out, err))
        return -1;
    if (*out && strcmp(*out, "/") == 0)
        return config_fail_at(b, key, err, "'/' is the whole file system, not a document root");
    return 0;
}

int config_take_title(const struct config_block *b, char **out, struct err *err)
{
    const char *title = b->title;
    for (const char *c = title; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f || *c == ':' || *c == '/')
            return config_fail_at(b, "", err, "a name has no blank, ':' or '/'");
    if (!*title || strlen(title) > MSG_SITE_NAME_MAX || *title == '-')
        return config_fail_at(
            b, "", err, "a name has 1 to %d bytes and no '-' in front", MSG_SITE_NAME_MAX);
    *out = mem_copy_string(title);
    return 0;
}

int config_option_seconds(void *to, const char *argument, struct err *err)
{
    unsigned ms;
    if (config_parse_duration(argument, &ms, err))
        return -1;
    if (ms < 1000)
        return err_set(err, ERR_USAGE, "'%s' is less than a second", argument);
    *(unsigned *)to = ms / 1000;
    return 0;
}
