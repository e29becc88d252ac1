/*
 * The command table. What the commands do is command/'s; here only the first word of the command
 * line is understood.
 */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "command/command.h"
#include "command/nearest.h"

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"init", command_init, "write the configuration that all hosts get"},
    {"pair", command_pair, "let this host and others reach each other: keys, configuration"},
    {"run", command_run, "the daemon: watch this host's sites, keep their secondaries level"},
    {"resync", command_resync, "make a directory on another host equal to one here, once"},
    {"verify", command_verify, "compare content at both ends; change nothing"},
    {"status", command_status, "a line per secondary, then what is not level and why"},
    {"flush", command_flush, "wait until all that happened before is on the secondaries"},
    {"pause", command_pause, "send nothing of a site, or to a host, for a while"},
    {"resume", command_resume, "send again what was paused"},
    {"forget", command_forget, "a site that is gone stays so; its copies may go, too"},
    {"promote", command_promote, "on a secondary: become the primary of sites"},
    {"handover", command_handover, "on the primary: make another host the primary, as planned"},
    {"is-primary", command_is_primary, "exit with 0 on the primary of a site; for cron lines"},
    {"health", command_health, "on a secondary: may its sites be served? for load balancers"},
    {"trash", command_trash, "what was set aside on this host: list it, put it back"},
    {"identity", command_identity, "whose the state is, after a machine was cloned"},
    {"check", command_check,
        "configuration, roots, limits, reachability: what is wrong, and the repair"},
    {"reload", command_reload, "make the daemon read its configuration again"},
    {"receive", command_receive, "the secondary's end of a session, started by sshd"},
    {"recover", command_recover, "finish interrupted commits, at boot"},
};

enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

static void print_commands(FILE *out)
{
    fputs("usage: mirrord COMMAND [OPTIONS] [OPERANDS]\n\n", out);
    for (int i = 0; i < COMMAND_COUNT; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs("\n'mirrord help COMMAND' has its options; mirrord(8) and mirrord.conf(5) have it all.\n",
        out);
}

static int unknown_command(const char *word)
{
    const char *names[COMMAND_COUNT + 1] = {NULL};
    for (int i = 0; i < COMMAND_COUNT; i++)
        names[i] = commands[i].name;
    const char *meant = nearest_word(word, names);
    if (meant)
        log_error(
            "there is no command '%s': did you mean '%s'?", QUOTED(word, strlen(word)), meant);
    else
        log_error("there is no command '%s'; see 'mirrord --help'", QUOTED(word, strlen(word)));
    return ERR_USAGE;
}

static int run_command(int argc, char **argv)
{
    for (int i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(argv[0], commands[i].name) == 0)
            return commands[i].run(argc, argv);
    return unknown_command(argv[0]);
}

static int help(const char *about)
{
    if (about)
        return run_command(2, (char *[]){(char *)about, (char *)"--help", NULL});
    print_commands(stdout);
    return 0;
}

int main(int argc, char **argv)
{
    /* Large blocks come from the kernel and go back to it: each open manifest has 3 MiB that LMDB
     * hardly touches, and a daemon has hundreds. (Fixed, or the first free would raise it.) */
    mallopt(M_MMAP_THRESHOLD, 256 * 1024);
    signal(SIGPIPE, SIG_IGN); /* a reader that went away is an error of write() */
    if (argc < 2) {
        print_commands(stderr);
        return ERR_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        puts("mirrord " MIRRORD_VERSION);
        return 0;
    }
    if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 ||
        strcmp(argv[1], "-h") == 0)
        return help(argc > 2 ? argv[2] : NULL);
    return run_command(argc - 1, argv + 1);
}
