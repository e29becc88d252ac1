/* `mirrord resync` and `mirrord verify`: which of the two forms it is, and its end. */
#include <signal.h>
#include <string.h>

#include "command/command.h"
#include "command/options.h"
#include "command/resync/resync_forms.h"

static atomic_bool stop;

static void on_signal(int number)
{
    stop = true;
    signal(number, SIG_DFL); /* a second one ends it at once */
}

static int run_form(struct resync_run *r, struct err *err)
{
    const struct resync_options *o = r->asked;
    bool once = resync_options_name_dest(o);
    if (once && o->operand_count != 2)
        return err_set(err, ERR_USAGE,
            "say SRC and [USER@]HOST:DEST: mirrord resync /srv/www/example.com "
            "root@web2:/srv/www/example.com");
    if (once)
        return resync_once(r, err);
    if (o->operand_count > 0 && strchr(o->operands[0], '/'))
        return err_set(err, ERR_USAGE, "%s is a path, but the last operand is not [USER@]HOST:DEST",
            o->operands[0]);
    return resync_sites(r, err);
}

static int run_command(int argc, char **argv, bool verify)
{
    struct resync_options o;
    struct resync_run r = {.asked = &o, .stop = &stop};
    struct err err = {0};
    if (resync_options_parse(&o, verify, argc, argv, &err) > 0) {
        options_set_level(LOG_LEVEL_WARNING, o.verbosity);
        signal(SIGINT, on_signal);
        signal(SIGTERM, on_signal);
        if (run_form(&r, &err) == 0)
            err = r.worst;
    }
    resync_run_end(&r);
    resync_options_free(&o);
    return options_report(argv[0], &err);
}

int command_resync(int argc, char **argv)
{
    return run_command(argc, argv, false);
}

int command_verify(int argc, char **argv)
{
    return run_command(argc, argv, true);
}
