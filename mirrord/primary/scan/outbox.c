/* A list of copies; see outbox.h. */
#include "primary/scan/outbox.h"

#include "base/mem.h"

enum { KEPT_MAX = 4096 }; /* a longer array is given back once it is empty */

static void add(
    struct outbox *o, enum outbox_kind kind, struct bytes path, struct bytes to, unsigned flags)
{
    if (o->count == o->cap) {
        o->cap = o->cap ? o->cap * 2 : 16;
        o->items = mem_resize(o->items, o->cap, sizeof *o->items);
    }
    o->items[o->count++] = (struct outbox_item){
        .kind = kind,
        .flags = flags,
        .path = {mem_copy_bytes(path.data, path.len), path.len},
        .to = {mem_copy_bytes(to.data, to.len), to.len},
    };
}

void outbox_owe(struct outbox *o, struct bytes path, unsigned flags)
{
    add(o, OUTBOX_OWE, path, (struct bytes){0}, flags);
}

void outbox_move(struct outbox *o, struct bytes from, struct bytes to)
{
    add(o, OUTBOX_MOVE, from, to, 0);
}

void outbox_hint(struct outbox *o, struct bytes path, unsigned flags)
{
    add(o, OUTBOX_HINT, path, (struct bytes){0}, flags);
}

void outbox_clear(struct outbox *o)
{
    for (size_t i = 0; i < o->count; i++) {
        free((void *)o->items[i].path.data);
        free((void *)o->items[i].to.data);
    }
    o->count = 0;
    if (o->cap > KEPT_MAX)
        outbox_free(o);
}

void outbox_free(struct outbox *o)
{
    if (o->count)
        outbox_clear(o);
    free(o->items);
    *o = (struct outbox){0};
}
