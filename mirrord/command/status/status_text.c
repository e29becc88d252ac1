/*
 * Status for people; see status_text.h. It knows the shape of the daemon's JSON and what an
 * operator can type about each state; it asks nobody.
 */
#include "command/status/status_impl.h"

#include <string.h>

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

/* What is paused (a site, a host), until when, why, and what ends it. */
static void print_pause(FILE *out, const struct json *of, const char *colon)
{
    char since[32], until[32];
    const char *reason = json_get_text(of, "pause_reason", ""),
               *name = json_get_text(of, "name", "?");
    if (!json_get_bool(of, "paused", false))
        return;
    status_clock(since, number(of, "paused_since"));
    status_clock(until, number(of, "paused_until"));
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
        fprintf(out, "  next try in %s", status_duration(wait, number(peer, "retry_ms") / 1000));
    fputc('\n', out);
    print_fences(out, peer);
    if (has_state(peer, "up"))
        return;
    status_print_error(out, peer);
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
    status_print_error(out, site);
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
        bool full = all || !target_is_level(json_at(targets, i));
        status_print_target(p, site, json_at(targets, i), full, well);
        if (i == 0) /* the same for all */
            print_paths(out, json_at(targets, i), site, "too_large", "over max-size, left alone");
        status_print_trash(out, site, json_at(targets, i), all);
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
