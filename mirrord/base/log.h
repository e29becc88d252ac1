/*
 * The log: one line an event, to standard error, with the journal's priority in front (and no
 * name of ours) when the journal reads it, which adds the time as any reader does. The level is the
 * only mutable global besides the stop flag.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stddef.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Lines above this level are dropped. Starts as LOG_LEVEL_WARNING. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* One line without its newline; a control byte that got into it is written as '?'. */
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A statement; its arguments are looked at only where the line is wanted, so it costs next to
 * nothing on the path of each file. */
#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (log_get_level() >= LOG_LEVEL_DEBUG)                                                    \
            log_debug_line(__VA_ARGS__);                                                           \
    } while (0)

/* As log_info, at any level: what somebody may wait for. */
void log_always(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A name for a person's eyes: control bytes, backslash and bytes that are not UTF-8 as \ooo,
 * cut with "…" when `size` is too small (size ≥ 8). Returns out. */
const char *log_name(char *out, size_t size, const void *bytes, size_t len);

/* Bytes of a control character, one that UTF-8 writes as two included, where p stands; 0: it is
 * none. A NUL ends the text. */
size_t log_control(const char *p);
/* Each of them becomes '?', in place: of what somebody else wrote and nobody escaped. */
void log_tame(char *text);

#define LOG_NAME_MAX 512

/* log_name into a buffer of the calling expression: valid until the end of its block. */
#define QUOTED(bytes, len) log_name((char[LOG_NAME_MAX]){0}, LOG_NAME_MAX, (bytes), (len))

#endif
