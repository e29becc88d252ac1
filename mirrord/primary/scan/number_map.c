/* Open addressing with linear probing, at most two thirds full; removal shifts back; see
 * number_map.h. The keys are numbers that we or the kernel count up, so a fixed mix will do. */
#include "primary/scan/number_map.h"

#include "base/mem.h"

enum { FIRST_SLOTS = 16 };

static size_t home_of(const struct number_map *m, uint64_t key)
{
    key *= 0x9e3779b97f4a7c15u;
    return (size_t)(key ^ key >> 32) & m->mask;
}

void number_map_free(struct number_map *m)
{
    free(m->slots);
    *m = (struct number_map){0};
}

/* The slot of this key, or the free one where it belongs. */
static size_t find(const struct number_map *m, uint64_t key)
{
    size_t i = home_of(m, key);
    while (m->slots[i].key && m->slots[i].key != key)
        i = (i + 1) & m->mask;
    return i;
}

uint64_t number_map_get(const struct number_map *m, uint64_t key)
{
    return m->slots ? m->slots[find(m, key)].value : 0;
}

static void grow(struct number_map *m)
{
    struct number_map old = *m;
    size_t slots = old.slots ? (old.mask + 1) * 2 : FIRST_SLOTS;
    m->slots = mem_array(slots, sizeof *m->slots);
    m->mask = slots - 1;
    for (size_t i = 0; old.slots && i <= old.mask; i++)
        if (old.slots[i].key)
            m->slots[find(m, old.slots[i].key)] = old.slots[i];
    free(old.slots);
}

void number_map_put(struct number_map *m, uint64_t key, uint64_t value)
{
    if (!m->slots || (m->count + 1) * 3 > (m->mask + 1) * 2)
        grow(m);
    size_t i = find(m, key);
    m->count += m->slots[i].key == 0;
    m->slots[i] = (struct number_slot){key, value};
}

void number_map_remove(struct number_map *m, uint64_t key)
{
    if (!m->slots)
        return;
    size_t hole = find(m, key);
    if (!m->slots[hole].key)
        return;
    m->count--;
    for (size_t i = (hole + 1) & m->mask; m->slots[i].key; i = (i + 1) & m->mask) {
        size_t home = home_of(m, m->slots[i].key);
        bool stays = ((i - home) & m->mask) < ((i - hole) & m->mask);
        if (stays)
            continue;
        m->slots[hole] = m->slots[i];
        hole = i;
    }
    m->slots[hole] = (struct number_slot){0};
}

bool number_map_each(const struct number_map *m, size_t *at, uint64_t *key, uint64_t *value)
{
    for (; m->slots && *at <= m->mask; ++*at) {
        if (!m->slots[*at].key)
            continue;
        *key = m->slots[*at].key;
        *value = m->slots[*at].value;
        ++*at;
        return true;
    }
    return false;
}
