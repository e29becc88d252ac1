/*
 * Status for people; see status_text.h. It knows the shape of the daemon's JSON and what an
 * operator can type about each state; it asks nobody.
 */
#include "command/status/status_impl.h"

#include <string.h>
#include <time.h>

/* One that was removed is as level as it can be until somebody says what becomes of its copies. */
static bool site_is_well(const struct json *site)
{
    if (has_state(site, "secondary") || has_state(site, "gone"))
        return true; /* of a secondary it is the primary that says whether it is level */
    return has_state(site, "ok") && number(site, "unreadable") == 0;
}

static bool target_is_level(const struct json *target)
{
    if (has_state(target, "gone"))
        return true;
    return has_state(target, "level") && number(target, "failing") == 0 &&
           number(target, "drift") == 0 && number(json_get(target, "hook"), "failures") == 0;
}

bool status_text_level(const struct json *status)
{
    const struct json *sites = json_get(status, "sites");
    for (size_t i = 0; i < json_count(sites); i++) {
        const struct json *site = json_at(sites, i);
        const struct json *targets = json_get(site, "secondaries");
        if (!site_is_well(site))
            return false;
        for (size_t j = 0; j < json_count(targets); j++)
            if (!target_is_level(json_at(targets, j)))
                return false;
    }
    return true;
}

const char *status_text_plain(char *out, size_t size, const char *text)
{
    size_t n = strnlen(text, size - 1);
    for (size_t i = 0; i < n; i++)
        out[i] = (unsigned char)text[i] < ' ' || text[i] == 0x7f ? '?' : text[i];
    out[n] = '\0';
    return out;
}

const char *status_text_bytes(char out[32], double bytes)
{
    static const char *const units[] = {"KB", "MB", "GB", "TB", "PB"};
    if (bytes < 1000) {
        snprintf(out, 32, "%.0f byte%s", bytes, bytes == 1 ? "" : "s");
        return out;
    }
    size_t unit = 0;
    for (bytes /= 1000; bytes >= 999.95 && unit < 4; unit++)
        bytes /= 1000;
    snprintf(out, 32, "%.1f %s", bytes, units[unit]);
    return out;
}

/* "14:03:22" today, else with the date; an empty text for no time. */
static const char *clock_text(char out[32], double seconds)
{
    time_t at = (time_t)seconds, now = time(NULL);
    struct tm then, today;
    out[0] = '\0';
    if (at <= 0 || !localtime_r(&at, &then) || !localtime_r(&now, &today))
        return out;
    bool same_day = then.tm_yday == today.tm_yday && then.tm_year == today.tm_year;
    strftime(out, 32, same_day ? "%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &then);
    return out;
}

/* The state's word, as wide as asked for; what is well green, what moves yellow, the rest red. */
void status_put_state(const struct page *p, const char *state, const char *well, int width)
{
    static const char *const moving[] = {
        "waiting", "comparing", "pushing", "connecting", "scanning", "paused", "not level", NULL};
    const char *ink = strcmp(state, well) == 0 ? "\033[32m" : "\033[31m";
    for (size_t i = 0; moving[i]; i++)
        if (strcmp(state, moving[i]) == 0)
            ink = "\033[33m";
    fprintf(
        p->out, "%s%-*s%s", p->colour ? ink : "", width, PLAIN(state), p->colour ? "\033[0m" : "");
}

static const char *duration_text(char out[32], double seconds)
{
    if (seconds < 120)
        snprintf(out, 32, "%.0f s", seconds);
    else if (seconds < 7200)
        snprintf(out, 32, "%.0f min", seconds / 60);
    else
        snprintf(out, 32, "%.1f h", seconds / 3600);
    return out;
}

/* "    last error at 14:03:22: wp-content/x.jpg: No space left on device" */
static void print_error(FILE *out, const struct json *of)
{
    const char *error = json_get_text(of, "error", ""), *path = json_get_text(of, "error_path", "");
    char at[32];
    if (!*error && !*path)
        return;
    clock_text(at, number(of, "error_time"));
    fprintf(out, "      %s%s%s: %s%s%s\n", has_state(of, "level") ? "last error" : "error",
        *at ? " at " : "", at, PLAIN(path), *path && *error ? ": " : "", PLAIN(error));
}

/* What is paused (a site, a host), until when, why, and what ends it. */
static void print_pause(FILE *out, const struct json *of, const char *colon)
{
    char since[32], until[32];
    const char *reason = json_get_text(of, "pause_reason", ""),
               *name = json_get_text(of, "name", "?");
    if (!json_get_bool(of, "paused", false))
        return;
    clock_text(since, number(of, "paused_since"));
    clock_text(until, number(of, "paused_until"));
    fprintf(out, "  %s is paused since %s%s%s%s%s\n      type: mirrord resume %s%s\n", name, since,
        *until ? " until " : "", until, *reason ? ": " : "", PLAIN(reason), name, colon);
}

static const char *fence_text(const char *lacks)
{
    if (strcmp(lacks, "landlock") == 0)
        return "Landlock (the kernel there is older than 5.19, or has it switched off)";
    if (strcmp(lacks, "system-calls") == 0)
        return "a list of allowed system calls (that mirrord was built without libseccomp)";
    if (strcmp(lacks, "mounts") == 0)
        return "a mount namespace (no root or no CAP_SYS_ADMIN there, mounts that are private, as "
               "in containers, or a site's root right in /)";
    return lacks;
}

static void print_fences(FILE *out, const struct json *peer)
{
    const struct json *lacks = json_get(peer, "sandbox_lacks");
    size_t count = json_count(lacks);
    if (!json_get_bool(peer, "unconfined", false))
        return;
    fputs("      its receiver is fenced in less than it could be: it lacks ", out);
    for (size_t i = 0; i < count; i++)
        fprintf(out, "%s%s", i ? ", and " : "", fence_text(PLAIN(json_text_at(lacks, i))));
    fprintf(out, "%s\n      the mirror works all the same; type there: mirrord check\n",
        count ? "" : "something that it cannot name: another version of mirrord");
}

static void print_secondary(const struct page *p, const struct json *peer, int width)
{
    FILE *out = p->out;
    char wait[32];
    fprintf(out, "  %-*s  ", width, json_get_text(peer, "name", "?"));
    status_put_state(p, json_get_text(peer, "state", "?"), "up", 10);
    fprintf(out, "  %.0f of %.0f sites level", number(peer, "sites_level"), number(peer, "sites"));
    if (has_state(peer, "up") && *json_get_text(peer, "link", ""))
        fprintf(out, "  %s", json_get_text(peer, "link", ""));
    if (has_state(peer, "down") && number(peer, "retry_ms") > 0)
        fprintf(out, "  next try in %s", duration_text(wait, number(peer, "retry_ms") / 1000));
    fputc('\n', out);
    print_fences(out, peer);
    if (has_state(peer, "up"))
        return;
    print_error(out, peer);
    if (has_state(peer, "down") && *json_get_text(peer, "error", ""))
        fputs("      type: mirrord check\n", out);
}

static void print_secondaries(const struct page *p, const struct json *peers)
{
    int width = 8;
    for (size_t i = 0; i < json_count(peers); i++) {
        int n = (int)strlen(json_get_text(json_at(peers, i), "name", "?"));
        width = n > width ? n : width;
    }
    for (size_t i = 0; i < json_count(peers); i++) {
        print_secondary(p, json_at(peers, i), width);
        print_pause(p->out, json_at(peers, i), ":");
    }
}

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
        fprintf(out, ", %s behind", duration_text(behind, number(target, "behind_ms") / 1000));
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
        clock_text(since, number(hook, "since")),
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

static void print_target(
    const struct page *p, const struct json *site, const struct json *target, bool site_well)
{
    fprintf(p->out, "  %s on %s: ", json_get_text(site, "name", "?"),
        json_get_text(target, "name", "?"));
    print_owed(p, site, target);
    print_error(p->out, target);
    print_drift(p->out, site, target);
    print_hook(p->out, site, target);
    print_room(p->out, target);
    print_advice(p->out, site, target, site_well);
}

/* Up to five of the paths that `of` (the site, or what is known of a secondary) has under this key.
 */
static void print_paths(
    FILE *out, const struct json *of, const struct json *site, const char *key, const char *what)
{
    const struct json *paths = json_get(of, key);
    const char *name = json_get_text(site, "name", "?");
    for (size_t i = 0; i < json_count(paths) && i < 5; i++) {
        const char *path = json_text_at(paths, i);
        fprintf(out, "  %s: %s: %s\n", name, what, PLAIN(path ? path : "?"));
    }
    if (json_count(paths) > 5)
        fprintf(out, "  %s: and %zu more\n", name, json_count(paths) - 5);
}

static void print_units(FILE *out, const struct json *site)
{
    const struct json *units = json_get(site, "units");
    const char *name = json_get_text(site, "name", "?");
    for (size_t i = 0; i < json_count(units) && i < 5; i++) {
        const struct json *unit = json_at(units, i);
        fprintf(out, "  %s: the unit %s waits: %s\n", name, PLAIN(json_get_text(unit, "unit", "?")),
            PLAIN(json_get_text(unit, "waits", "?")));
    }
    if (json_count(units) > 5)
        fprintf(out, "  %s: and %zu more\n", name, json_count(units) - 5);
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

/* What was found there and set aside is for somebody to look at; what is kept of our own is not. */
static void print_trash(FILE *out, const struct json *site, const struct json *target, bool all)
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

/* What a load balancer is told of a site that is a secondary here; of one that is level nothing. */
static void print_health(FILE *out, const char *name, const struct json *health)
{
    bool up = json_get_bool(health, "healthy", true);
    const char *why = json_get_text(health, "why", "");
    if (*why)
        fprintf(out, "  %s here: %s, %s: %s\n", name, up ? "up" : "DOWN",
            json_get_text(health, "state", "?"), why);
}

/* What is wrong on this side. */
static void print_site(const struct page *p, const struct json *site)
{
    FILE *out = p->out;
    const char *name = json_get_text(site, "name", "?");
    if (has_state(site, "secondary")) {
        fprintf(out, "  %s: %s is the primary\n", name, json_get_text(site, "primary", "?"));
        print_health(out, name, json_get(site, "health"));
        return;
    }
    fprintf(out, "  %s here: ", name);
    status_put_state(p, json_get_text(site, "state", "?"), "ok", 0);
    fprintf(out, ", %.0f entries\n", number(site, "entries"));
    print_error(out, site);
    if (has_state(site, "fenced"))
        fprintf(out,
            "      %s was promoted and is the primary; nothing is sent from here\n"
            "      type: mirrord promote %s   (to take it back)\n",
            json_get_text(site, "primary", "?"), name);
    if (has_state(site, "failed"))
        fputs("      type: mirrord check\n", out);
    if (has_state(site, "gone"))
        fprintf(out,
            "      type: mirrord forget %s                   (it was removed for good)\n"
            "            mirrord forget --delete-copies %s   (and so are its copies to be)\n"
            "      when the directory is back, it is mirrored again by itself\n",
            name, name);
    else if (has_state(site, "held") && number(site, "gone_since") > 0)
        fprintf(out,
            "      type: findmnt; ls -la %s   (it goes on by itself when they are back)\n"
            "            mirrord forget %s    (if it was removed for good)\n",
            PLAIN(json_get_text(site, "root", "?")), name);
    else if (has_state(site, "held"))
        fprintf(
            out, "      type: mirrord resync --force %s   (if the root is meant to be so)\n", name);
    if (number(site, "unreadable") > 0)
        fprintf(out,
            "      %.0f entries cannot be read: nothing beneath them is sent or deleted\n"
            "      type: ls -la   (on those named below: give mirrord's user the right, or exclude "
            "them)\n",
            number(site, "unreadable"));
}

static void print_unwatched(FILE *out, const struct json *site)
{
    if (number(site, "unwatched") <= 0)
        return;
    fprintf(out, "  %s: %.0f directories are not watched, only looked at from time to time\n",
        json_get_text(site, "name", "?"), number(site, "unwatched"));
    fprintf(out, "      type: sysctl fs.inotify.max_user_watches=%.0f   (or more)\n",
        2 * (number(site, "watches") + number(site, "unwatched")) + 65536);
}

static void print_site_and_targets(const struct page *p, const struct json *site, bool all)
{
    FILE *out = p->out;
    const struct json *targets = json_get(site, "secondaries");
    bool well = site_is_well(site) && json_get_bool(json_get(site, "health"), "healthy", true);
    if (all || !well || has_state(site, "gone"))
        print_site(p, site);
    print_pause(out, site, "");
    print_unwatched(out, site);
    print_paths(out, site, site, "busy", "still being written");
    print_paths(out, site, site, "unreadable_paths", "cannot be read");
    print_units(out, site);
    for (size_t i = 0; i < json_count(targets); i++) {
        if (all || !target_is_level(json_at(targets, i)))
            print_target(p, site, json_at(targets, i), well);
        else
            print_room(out, json_at(targets, i));
        print_piecemeal(out, site, json_at(targets, i));
        if (i == 0) /* the same for all */
            print_paths(out, json_at(targets, i), site, "too_large", "over max-size, left alone");
        print_trash(out, site, json_at(targets, i), all);
    }
}

/* Is something on its way that needs nobody? */
static bool goes_by_itself(const struct json *sites)
{
    for (size_t i = 0; i < json_count(sites); i++) {
        const struct json *site = json_at(sites, i), *targets = json_get(site, "secondaries");
        if (has_state(site, "scanning"))
            return true;
        for (size_t j = 0; j < json_count(targets); j++)
            if (has_state(json_at(targets, j), "pushing") ||
                has_state(json_at(targets, j), "comparing"))
                return true;
    }
    return false;
}

void status_text_print(FILE *out, const struct json *status, bool all, bool colour)
{
    const struct page p = {out, colour};
    const struct json *sites = json_get(status, "sites");
    bool level = status_text_level(status);
    status_print_head(&p, status, level);
    print_secondaries(&p, json_get(status, "secondaries"));
    for (size_t i = 0; i < json_count(sites); i++)
        print_site_and_targets(&p, json_at(sites, i), all);
    status_print_orphaned(out, sites);
    status_print_proving(out, status, json_get(status, "secondaries"));
    if (!level && goes_by_itself(sites))
        fputs("work is under way and goes on by itself; type: mirrord status --wait 600\n", out);
}
