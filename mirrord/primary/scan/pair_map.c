/* Two arrays, and two tables of places in them, with open addressing and linear probing, at most
 * four fifths full; removal shifts back; see pair_map.h. */
#include "primary/scan/pair_map.h"

#include "base/mem.h"

enum { BY_WD, BY_DIR, SIDES };

enum { FIRST_ROOM = 16, FIRST_SLOTS = 32 };

void pair_map_free(struct pair_map *m)
{
    free(m->dirs);
    free(m->wds);
    free(m->slots[BY_WD]);
    free(m->slots[BY_DIR]);
    *m = (struct pair_map){0};
}

static size_t home_of(const struct pair_map *m, uint64_t key)
{
    key *= 0x9e3779b97f4a7c15u;
    return (size_t)(key ^ key >> 32) & m->mask;
}

static uint64_t key_of(const struct pair_map *m, int side, uint32_t slot)
{
    return side == BY_WD ? m->wds[slot - 1] : m->dirs[slot - 1];
}

/* The slot of this key, or the free one where it belongs. */
static uint32_t *find(const struct pair_map *m, int side, uint64_t key)
{
    uint32_t *slots = m->slots[side];
    size_t i = home_of(m, key);
    while (slots[i] && key_of(m, side, slots[i]) != key)
        i = (i + 1) & m->mask;
    return &slots[i];
}

static void grow_slots(struct pair_map *m)
{
    m->mask = m->mask ? m->mask * 2 + 1 : FIRST_SLOTS - 1;
    for (int side = 0; side < SIDES; side++) {
        free(m->slots[side]);
        m->slots[side] = mem_array(m->mask + 1, sizeof *m->slots[side]);
        for (uint32_t i = 1; i <= m->count; i++)
            *find(m, side, key_of(m, side, i)) = i;
    }
}

static void grow_room(struct pair_map *m)
{
    m->room = m->room ? m->room + m->room / 4 : FIRST_ROOM;
    m->dirs = mem_resize(m->dirs, m->room, sizeof *m->dirs);
    m->wds = mem_resize(m->wds, m->room, sizeof *m->wds);
}

void pair_map_put(struct pair_map *m, int wd, uint64_t dir)
{
    if (!m->mask || (m->count + 1) * 5 > (m->mask + 1) * 4)
        grow_slots(m);
    if (m->count == m->room)
        grow_room(m);
    m->wds[m->count] = (uint32_t)wd;
    m->dirs[m->count++] = dir;
    *find(m, BY_WD, (uint32_t)wd) = (uint32_t)m->count;
    *find(m, BY_DIR, dir) = (uint32_t)m->count;
}

static uint32_t place_of(const struct pair_map *m, int side, uint64_t key)
{
    return m->count ? *find(m, side, key) : 0;
}

uint64_t pair_map_dir(const struct pair_map *m, int wd)
{
    uint32_t at = place_of(m, BY_WD, (uint32_t)wd);
    return at ? m->dirs[at - 1] : 0;
}

int pair_map_wd(const struct pair_map *m, uint64_t dir)
{
    uint32_t at = place_of(m, BY_DIR, dir);
    return at ? (int)m->wds[at - 1] : 0;
}

static void empty_slot(struct pair_map *m, int side, uint64_t key)
{
    uint32_t *slots = m->slots[side];
    size_t hole = (size_t)(find(m, side, key) - slots);
    for (size_t i = (hole + 1) & m->mask; slots[i]; i = (i + 1) & m->mask) {
        size_t home = home_of(m, key_of(m, side, slots[i]));
        bool stays = ((i - home) & m->mask) < ((i - hole) & m->mask);
        if (stays)
            continue;
        slots[hole] = slots[i];
        hole = i;
    }
    slots[hole] = 0;
}

/* The last pair takes its place in the arrays. */
void pair_map_remove(struct pair_map *m, int wd)
{
    uint32_t at = place_of(m, BY_WD, (uint32_t)wd), last = (uint32_t)m->count;
    if (!at)
        return;
    for (int side = 0; side < SIDES; side++)
        empty_slot(m, side, key_of(m, side, at));
    for (int side = 0; side < SIDES && at != last; side++)
        *find(m, side, key_of(m, side, last)) = at;
    m->wds[at - 1] = m->wds[last - 1];
    m->dirs[at - 1] = m->dirs[last - 1];
    m->count--;
}

bool pair_map_each(const struct pair_map *m, size_t *at, int *wd, uint64_t *dir)
{
    if (*at >= m->count)
        return false;
    *wd = (int)m->wds[*at];
    *dir = m->dirs[(*at)++];
    return true;
}
