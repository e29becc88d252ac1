/* The parts of status that are about one site at one of its secondaries; see status_impl.h. */
#include "command/status/status_impl.h"

/* While a first copy runs, how far it is: of all the site's bytes. */
static void print_copied(FILE *out, const struct json *site, const struct json *target)
{
    char copied[32], all[32];
    if (!json_get_bool(target, "first_copy", false) || number(site, "bytes") <= 0 ||
        !(has_state(target, "pushing") || has_state(target, "comparing")))
        return;
    fprintf(out, " (first copy: %s of %s so far)",
        status_text_bytes(copied, number(target, "copied_bytes")),
        status_text_bytes(all, number(site, "bytes")));
}

static void print_owed(const struct page *p, const struct json *site, const struct json *target)
{
    FILE *out = p->out;
    char bytes[32], behind[32];
    double paths = number(target, "owed_paths");
    status_put_state(p, json_get_text(target, "state", "?"), "level", 0);
    print_copied(out, site, target);
    if (paths > 0)
        fprintf(out, ": %.0f path%s, %s owed", paths, paths == 1 ? "" : "s",
            status_text_bytes(bytes, number(target, "owed_bytes")));
    if (number(target, "behind_ms") > 0)
        fprintf(out, ", %s behind", status_duration(behind, number(target, "behind_ms") / 1000));
    if (number(target, "failing") > 0)
        fprintf(out, ", %.0f that cannot be stored", number(target, "failing"));
    fputc('\n', out);
}

/* What somebody else changed there. While it is being healed it goes by itself. */
static void print_drift(FILE *out, const struct json *site, const struct json *target)
{
    const struct json *paths = json_get(target, "drift_paths");
    const char *name = json_get_text(site, "name", "?"), *host = json_get_text(target, "name", "?");
    double count = number(target, "drift");
    size_t shown = json_count(paths) < 5 ? json_count(paths) : 5;
    if (count <= 0)
        return;
    for (size_t i = 0; i < shown; i++)
        fprintf(out, "      %s there, not by mirrord: %s\n",
            json_get_text(json_at(paths, i), "what", "?"),
            PLAIN(json_get_text(json_at(paths, i), "path", "?")));
    if (count > (double)shown)
        fprintf(out, "      and %.0f more\n", count - (double)shown);
    if (has_state(target, "level"))
        fprintf(out,
            "      type: mirrord verify %s %s           (all that differs)\n"
            "            mirrord resync --force %s %s   (to make it equal again)\n",
            name, host, name, host);
}

/* The files are there; what is served may be the old ones still. */
#define ON_SWITCH "on-switch" /* an error of that command begins so */

static void print_hook(FILE *out, const struct json *site, const struct json *target)
{
    const struct json *hook = json_get(target, "hook");
    const char *name = json_get_text(site, "name", "?"), *host = json_get_text(target, "name", "?");
    const char *error = json_get_text(hook, "error", "");
    bool on_switch = strncmp(error, ON_SWITCH ": ", strlen(ON_SWITCH ": ")) == 0;
    double count = number(hook, "failures");
    char since[32];
    if (count <= 0)
        return;
    fprintf(out,
        "      its %s has failed %.0f time%s since %s: %s\n"
        "      type: mirrord check --effective %s   (on %s: the command, which its log says more "
        "of; it is run again by itself)\n",
        on_switch ? ON_SWITCH : "on-commit", count, count == 1 ? "" : "s",
        status_clock(since, number(hook, "since")),
        PLAIN(on_switch ? error + strlen(ON_SWITCH ": ") : error), name, host);
}

/* What waits until the disk there has room, and what may be done about it. */
static void print_room(FILE *out, const struct json *target)
{
    const struct json *space = json_get(target, "space");
    const char *host = json_get_text(target, "name", "?");
    double waiting = number(space, "waiting");
    char left[32], all[32], keep[32];
    bool low = json_get_bool(space, "low", false);
    if (!low && waiting <= 0)
        return;
    fprintf(out, "      its disk %s: %s of %s", low ? "is nearly full" : "has too little room",
        status_text_bytes(left, number(space, "free_bytes")),
        status_text_bytes(all, number(space, "bytes")));
    if (number(space, "inodes") > 0)
        fprintf(
            out, " and %.0f of %.0f inodes", number(space, "free_inodes"), number(space, "inodes"));
    fprintf(out, " are free, %s are to stay so (min-free)\n",
        status_text_bytes(keep, number(space, "keep_bytes")));
    const char *path = json_get_text(space, "waiting_path", "");
    fprintf(out, "      what is large waits (%.0f path%s%s%s), small changes and deletions go on\n",
        waiting, waiting == 1 ? "" : "s", path[0] ? ", as " : "", PLAIN(path));
    fprintf(
        out, "      type: df -h; df -i   (on %s; it goes on by itself when there is room)\n", host);
}

/* What an operator can do about this state; what goes by itself is said once, at the end. */
static void print_advice(
    FILE *out, const struct json *site, const struct json *target, bool site_well)
{
    const char *name = json_get_text(site, "name", "?"), *host = json_get_text(target, "name", "?");
    if (has_state(target, "held"))
        fprintf(out,
            "      type: mirrord resync -n --itemize %s %s   (what it would change)\n"
            "            mirrord resync --force %s %s        (to let it)\n",
            name, host, name, host);
    else if (has_state(target, "failed") && site_well)
        fprintf(out, "      type: mirrord check   (here and on %s)\n", host);
    else if (has_state(target, "fenced") && site_well)
        fprintf(out,
            "      another host was promoted there; nothing is sent from here\n"
            "      type: mirrord status       (on that host)\n"
            "            mirrord promote %s   (to take it back)\n",
            name);
    else if (number(target, "failing") > 0)
        fprintf(out,
            "      tried again by itself, every minute at the latest\n"
            "      type: mirrord check   (here and on %s)\n",
            host);
}

static void print_piecemeal(FILE *out, const struct json *site, const struct json *target)
{
    const struct json *units = json_get(target, "piecemeal_units");
    const char *name = json_get_text(site, "name", "?"), *host = json_get_text(target, "name", "?");
    for (size_t i = 0; i < json_count(units) && i < 5; i++) {
        const struct json *unit = json_at(units, i);
        fprintf(out, "  %s: the unit %s is renamed file by file on %s: %s\n", name,
            PLAIN(json_get_text(unit, "unit", "?")), host, PLAIN(json_get_text(unit, "why", "?")));
    }
    if (json_count(units) > 5)
        fprintf(out, "  %s: and %zu more on %s\n", name, json_count(units) - 5, host);
}

void status_print_target(const struct page *p, const struct json *site, const struct json *target,
    bool full, bool site_well)
{
    if (full) {
        fprintf(p->out, "  %s on %s: ", json_get_text(site, "name", "?"),
            json_get_text(target, "name", "?"));
        print_owed(p, site, target);
        status_print_error(p->out, target);
        print_drift(p->out, site, target);
        print_hook(p->out, site, target);
    }
    print_room(p->out, target);
    if (full)
        print_advice(p->out, site, target, site_well);
    print_piecemeal(p->out, site, target);
}

void status_print_trash(FILE *out, const struct json *site, const struct json *target, bool all)
{
    const struct json *trash = json_get(target, "trash");
    const char *name = json_get_text(site, "name", "?"), *host = json_get_text(target, "name", "?");
    double foreign = number(trash, "foreign"), kept = number(trash, "kept");
    char bytes[32];
    if (foreign <= 0 && (!all || kept <= 0))
        return;
    fprintf(out, "  %s on %s: in the trash:", name, host);
    if (foreign > 0)
        fprintf(out, " %.0f thing%s that mirrord did not put there, %s", foreign,
            foreign == 1 ? "" : "s", status_text_bytes(bytes, number(trash, "foreign_bytes")));
    if (kept > 0)
        fprintf(out, "%s %.0f deleted or overwritten", foreign > 0 ? ";" : "", kept);
    fprintf(out, "\n      type: mirrord trash list %s   (on %s)\n", name, host);
}
