/* A set in order of age, under one lock; see shelf.h. The key of content is the site's name,
 * a NUL, the path, a NUL and the validators. That of packed bytes is a NUL, which no site's name
 * begins with, and the digest of what was packed, which is kept, too: who can choose content can
 * find two of the same XXH3 digest, and one site's bytes would be sent for another's. */
#include "primary/push/pack/shelf.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/types.h>

#include "base/mem.h"
#include "base/set.h"
#include "tree/content/digest.h"

struct shelved {          /* a value in the set */
    struct digest digest; /* of content */
    unsigned left;        /* pushers that have not taken it */
    size_t proof, len;    /* bytes of what must be equal, and of what is given */
    uint8_t bytes[];      /* the former first */
};

struct shelf {
    pthread_mutex_t lock; /* of what follows */
    struct set *items;
    size_t most, used;
    atomic_uint joined; /* changed under the lock */
};

struct shelf *shelf_new(size_t most)
{
    struct shelf *s = mem_alloc(sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    s->items = set_new();
    s->most = most;
    return s;
}

static size_t cost_of(const struct set_item *item)
{
    const struct shelved *v = item->value;
    return sizeof *item + item->len + sizeof *v + v->proof + v->len;
}

static void drop(struct shelf *s, struct set_item *item)
{
    s->used -= cost_of(item);
    free(item->value);
    set_remove(s->items, item);
}

static void drop_all(struct shelf *s)
{
    while (set_first(s->items))
        drop(s, set_first(s->items));
}

void shelf_free(struct shelf *s)
{
    if (!s)
        return;
    drop_all(s);
    set_free(s->items);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void shelf_join(struct shelf *s)
{
    pthread_mutex_lock(&s->lock);
    s->joined++;
    pthread_mutex_unlock(&s->lock);
}

void shelf_leave(struct shelf *s)
{
    pthread_mutex_lock(&s->lock);
    s->joined--;
    if (s->joined < 2)
        drop_all(s);
    pthread_mutex_unlock(&s->lock);
}

bool shelf_is_shared(const struct shelf *s)
{
    return s && s->joined >= 2;
}

static struct shelved *find(const struct shelf *s, struct bytes key, struct bytes proof)
{
    struct set_item *item = s->joined < 2 ? NULL : set_find(s->items, key.data, key.len);
    struct shelved *v = item ? item->value : NULL;
    bool is = v && bytes_equal((struct bytes){v->bytes, v->proof}, proof);
    return is ? v : NULL;
}

/* Takes the item, if it is there and fits. */
static ssize_t take(struct shelf *s, struct bytes key, struct bytes proof, void *out, size_t room,
    struct digest *digest)
{
    ssize_t n = -1;
    pthread_mutex_lock(&s->lock);
    struct shelved *v = find(s, key, proof);
    if (v && v->len <= room) {
        n = (ssize_t)v->len;
        if (v->len)
            memcpy(out, v->bytes + v->proof, v->len);
        if (digest)
            *digest = v->digest;
        if (--v->left == 0)
            drop(s, set_find(s->items, key.data, key.len));
    }
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* Under the lock. */
static void add(struct shelf *s, struct bytes key, struct shelved *v)
{
    struct set_item *item = set_add(s->items, key.data, key.len);
    if (item->value) { /* another was as quick */
        drop(s, item);
        item = set_add(s->items, key.data, key.len);
    }
    item->value = v;
    v->left = s->joined - 1;
    s->used += cost_of(item);
    while (s->used > s->most)
        drop(s, set_first(s->items));
}

static struct shelved *shelved_new(struct bytes proof, struct bytes what)
{
    struct shelved *v = mem_resize(NULL, 1, sizeof *v + proof.len + what.len);
    *v = (struct shelved){.proof = proof.len, .len = what.len};
    if (proof.len)
        memcpy(v->bytes, proof.data, proof.len);
    if (what.len)
        memcpy(v->bytes + proof.len, what.data, what.len);
    return v;
}

static void put(struct shelf *s, struct bytes key, struct shelved *v)
{
    pthread_mutex_lock(&s->lock);
    if (s->joined >= 2)
        add(s, key, TAKE_PTR(v));
    pthread_mutex_unlock(&s->lock);
    free(v);
}

/* To be freed. */
static struct bytes key_of_content(
    const struct site *site, struct bytes path, const struct validators *v)
{
    size_t label = strlen(site->label) + 1, len = label + path.len + 1;
    const uint64_t proof[] = {
        v->size, v->inode, (uint64_t)v->mtime, v->mtime_nsec, (uint64_t)v->ctime, v->ctime_nsec};
    char *key = mem_resize(NULL, 1, len + sizeof proof);
    memcpy(key, site->label, label);
    memcpy(key + label, path.data, path.len);
    key[len - 1] = '\0';
    memcpy(key + len, proof, sizeof proof);
    return (struct bytes){key, len + sizeof proof};
}

ssize_t shelf_content(struct shelf *s, const struct site *site, struct bytes path,
    const struct validators *v, void *out, struct digest *digest)
{
    if (!shelf_is_shared(s))
        return -1;
    struct bytes key = key_of_content(site, path, v);
    ssize_t n = take(s, key, (struct bytes){0}, out, v->size, digest);
    free((void *)key.data);
    return n;
}

void shelf_put_content(struct shelf *s, const struct site *site, struct bytes path,
    const struct validators *v, struct bytes content, const struct digest *digest)
{
    if (!shelf_is_shared(s))
        return;
    struct bytes key = key_of_content(site, path, v);
    struct shelved *what = shelved_new((struct bytes){0}, content);
    what->digest = *digest;
    put(s, key, what);
    free((void *)key.data);
}

struct packed_key {
    char nul;
    struct digest digest;
};

static struct packed_key key_of_packed(struct bytes plain)
{
    struct packed_key key = {0};
    digest_plain(plain.data, plain.len, &key.digest);
    return key;
}

size_t shelf_packed(struct shelf *s, struct bytes plain, void *out, size_t room)
{
    if (!shelf_is_shared(s))
        return 0;
    struct packed_key key = key_of_packed(plain);
    ssize_t n = take(s, (struct bytes){&key, sizeof key}, plain, out, room, NULL);
    return n > 0 ? (size_t)n : 0;
}

void shelf_put_packed(struct shelf *s, struct bytes plain, struct bytes packed)
{
    if (!shelf_is_shared(s))
        return;
    struct packed_key key = key_of_packed(plain);
    put(s, (struct bytes){&key, sizeof key}, shelved_new(plain, packed));
}

size_t shelf_memory(struct shelf *s)
{
    pthread_mutex_lock(&s->lock);
    size_t used = s->used;
    pthread_mutex_unlock(&s->lock);
    return used;
}
