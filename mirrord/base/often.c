/* Causes and when they were said; see often.h. At most OFTEN_KEPT: then those go whose hour is
 * over, and if that is none all are forgotten, which only means that some are said again. */
#include "base/often.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/set.h"

struct saying {
    uint64_t said_ms;
    unsigned kept_back;
};

struct often {
    struct set *sayings; /* value: struct saying */
};

struct often *often_new(void)
{
    struct often *o = mem_alloc(sizeof *o);
    o->sayings = set_new();
    return o;
}

static void forget(struct often *o, uint64_t now_ms)
{
    struct set_item *i, *next;
    for (i = set_first(o->sayings); i; i = next) {
        const struct saying *s = i->value;
        next = i->next;
        if (now_ms != UINT64_MAX && now_ms - s->said_ms < OFTEN_EVERY_MS)
            continue;
        free(i->value);
        set_remove(o->sayings, i);
    }
}

void often_free(struct often *o)
{
    if (!o)
        return;
    forget(o, UINT64_MAX);
    set_free(o->sayings);
    free(o);
}

static struct saying *find(struct often *o, const char *cause, uint64_t now_ms, bool *fresh)
{
    size_t len = strlen(cause);
    struct set_item *item = set_find(o->sayings, cause, len);
    *fresh = !item;
    if (item)
        return item->value;
    if (set_count(o->sayings) >= OFTEN_KEPT)
        forget(o, now_ms);
    if (set_count(o->sayings) >= OFTEN_KEPT)
        forget(o, UINT64_MAX);
    item = set_add(o->sayings, cause, len);
    item->value = mem_alloc(sizeof(struct saying));
    return item->value;
}

bool often_may_say(struct often *o, const char *cause, uint64_t now_ms, char again[48])
{
    bool fresh;
    again[0] = '\0';
    if (!o || log_get_level() >= LOG_LEVEL_DEBUG)
        return true;
    struct saying *s = find(o, cause, now_ms, &fresh);
    if (!fresh && now_ms - s->said_ms < OFTEN_EVERY_MS) {
        s->kept_back++;
        return false;
    }
    if (s->kept_back)
        snprintf(again, 48, " (repeated %u time%s)", s->kept_back, s->kept_back == 1 ? "" : "s");
    *s = (struct saying){.said_ms = now_ms};
    return true;
}
