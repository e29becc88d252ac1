/* The parts of status that are about all sites together; see status_impl.h. */
#include "command/status/status_impl.h"

/* What is received from elsewhere is not pushed. */
static bool is_received(const struct json *site)
{
    return has_state(site, "secondary") || has_state(site, "fenced");
}

/* "web1: mirrord 0.1.0, ready, 3 sites to push, all level" */
void status_print_head(const struct page *p, const struct json *status, bool level)
{
    const struct json *sites = json_get(status, "sites");
    size_t received = 0;
    for (size_t i = 0; i < json_count(sites); i++)
        received += is_received(json_at(sites, i));
    size_t pushed = json_count(sites) - received;
    fprintf(p->out, "%s: mirrord %s, %s", json_get_text(status, "host", "?"),
        json_get_text(status, "version", "?"),
        json_get_bool(status, "ready", false) ? "ready" : "not ready yet");
    if (received)
        fprintf(p->out, ", secondary of %zu site%s", received, received == 1 ? "" : "s");
    if (pushed || !received)
        fprintf(p->out, ", %zu site%s to push", pushed, pushed == 1 ? "" : "s");
    if (pushed || !received || !level) {
        fputs(", ", p->out);
        status_put_state(p, level ? "all level" : "not level", "all level", 0);
    }
    fputc('\n', p->out);
}

/* Of sites that no primary is connected for: once for all of them. */
void status_print_orphaned(FILE *out, const struct json *sites)
{
    size_t count = 0;
    const char *primary = "?";
    for (size_t i = 0; i < json_count(sites); i++) {
        const struct json *site = json_at(sites, i);
        if (!has_state(site, "secondary") || !has_state(json_get(site, "health"), "orphaned"))
            continue;
        primary = count++ ? primary : json_get_text(site, "primary", "?");
    }
    if (count)
        fprintf(out,
            "  no primary is connected for %zu site%s; what is here is served\n"
            "      type: mirrord status          (on %s)\n"
            "            mirrord promote --all   (here, if %s is gone for good)\n",
            count, count == 1 ? "" : "s", primary, primary);
}

/* Files whose content was not read yet, of this secondary or (NULL) here. What is on its way to be
 * sent is read by that. */
static double count_unproven(const struct json *site, const char *secondary)
{
    const struct json *targets = json_get(site, "secondaries");
    double n = secondary ? 0 : number(site, "unproven");
    for (size_t i = 0; i < json_count(targets); i++) {
        const struct json *target = json_at(targets, i);
        if (!secondary && !has_state(target, "level"))
            return 0;
        if (secondary && strcmp(json_get_text(target, "name", ""), secondary) == 0)
            n += number(target, "unproven");
    }
    return n;
}

/* How far reading is of what was taken over as equal by size and time. */
void status_print_proving(FILE *out, const struct json *status, const struct json *peers)
{
    const struct json *sites = json_get(status, "sites");
    bool began = false;
    for (size_t p = 0; p <= json_count(peers); p++) { /* the last is this host */
        const char *name =
            p < json_count(peers) ? json_get_text(json_at(peers, p), "name", "?") : NULL;
        double unproven = 0, files = 0;
        for (size_t i = 0; i < json_count(sites); i++) {
            double n = count_unproven(json_at(sites, i), name);
            unproven += n;
            files += n > 0 ? number(json_at(sites, i), "files") : 0;
        }
        if (unproven <= 0)
            continue;
        fprintf(out, "%s %.0f of %.0f files %s%s",
            began ? "," : "equal by size and time, content still to be read in the background:",
            unproven, files, name ? "on " : "here", name ? name : "");
        began = true;
    }
    if (began)
        fputc('\n', out);
}
