/*
 * Command lines; see options.h. It knows getopt_long and how a mistake is worded, and nothing of
 * what the options mean.
 */
#include "command/options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "command/nearest.h"

enum {
    LONG_BASE = 256, /* getopt's value of the n-th spec is this + n */
    HELP = 'h',
};

static size_t count_specs(const struct option_spec *specs)
{
    size_t n = 0;
    while (specs[n].name)
        n++;
    return n;
}

/* getopt's two tables; the caller frees them. Letters lead to the same numbers as long names. */
static struct option *long_table(const struct option_spec *specs, size_t n)
{
    struct option *table = mem_array(n + 2, sizeof *table);
    for (size_t i = 0; i < n; i++) {
        table[i].name = specs[i].name;
        table[i].has_arg = specs[i].argument ? required_argument : no_argument;
        table[i].val = LONG_BASE + (int)i;
    }
    table[n].name = "help";
    table[n].val = HELP;
    return table;
}

static char *short_table(const struct option_spec *specs, size_t n)
{
    char *table = mem_alloc(2 * n + 3), *p = table;
    *p++ = ':'; /* a missing argument is told apart from an unknown option */
    *p++ = HELP;
    for (size_t i = 0; i < n; i++) {
        if (!specs[i].letter || specs[i].letter == HELP)
            continue;
        *p++ = specs[i].letter;
        if (specs[i].argument)
            *p++ = ':';
    }
    return table;
}

static const struct option_spec *spec_of(const struct option_spec *specs, size_t n, int value)
{
    if (value >= LONG_BASE && value < LONG_BASE + (int)n)
        return &specs[value - LONG_BASE];
    for (size_t i = 0; i < n; i++)
        if (value && specs[i].letter == value)
            return &specs[i];
    return NULL;
}

static int unknown_option(
    const struct option_spec *specs, size_t n, const char *word, int letter, struct err *err)
{
    if (letter)
        return err_set(err, ERR_USAGE, "unknown option '-%c'", letter);
    char *name CLEANUP_FREE = mem_copy_string(word + strspn(word, "-"));
    name[strcspn(name, "=")] = '\0';
    const char **names CLEANUP_FREE = mem_array(n + 1, sizeof *names);
    for (size_t i = 0; i < n; i++)
        names[i] = specs[i].name;
    const char *meant = nearest_word(name, names);
    if (meant)
        return err_set(err, ERR_USAGE, "unknown option '--%s': did you mean '--%s'?", name, meant);
    return err_set(err, ERR_USAGE, "unknown option '--%s'", name);
}

int options_number(const char *text, unsigned *out, struct err *err)
{
    char *end;
    errno = 0;
    unsigned long v = strtoul(text, &end, 10);
    if (errno || *end || text[0] < '0' || text[0] > '9' || v > UINT_MAX)
        return err_set(err, ERR_USAGE, "'%s' is not a whole number", text);
    *out = (unsigned)v;
    return 0;
}

static int take(const struct option_spec *spec, char *argument, struct err *err)
{
    switch (spec->kind) {
    case OPTION_FLAG: *(bool *)spec->to = true; return 0;
    case OPTION_MORE: ++*(int *)spec->to; return 0;
    case OPTION_LESS: --*(int *)spec->to; return 0;
    case OPTION_TEXT: *(const char **)spec->to = argument; return 0;
    case OPTION_IGNORE: return 0;
    case OPTION_NUMBER:
        if (options_number(argument, spec->to, err))
            return err_prefix(err, "--%s", spec->name);
        return 0;
    case OPTION_CALL:
        if (spec->call(spec->to, argument, err))
            return err_prefix(err, "--%s", spec->name);
        return 0;
    }
    return 0;
}

static void print_help(const struct options *o, const char *name)
{
    printf("usage: mirrord %s %s\n\n%s\n\n", name, o->synopsis, o->summary);
    for (const struct option_spec *s = o->specs; s->name; s++) {
        char *word CLEANUP_FREE =
            mem_format("%s%s%s", s->name, s->argument ? " " : "", s->argument ? s->argument : "");
        if (s->letter)
            printf("  -%c, --%-20s %s\n", s->letter, word, s->help);
        else
            printf("      --%-20s %s\n", word, s->help);
    }
    printf("  -h, --%-20s %s\n", "help", "print this; all of it is in mirrord(8)");
}

/* One answer of getopt_long. 0, or -1. */
static int take_one(
    const struct option_spec *specs, size_t n, int value, char **argv, struct err *err)
{
    const struct option_spec *spec = spec_of(specs, n, value);
    if (spec)
        return take(spec, optarg, err);
    const struct option_spec *about = spec_of(specs, n, optopt);
    if (value == ':' && about)
        return err_set(err, ERR_USAGE, "option --%s needs %s", about->name, about->argument);
    if (about || optopt == HELP)
        return err_set(
            err, ERR_USAGE, "option --%s takes no argument", about ? about->name : "help");
    return unknown_option(specs, n, argv[optind - 1], optopt, err);
}

/* What to type behind a mistake. -1. */
static int point_to_help(const char *name, struct err *err)
{
    struct err mistake = *err;
    const char *end = mistake.text + strlen(mistake.text) - 1;
    return err_set(err, mistake.code, "%s%s mirrord %s --help", mistake.text,
        *end == '?' ? " See" : "; type:", name);
}

int options_parse(const struct options *o, int argc, char **argv, struct err *err)
{
    size_t n = count_specs(o->specs);
    struct option *longs CLEANUP_FREE = long_table(o->specs, n);
    char *shorts CLEANUP_FREE = short_table(o->specs, n);
    opterr = 0;
    optind = 0; /* starts getopt anew */
    int value;
    while ((value = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (value == HELP) {
            print_help(o, argv[0]);
            err_clear(err);
            return 0;
        }
        if (take_one(o->specs, n, value, argv, err))
            return point_to_help(argv[0], err);
    }
    if (o->operands_max >= 0 && argc - optind > o->operands_max) {
        err_set(err, ERR_USAGE, "'%s' is one operand too many", argv[optind + o->operands_max]);
        return point_to_help(argv[0], err);
    }
    return optind;
}

int options_report(const char *name, const struct err *err)
{
    if (err->code == ERR_NONE)
        return 0;
    log_error("%s: %s", name, err->text);
    return (int)err->code;
}

void options_set_level(enum log_level normal, int verbosity)
{
    int level = (int)normal + verbosity;
    if (level < LOG_LEVEL_ERROR)
        level = LOG_LEVEL_ERROR;
    if (level > LOG_LEVEL_DEBUG)
        level = LOG_LEVEL_DEBUG;
    log_set_level((enum log_level)level);
}
