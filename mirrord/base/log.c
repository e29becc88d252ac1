/* The log; see log.h. */
#include "base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum log_level level = LOG_LEVEL_WARNING;

void log_set_level(enum log_level to)
{
    level = to;
}

enum log_level log_get_level(void)
{
    return level;
}

/* Bytes of the UTF-8 sequence at p, or 0 where there is none (overlong, surrogate, cut). */
static size_t utf8_length(const uint8_t *p, size_t left)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (n == 0 || n > left)
        return 0;
    uint32_t point = p[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (p[i] & 0x3fu);
    }
    bool surrogate = point >= 0xd800 && point <= 0xdfff;
    bool c1_control = point < 0xa0;
    return point < smallest[n] || point > 0x10ffff || surrogate || c1_control ? 0 : n;
}

const char *log_name(char *out, size_t size, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    size_t at = 0;
    for (size_t i = 0; i < len;) {
        size_t n = p[i] >= 0x20 && p[i] < 0x7f && p[i] != '\\' ? 1 : utf8_length(p + i, len - i);
        if (at + 8 > size) { /* room for one more piece and the mark */
            memcpy(out + at, "…", sizeof "…");
            return out;
        }
        if (n) {
            memcpy(out + at, p + i, n);
            at += n;
            i += n;
        } else {
            at += (size_t)snprintf(out + at, size - at, "\\%03o", p[i++]);
        }
    }
    out[at] = '\0';
    return out;
}

size_t log_control(const char *p)
{
    unsigned char c = (unsigned char)p[0], next = c ? (unsigned char)p[1] : 0;
    if (c == 0xc2 && next >= 0x80 && next < 0xa0)
        return 2;
    return (c && c < 0x20) || c == 0x7f;
}

void log_tame(char *text)
{
    for (char *p = text; *p;) {
        size_t n = log_control(p);
        memset(p, '?', n);
        p += n ? n : 1;
    }
}

/* Does the journal read standard error? Whoever redirects that inherits the variable all the same,
 * so it names the file that it is about. */
static bool journal_reads(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;
    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

static void line(enum log_level at, const char *fmt, va_list ap)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    static const char journal[] = {'3', '4', '6', '7'};
    char text[4096];
    vsnprintf(text, sizeof text, fmt, ap);
    log_tame(text); /* names come escaped; this is the last line of defence */
    char whole[4224];
    int n = journal_reads() ? snprintf(whole, sizeof whole, "<%c>%s\n", journal[at], text)
                            : snprintf(whole, sizeof whole, "mirrord: %s%s%s\n",
                                  at == LOG_LEVEL_INFO ? "" : names[at],
                                  at == LOG_LEVEL_INFO ? "" : ": ", text);
    if (write(STDERR_FILENO, whole, (size_t)n) < 0) {
        /* nowhere left to say it */
    }
}

#define LOG_FUNCTION(name, at)                                                                     \
    void name(const char *fmt, ...)                                                                \
    {                                                                                              \
        va_list ap;                                                                                \
        if (at > level)                                                                            \
            return;                                                                                \
        va_start(ap, fmt);                                                                         \
        line(at, fmt, ap);                                                                         \
        va_end(ap);                                                                                \
    }

LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)
LOG_FUNCTION(log_warn, LOG_LEVEL_WARNING)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_debug_line, LOG_LEVEL_DEBUG)

void log_always(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    line(LOG_LEVEL_INFO, fmt, ap);
    va_end(ap);
}
