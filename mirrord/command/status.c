/* `mirrord status`: asks the daemon and prints; what the words are is status_text.c's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "command/command.h"
#include "command/config/config.h"
#include "command/control_client.h"
#include "command/options.h"
#include "command/status/status_text.h"

enum { TIMEOUT_MS = 30000, PAUSE_MS = 100 };

struct request {
    const char *config, *control;
    bool json, all;
    unsigned wait; /* seconds */
};

static int ask(const char *path, struct json **status, struct err *err)
{
    struct json *request = json_object();
    json_set_text(request, "do", "status");
    int rc = control_client_ask(path, request, TIMEOUT_MS, status, err);
    json_free(request);
    return rc;
}

static void pause_briefly(void)
{
    nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000L}, NULL);
}

/* With --wait also for a daemon that is only starting. */
static int ask_until_level(
    const struct request *r, const char *path, struct json **status, struct err *err)
{
    uint64_t deadline = io_now_ms() + r->wait * UINT64_C(1000);
    for (;;) {
        int rc = ask(path, status, err);
        bool level =
            rc == 0 && json_get_bool(*status, "ready", false) && status_text_level(*status);
        if (level || io_now_ms() >= deadline)
            return rc;
        if (rc == 0)
            json_free(TAKE_PTR(*status));
        pause_briefly();
    }
}

/* On a terminal that can, unless its user does not want any (no-color.org). */
static bool wants_colour(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

static int print(const struct request *r, const struct json *status)
{
    if (r->json) {
        char *text CLEANUP_FREE = json_print(status, true);
        puts(text);
    } else {
        status_text_print(stdout, status, r->all, wants_colour());
    }
    return status_text_level(status) ? 0 : ERR_BEHIND;
}

int command_status(int argc, char **argv)
{
    struct request r = {0};
    const struct option_spec specs[] = {
        OPTION_CONFIG(&r.config),
        OPTION_CONTROL(&r.control),
        {0, "json", OPTION_FLAG, &r.json, NULL, "print the daemon's answer as JSON"},
        {'a', "all", OPTION_FLAG, &r.all, NULL, "print the sites that are level, too"},
        {'w', "wait", OPTION_NUMBER, &r.wait, "SECONDS",
            "wait until all is level, at most so long"},
        {0},
    };
    const struct options o = {"[--json] [--all] [--wait SECONDS] [-c FILE | --control PATH]",
        "A line for each secondary, then what is not level, why, and what to type.", specs, 0};
    struct err err = {0};
    char *path CLEANUP_FREE = NULL;
    struct json *status = NULL;
    if (options_parse(&o, argc, argv, &err) <= 0 ||
        config_control_path(r.control, r.config, &path, &err) ||
        ask_until_level(&r, path, &status, &err))
        return options_report(argv[0], &err);
    int code = print(&r, status);
    json_free(status);
    return code;
}
