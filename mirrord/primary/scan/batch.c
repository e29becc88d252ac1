/* A set of hints with a heap over their due times; see batch.h. */
#include "primary/scan/batch.h"

#include <string.h>

#include "base/mem.h"
#include "base/set.h"
#include "protocol/path.h"

struct batch {
    struct set *set; /* key: directory number in host order, then the name */
    struct hint **heap;
    size_t count, cap;
    uint64_t seq;
};

enum { KEY_MAX = sizeof(uint64_t) + PATH_NAME_MAX };

struct batch *batch_new(void)
{
    struct batch *b = mem_alloc(sizeof *b);
    b->set = set_new();
    return b;
}

void batch_free(struct batch *b)
{
    if (!b)
        return;
    batch_clear(b);
    set_free(b->set);
    free(b->heap);
    free(b);
}

static bool earlier(const struct hint *a, const struct hint *b)
{
    return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->seq < b->seq;
}

static void place(struct batch *b, size_t at, struct hint *h)
{
    b->heap[at] = h;
    h->place = at;
}

/* Restores the heap's order around one hint whose due time has changed. */
static void settle(struct batch *b, struct hint *h)
{
    size_t at = h->place;
    while (at > 0 && earlier(h, b->heap[(at - 1) / 2])) {
        place(b, at, b->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (size_t child; (child = 2 * at + 1) < b->count; at = child) {
        if (child + 1 < b->count && earlier(b->heap[child + 1], b->heap[child]))
            child++;
        if (!earlier(b->heap[child], h))
            break;
        place(b, at, b->heap[child]);
    }
    place(b, at, h);
}

static size_t key_write(uint8_t out[KEY_MAX], struct hint_key key)
{
    size_t len = key.name.len <= PATH_NAME_MAX ? key.name.len : PATH_NAME_MAX;
    memcpy(out, &key.dir, sizeof key.dir);
    if (len)
        memcpy(out + sizeof key.dir, key.name.data, len);
    return sizeof key.dir + len;
}

struct hint *batch_find(const struct batch *b, struct hint_key key)
{
    uint8_t text[KEY_MAX];
    struct set_item *item = set_find(b->set, text, key_write(text, key));
    return item ? item->value : NULL;
}

static struct hint *make(struct batch *b, struct set_item *item, uint64_t now_ms)
{
    struct hint *h = mem_alloc(sizeof *h);
    memcpy(&h->key.dir, item->key, sizeof h->key.dir);
    h->key.name = (struct bytes){item->key + sizeof h->key.dir, item->len - sizeof h->key.dir};
    h->item = item;
    h->seq = ++b->seq;
    h->first_ms = now_ms;
    h->due_ms = UINT64_MAX;
    item->value = h;
    if (b->count == b->cap) {
        b->cap = b->cap ? b->cap * 2 : 16;
        b->heap = mem_resize(b->heap, b->cap, sizeof *b->heap);
    }
    place(b, b->count++, h);
    return h;
}

struct hint *batch_add(
    struct batch *b, struct hint_key key, unsigned flags, uint64_t now_ms, uint64_t due_ms)
{
    uint8_t text[KEY_MAX];
    struct set_item *item = set_add(b->set, text, key_write(text, key));
    struct hint *h = item->value ? item->value : make(b, item, now_ms);
    h->flags |= flags;
    if (now_ms > h->last_ms)
        h->last_ms = now_ms;
    if (due_ms < h->due_ms)
        batch_postpone(b, h, due_ms);
    return h;
}

void batch_set_from(struct hint *h, struct hint_key from)
{
    char *copy = mem_copy_bytes(from.name.data, from.name.len);
    free((void *)h->from.name.data);
    h->from = (struct hint_key){from.dir, {copy, from.name.len}};
}

struct hint *batch_due(const struct batch *b, uint64_t now_ms)
{
    return b->count && b->heap[0]->due_ms <= now_ms ? b->heap[0] : NULL;
}

uint64_t batch_next_ms(const struct batch *b)
{
    return b->count ? b->heap[0]->due_ms : UINT64_MAX;
}

void batch_postpone(struct batch *b, struct hint *h, uint64_t due_ms)
{
    h->due_ms = due_ms;
    settle(b, h);
}

void batch_remove(struct batch *b, struct hint *h)
{
    struct hint *last = b->heap[--b->count];
    if (last != h) {
        place(b, h->place, last);
        settle(b, last);
    }
    set_remove(b->set, h->item);
    free((void *)h->from.name.data);
    free(h);
}

void batch_clear(struct batch *b)
{
    while (b->count)
        batch_remove(b, b->heap[b->count - 1]);
}

size_t batch_count(const struct batch *b)
{
    return b->count;
}

uint64_t batch_mark(const struct batch *b)
{
    return b->seq;
}

struct hint *batch_each(const struct batch *b, const struct hint *before)
{
    struct set_item *item = before ? before->item->next : set_first(b->set);
    return item ? item->value : NULL;
}
