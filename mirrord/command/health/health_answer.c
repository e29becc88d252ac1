/* Verdicts in words; see health_report.h. Bytes only: nothing is read or sent here. */
#include "command/health/health_report.h"

#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"

enum { SHOWN_MAX = 32, AGENT_TEXT_MAX = 200 };

bool health_is_up(const struct health_report *r)
{
    bool up = r->count > 0 || r->error;
    for (size_t i = 0; i < r->count; i++)
        up = up && r->items[i].health.up;
    return up;
}

const struct health_item *health_find(const struct health_report *r, const char *name)
{
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->items[i].name, name) == 0)
            return &r->items[i];
    return NULL;
}

static const char *state_of(const struct health_item *item)
{
    return item->error ? "unknown" : health_state_name(item->health.state);
}

static const char *why_none(const struct health_report *r)
{
    return r->none ? r->none : "no site of the configuration is on this host";
}

static const char *why_of(const struct health_item *item)
{
    return item->error ? item->error : item->health.why;
}

/* --- JSON --- */

static struct json *item_json(const struct health_item *item)
{
    const struct health *h = &item->health;
    struct json *j = json_object();
    json_set_name(j, "name", item->name, strlen(item->name));
    json_set_bool(j, "healthy", h->up);
    json_set_text(j, "state", state_of(item));
    json_set_text(j, "why", why_of(item));
    json_set_text(j, "primary", h->primary);
    json_set_bool(j, "level", h->level);
    json_set_number(j, "owed_paths", (double)h->owed_paths);
    json_set_number(j, "failing", (double)h->failing);
    json_set_number(j, "behind_ms", (double)h->behind_ms);
    json_set_number(j, "away_ms", (double)h->away_ms);
    return j;
}

static void put_items(const struct health_report *r, struct json *all)
{
    struct json *sites = json_array();
    size_t down = 0, orphaned = 0, shown = 0;
    for (size_t i = 0; i < r->count; i++) {
        const struct health_item *item = &r->items[i];
        down += !item->health.up;
        orphaned += !item->error && item->health.state == HEALTH_IS_ORPHANED;
        if ((r->count > SHOWN_MAX && item->health.up) || shown == SHOWN_MAX)
            continue;
        json_append_json(sites, item_json(item));
        shown++;
    }
    json_set_number(all, "count", (double)r->count);
    json_set_number(all, "unhealthy", (double)down);
    json_set_number(all, "orphaned", (double)orphaned);
    json_set_json(all, "sites", sites);
}

char *health_json(const struct health_report *r, const struct health_item *item)
{
    struct json *all = json_object();
    json_set_bool(all, "healthy", item ? item->health.up : health_is_up(r));
    json_set_text(all, "host", r->host ? r->host : "");
    if (r->error)
        json_set_text(all, "error", r->error);
    else if (!r->count)
        json_set_text(all, "error", why_none(r));
    const struct health_report one = {.items = (struct health_item *)item, .count = 1};
    put_items(item ? &one : r, all);
    char *text CLEANUP_FREE = json_print(all, false);
    json_free(all);
    return mem_format("%s\n", text);
}

/* --- HTTP --- */

static const char *phrase(int status)
{
    switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 431: return "Request Header Fields Too Large";
    default: return "Service Unavailable";
    }
}

char *health_http(int status, const char *json, bool body)
{
    return mem_format("HTTP/1.1 %d %s\r\n"
                      "Content-Type: application/json\r\n"
                      "Content-Length: %zu\r\n"
                      "Cache-Control: no-store\r\n"
                      "%s"
                      "Connection: close\r\n"
                      "\r\n%s",
        status, phrase(status), strlen(json), status == 405 ? "Allow: GET, HEAD, OPTIONS\r\n" : "",
        body ? json : "");
}

/* --- the agent --- */

static const struct health_item *first_down(const struct health_report *r, size_t *count)
{
    const struct health_item *first = NULL;
    *count = 0;
    for (size_t i = 0; i < r->count; i++) {
        if (r->items[i].health.up)
            continue;
        first = first ? first : &r->items[i];
        ++*count;
    }
    return first;
}

char *health_agent(const struct health_report *r)
{
    size_t down;
    char more[48] = "";
    if (health_is_up(r))
        return mem_copy_string("up\n");
    const struct health_item *item = first_down(r, &down);
    if (!item)
        return mem_format("down #%.*s\n", AGENT_TEXT_MAX, why_none(r));
    if (down > 1)
        snprintf(more, sizeof more, " (and %zu sites more)", down - 1);
    char *line = mem_format("down #%s: %s: %.*s%s\n", QUOTED(item->name, strlen(item->name)),
        state_of(item), AGENT_TEXT_MAX, why_of(item), more);
    for (char *p = line; p[0] && p[1]; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
    return line;
}

/* --- people --- */

void health_print(const struct health_report *r, FILE *out)
{
    int width = 4;
    if (!r->count)
        fprintf(out, "DOWN  %s\n", why_none(r));
    for (size_t i = 0; i < r->count; i++)
        if ((int)strlen(r->items[i].name) > width)
            width = (int)strlen(r->items[i].name);
    for (size_t i = 0; i < r->count; i++) {
        const struct health_item *item = &r->items[i];
        const char *why = why_of(item);
        fprintf(out, "%-*s  %-4s  %s%s%s\n", width < 40 ? width : 40,
            QUOTED(item->name, strlen(item->name)), item->health.up ? "up" : "DOWN", state_of(item),
            *why ? ": " : "", why);
    }
}
