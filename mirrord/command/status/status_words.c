/* Words for numbers, times and states; see status_impl.h. Knows nothing of the daemon's JSON but
 * how an error lies in it. */
#include "command/status/status_impl.h"

#include <time.h>

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

const char *status_clock(char out[32], double seconds)
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

const char *status_duration(char out[32], double seconds)
{
    if (seconds < 120)
        snprintf(out, 32, "%.0f s", seconds);
    else if (seconds < 7200)
        snprintf(out, 32, "%.0f min", seconds / 60);
    else
        snprintf(out, 32, "%.1f h", seconds / 3600);
    return out;
}

void status_print_error(FILE *out, const struct json *of)
{
    const char *error = json_get_text(of, "error", ""), *path = json_get_text(of, "error_path", "");
    char at[32];
    if (!*error && !*path)
        return;
    status_clock(at, number(of, "error_time"));
    fprintf(out, "      %s%s%s: %s%s%s\n", has_state(of, "level") ? "last error" : "error",
        *at ? " at " : "", at, PLAIN(path), *path && *error ? ": " : "", PLAIN(error));
}
