/* Causes and when they were said; see often.h. Where there is no room for one more those go whose
 * hour is over, and if that is none it is not said. */
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
    size_t kept;
};

struct often *often_new(size_t kept)
{
    struct often *o = mem_alloc(sizeof *o);
    o->kept = kept;
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

/* NULL: there is no room. */
static struct saying *find(struct often *o, const char *cause, uint64_t now_ms, bool *fresh)
{
    size_t len = strlen(cause);
    struct set_item *item = set_find(o->sayings, cause, len);
    *fresh = !item;
    if (item)
        return item->value;
    if (set_count(o->sayings) >= o->kept)
        forget(o, now_ms);
    if (set_count(o->sayings) >= o->kept)
        return NULL;
    item = set_add(o->sayings, cause, len);
    item->value = mem_alloc(sizeof(struct saying));
    return item->value;
}

bool often_may_say(struct often *o, const char *cause, uint64_t now_ms, char again[OFTEN_AGAIN])
{
    bool fresh;
    again[0] = '\0';
    if (!o || log_get_level() >= LOG_LEVEL_DEBUG)
        return true;
    struct saying *s = find(o, cause, now_ms, &fresh);
    if (!s)
        return false;
    if (!fresh && now_ms - s->said_ms < OFTEN_EVERY_MS) {
        s->kept_back++;
        return false;
    }
    if (s->kept_back)
        snprintf(again, OFTEN_AGAIN, " (repeated %u time%s)", s->kept_back,
            s->kept_back == 1 ? "" : "s");
    else if (fresh && set_count(o->sayings) == o->kept)
        snprintf(again, OFTEN_AGAIN, "; what else there is of this kind is not said");
    *s = (struct saying){.said_ms = now_ms};
    return true;
}
