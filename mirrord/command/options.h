/*
 * The command line of one subcommand: a table of options over getopt_long, help made from the same
 * table, and one clear sentence for everything that is not in it. Main thread only.
 */
#ifndef COMMAND_OPTIONS_H
#define COMMAND_OPTIONS_H

#include "base/err.h"
#include "base/log.h"

enum option_kind {
    OPTION_FLAG,   /* bool *: true */
    OPTION_MORE,   /* int *: one more each time */
    OPTION_LESS,   /* int *: one less each time */
    OPTION_TEXT,   /* const char **: the argument */
    OPTION_NUMBER, /* unsigned *: the argument, decimal */
    OPTION_CALL,   /* call(to, argument): 0, or -1 with err; argument is NULL where it takes none */
    OPTION_IGNORE, /* accepted, as already so */
};

struct option_spec {
    char letter; /* 0: none */
    const char *name;
    enum option_kind kind;
    void *to;
    const char *argument; /* what the help calls it; NULL: takes none */
    const char *help;
    int (*call)(void *to, const char *argument, struct err *err);
};

struct options {
    const char *synopsis;            /* behind the command's name: "[-c FILE] [SITE [PATH…]]" */
    const char *summary;             /* one sentence */
    const struct option_spec *specs; /* ends with one without a name */
    int operands_max;                /* more are an error; -1: any number */
};

/* For specs that most commands have. */
#define OPTION_CONFIG(at)                                                                          \
    {                                                                                              \
        'c', "config", OPTION_TEXT, (at), "FILE",                                                  \
            "the configuration (default "                                                          \
            "/etc/mirrord/mirrord.conf)"                                                           \
    }
#define OPTION_AS(at)                                                                              \
    {                                                                                              \
        0, "as", OPTION_TEXT, (at), "HOST", "be this host of the file (default: the host name)"    \
    }
#define OPTION_CONTROL(at)                                                                         \
    {                                                                                              \
        0, "control", OPTION_TEXT, (at), "PATH", "the daemon's socket (default: the file's)"       \
    }
#define OPTION_STATE_DIR(at)                                                                       \
    {                                                                                              \
        0, "state-dir", OPTION_TEXT, (at), "DIR", "where mirrord remembers what it knows"          \
    }
#define OPTION_REREAD(at) /* with config.h */                                                      \
    {                                                                                              \
        0, "reread-every", OPTION_CALL, (at), "TIME",                                              \
            "begin so often to read all content again (default: within 30 days)",                  \
            config_option_seconds                                                                  \
    }
#define OPTION_VERBOSE(at)                                                                         \
    {                                                                                              \
        'v', "verbose", OPTION_MORE, (at), NULL, "say more; twice: everything"                     \
    }
#define OPTION_QUIET(at)                                                                           \
    {                                                                                              \
        'q', "quiet", OPTION_LESS, (at), NULL, "say less"                                          \
    }

/* Sorts argv (options first, operands behind) and stores what the options say. The index of the
 * first operand; 0 when help was asked for and printed (err is clear); -1 with err (ERR_USAGE). */
int options_parse(const struct options *o, int argc, char **argv, struct err *err);

/* Prints the error (a log line: "mirrord: error: NAME: text") and returns the exit code; 0 for a
 * clear err. */
int options_report(const char *name, const struct err *err);

/* Sets the log's level: `normal`, raised or lowered by the counted -v and -q. */
void options_set_level(enum log_level normal, int verbosity);

/* A decimal number. 0, or -1 (ERR_USAGE). */
int options_number(const char *text, unsigned *out, struct err *err);

#endif
