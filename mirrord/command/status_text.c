/*
 * Status for people; see status_text.h. It knows the shape of the daemon's JSON and what an
 * operator can type about each state; it asks nobody.
 */
#include "command/status_text.h"

#include <string.h>
#include <time.h>

static bool has_state(const struct json *object, const char *state)
{
    return strcmp(json_get_text(object, "state", ""), state) == 0;
}

static double number(const struct json *object, const char *key)
{
    return json_get_number(object, key, 0);
}

static bool site_is_well(const struct json *site)
{
    if (has_state(site, "secondary"))
        return true;
    return has_state(site, "ok") && number(site, "unreadable") == 0;
}

static bool target_is_level(const struct json *target)
{
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

static void print_secondary(FILE *out, const struct json *peer, int width)
{
    char wait[32];
    fprintf(out, "  %-*s  %-10s  %.0f of %.0f sites level", width, json_get_text(peer, "name", "?"),
        json_get_text(peer, "state", "?"), number(peer, "sites_level"), number(peer, "sites"));
    if (has_state(peer, "up") && *json_get_text(peer, "link", ""))
        fprintf(out, "  %s", json_get_text(peer, "link", ""));
    if (has_state(peer, "down") && number(peer, "retry_ms") > 0)
        fprintf(out, "  next try in %s", duration_text(wait, number(peer, "retry_ms") / 1000));
    fputc('\n', out);
    if (json_get_bool(peer, "unconfined", false))
        fputs("      its receiver's sandbox lacks something; type there: mirrord check\n", out);
    if (has_state(peer, "up"))
        return;
    print_error(out, peer);
    if (has_state(peer, "down") && *json_get_text(peer, "error", ""))
        fputs("      type: mirrord check\n", out);
}

static void print_secondaries(FILE *out, const struct json *peers)
{
    int width = 8;
    for (size_t i = 0; i < json_count(peers); i++) {
        int n = (int)strlen(json_get_text(json_at(peers, i), "name", "?"));
        width = n > width ? n : width;
    }
    for (size_t i = 0; i < json_count(peers); i++) {
        print_secondary(out, json_at(peers, i), width);
        print_pause(out, json_at(peers, i), ":");
    }
}

static void print_owed(FILE *out, const struct json *target)
{
    char bytes[32], behind[32];
    double paths = number(target, "owed_paths");
    fprintf(out, "%s", json_get_text(target, "state", "?"));
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
static void print_hook(FILE *out, const struct json *site, const struct json *target)
{
    const struct json *hook = json_get(target, "hook");
    const char *name = json_get_text(site, "name", "?"), *host = json_get_text(target, "name", "?");
    double count = number(hook, "failures");
    char since[64] = "?";
    time_t at = (time_t)number(hook, "since");
    struct tm when;
    if (count <= 0)
        return;
    if (localtime_r(&at, &when))
        strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S", &when);
    fprintf(out,
        "      its on-commit has failed %.0f time%s since %s: %s\n"
        "      type: mirrord check --effective %s   (on %s: the command, which its log says more "
        "of; it is run again by itself)\n",
        count, count == 1 ? "" : "s", since, PLAIN(json_get_text(hook, "error", "")), name, host);
}

static void print_target(
    FILE *out, const struct json *site, const struct json *target, bool site_well)
{
    const char *name = json_get_text(site, "name", "?"), *host = json_get_text(target, "name", "?");
    fprintf(out, "  %s on %s: ", name, host);
    print_owed(out, target);
    print_error(out, target);
    print_drift(out, site, target);
    print_hook(out, site, target);
    if (has_state(target, "held"))
        fprintf(out,
            "      type: mirrord resync -n --itemize %s %s   (what it would change)\n"
            "            mirrord resync --force %s %s        (to let it)\n",
            name, host, name, host);
    else if (has_state(target, "failed") && site_well)
        fprintf(out, "      type: mirrord check   (here and on %s)\n", host);
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

/* What is wrong on this side. */
static void print_site(FILE *out, const struct json *site)
{
    const char *name = json_get_text(site, "name", "?");
    if (has_state(site, "secondary")) {
        fprintf(out, "  %s: %s is the primary\n", name, json_get_text(site, "primary", "?"));
        return;
    }
    fprintf(out, "  %s here: %s, %.0f entries\n", name, json_get_text(site, "state", "?"),
        number(site, "entries"));
    print_error(out, site);
    if (has_state(site, "fenced"))
        fprintf(out,
            "      %s was promoted and is the primary; nothing is sent from here\n"
            "      type: mirrord promote %s   (to take it back)\n",
            json_get_text(site, "primary", "?"), name);
    if (has_state(site, "failed"))
        fputs("      type: mirrord check\n", out);
    if (has_state(site, "held"))
        fprintf(
            out, "      type: mirrord resync --force %s   (if the root is meant to be so)\n", name);
    if (number(site, "unreadable") > 0)
        fprintf(out, "      %.0f entries cannot be read: nothing beneath them is sent or deleted\n",
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

static void print_site_and_targets(FILE *out, const struct json *site, bool all)
{
    const struct json *targets = json_get(site, "secondaries");
    bool well = site_is_well(site);
    if (all || !well)
        print_site(out, site);
    print_pause(out, site, "");
    print_unwatched(out, site);
    print_paths(out, site, site, "busy", "still being written");
    print_paths(out, site, site, "unreadable_paths", "cannot be read");
    print_units(out, site);
    for (size_t i = 0; i < json_count(targets); i++) {
        if (all || !target_is_level(json_at(targets, i)))
            print_target(out, site, json_at(targets, i), well);
        print_piecemeal(out, site, json_at(targets, i));
        if (i == 0) /* the same for all */
            print_paths(out, json_at(targets, i), site, "too_large", "over max-size, left alone");
        print_trash(out, site, json_at(targets, i), all);
    }
}

void status_text_print(FILE *out, const struct json *status, bool all)
{
    const struct json *sites = json_get(status, "sites");
    bool level = status_text_level(status);
    fprintf(out, "%s: mirrord %s, %s, %zu site%s to push, %s\n", json_get_text(status, "host", "?"),
        json_get_text(status, "version", "?"),
        json_get_bool(status, "ready", false) ? "ready" : "not ready yet", json_count(sites),
        json_count(sites) == 1 ? "" : "s", level ? "all level" : "not level");
    print_secondaries(out, json_get(status, "secondaries"));
    for (size_t i = 0; i < json_count(sites); i++)
        print_site_and_targets(out, json_at(sites, i), all);
}
