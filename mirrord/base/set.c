/* A hash map in order of insertion; see set.h. Chained, doubled at load 1; the hash is SipHash with
 * a key of its own for each set, since the names in it are chosen by whoever writes to the tree and
 * simpler keyed hashes have collisions that hold for every key. */
#include "base/set.h"

#include <string.h>

#include "base/io.h"
#include "base/mem.h"

struct set {
    struct set_item **slots; /* NULL: nothing was ever added, nor is there a seed */
    size_t mask;
    size_t count;
    struct set_item *first, *last;
    uint64_t seed[2];
};

enum { FIRST_SLOTS = 16 };

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

/* SipHash-1-3 (Aumasson and Bernstein). The order of bytes in a word does not matter here. */
static uint64_t hash_of(const uint64_t seed[2], const void *key, size_t len)
{
    uint64_t v[4] = {seed[0] ^ 0x736f6d6570736575, seed[1] ^ 0x646f72616e646f6d,
        seed[0] ^ 0x6c7967656e657261, seed[1] ^ 0x7465646279746573};
    const uint8_t *p = key;
    uint64_t word, last = (uint64_t)len << 56;
    for (size_t left = len; left >= 8; left -= 8, p += 8) {
        memcpy(&word, p, 8);
        sip_word(v, word);
    }
    for (size_t i = 0; i < len % 8; i++)
        last |= (uint64_t)p[i] << (8 * i);
    sip_word(v, last);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

struct set *set_new(void)
{
    return mem_alloc(sizeof(struct set));
}

static void prepare(struct set *s)
{
    s->slots = mem_array(FIRST_SLOTS, sizeof *s->slots);
    s->mask = FIRST_SLOTS - 1;
    io_random(s->seed, sizeof s->seed);
}

void set_free(struct set *s)
{
    if (!s)
        return;
    for (struct set_item *i = s->first, *next; i; i = next) {
        next = i->next;
        free(i);
    }
    free(s->slots);
    free(s);
}

static struct set_item *find(const struct set *s, uint64_t hash, const void *key, size_t len)
{
    for (struct set_item *i = s->slots[hash & s->mask]; i; i = i->chain)
        if (i->hash == hash && i->len == len && (len == 0 || memcmp(i->key, key, len) == 0))
            return i;
    return NULL;
}

struct set_item *set_find(const struct set *s, const void *key, size_t len)
{
    return s->count ? find(s, hash_of(s->seed, key, len), key, len) : NULL;
}

static void grow(struct set *s)
{
    size_t slots = (s->mask + 1) * 2;
    free(s->slots);
    s->slots = mem_array(slots, sizeof *s->slots);
    s->mask = slots - 1;
    for (struct set_item *i = s->first; i; i = i->next) {
        i->chain = s->slots[i->hash & s->mask];
        s->slots[i->hash & s->mask] = i;
    }
}

static void append(struct set *s, struct set_item *i)
{
    i->prev = s->last;
    i->next = NULL;
    *(s->last ? &s->last->next : &s->first) = i;
    s->last = i;
}

static void unlink_order(struct set *s, struct set_item *i)
{
    *(i->prev ? &i->prev->next : &s->first) = i->next;
    *(i->next ? &i->next->prev : &s->last) = i->prev;
}

struct set_item *set_add(struct set *s, const void *key, size_t len)
{
    if (!s->slots)
        prepare(s);
    uint64_t hash = hash_of(s->seed, key, len);
    struct set_item *i = find(s, hash, key, len);
    if (i)
        return i;
    if (s->count > s->mask)
        grow(s);
    i = mem_alloc(sizeof *i + len + 1);
    i->hash = hash;
    i->len = len;
    if (len)
        memcpy(i->key, key, len);
    i->chain = s->slots[hash & s->mask];
    s->slots[hash & s->mask] = i;
    append(s, i);
    s->count++;
    return i;
}

void set_remove(struct set *s, struct set_item *item)
{
    struct set_item **at = &s->slots[item->hash & s->mask];
    while (*at != item)
        at = &(*at)->chain;
    *at = item->chain;
    unlink_order(s, item);
    s->count--;
    free(item);
}

void set_requeue(struct set *s, struct set_item *item)
{
    unlink_order(s, item);
    append(s, item);
}

size_t set_count(const struct set *s)
{
    return s->count;
}

struct set_item *set_first(const struct set *s)
{
    return s->first;
}
