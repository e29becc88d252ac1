/* Memory helpers; see mem.h for the policy. */
#include "base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

static void *checked(void *p)
{
    if (!p) {
        log_error("out of memory");
        abort();
    }
    return p;
}

void *mem_alloc(size_t size)
{
    return checked(calloc(1, size ? size : 1));
}

void *mem_array(size_t n, size_t size)
{
    return checked(calloc(n ? n : 1, size));
}

void *mem_resize(void *p, size_t n, size_t size)
{
    return checked(reallocarray(p, n ? n : 1, size));
}

char *mem_copy_string(const char *s)
{
    return s ? checked(strdup(s)) : NULL;
}

char *mem_copy_bytes(const void *p, size_t len)
{
    char *copy = mem_alloc(len + 1);
    if (len)
        memcpy(copy, p, len);
    return copy;
}

char *mem_format(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = NULL;
    if (vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    va_end(ap);
    return checked(text);
}
