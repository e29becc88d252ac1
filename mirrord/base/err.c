/* Errors for people; see err.h. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static enum err_code code_of_errno(int errnum)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM: return ERR_TEMPORARY;
    default: return ERR_FAILED;
    }
}

int err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
    if (!err)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    char text[ERR_TEXT_MAX]; /* an argument may be the old text itself */
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    memcpy(err->text, text, sizeof text);
    err->code = code;
    err->sys = 0;
    return -1;
}

int err_sys(struct err *err, int errnum, const char *fmt, ...)
{
    if (!err)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    char what[ERR_TEXT_MAX];
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    char reason[128];
    const char *why = strerror_r(errnum, reason, sizeof reason);
    size_t room = sizeof err->text - strlen(why) - 3;
    snprintf(err->text, sizeof err->text, "%.*s: %s", (int)room, what, why);
    err->code = code_of_errno(errnum);
    err->sys = errnum;
    return -1;
}

int err_prefix(struct err *err, const char *fmt, ...)
{
    if (!err)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    char front[ERR_TEXT_MAX];
    vsnprintf(front, sizeof front, fmt, ap);
    va_end(ap);
    char whole[2 * ERR_TEXT_MAX + 2];
    snprintf(whole, sizeof whole, "%s: %s", front, err->text);
    memcpy(err->text, whole, sizeof err->text - 1);
    err->text[sizeof err->text - 1] = '\0';
    return -1;
}

void err_clear(struct err *err)
{
    err->code = ERR_NONE;
    err->sys = 0;
    err->text[0] = '\0';
}
