/*
 * Users and groups by name; see names.h. Answers are remembered for a while in both directions:
 * what is known for minutes, what is unknown for seconds, so that a user who was just added is
 * found. Names once given out stay where they are as long as the cache lives.
 */
#include "tree/names.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/set.h"
#include "protocol/entry.h"

enum {
    KNOWN_FOR_MS = 5 * 60 * 1000,
    UNKNOWN_FOR_MS = 5 * 1000,
    ANSWERS_MAX = 4096, /* a peer chooses the names that are asked for */
    LOOKUP_SIZE = 16 * 1024,
    LOOKUP_SIZE_MAX = 4 * 1024 * 1024,
};

struct answer {
    uint64_t until;
    bool known;
    unsigned id;
    const struct set_item *name; /* in `strings` */
};

struct names {
    struct names_source source;
    struct set *by_id;   /* kind, number → struct answer */
    struct set *by_name; /* kind, name → struct answer */
    struct set *strings; /* every name given out */
};

/* One of the four getpw… and getgr… calls; returns as they do. */
static int ask_library(bool group, const char *name, unsigned id, char *buf, size_t size,
    unsigned *found_id, const char **found_name)
{
    struct passwd pw, *user = NULL;
    struct group gr, *g = NULL;
    int rc;
    if (group) {
        rc = name ? getgrnam_r(name, &gr, buf, size, &g) : getgrgid_r(id, &gr, buf, size, &g);
        if (g) {
            *found_id = g->gr_gid;
            *found_name = g->gr_name;
        }
        return rc;
    }
    rc = name ? getpwnam_r(name, &pw, buf, size, &user) : getpwuid_r(id, &pw, buf, size, &user);
    if (user) {
        *found_id = user->pw_uid;
        *found_name = user->pw_name;
    }
    return rc;
}

/* 1 with both filled, or 0. */
static int look_up(bool group, const char *name, unsigned id, unsigned *id_out, char name_out[256])
{
    for (size_t size = LOOKUP_SIZE; size <= LOOKUP_SIZE_MAX; size *= 4) {
        char *buf CLEANUP_FREE = mem_alloc(size);
        const char *found = NULL;
        int rc = ask_library(group, name, id, buf, size, id_out, &found);
        if (rc == ERANGE)
            continue;
        if (!found || strlen(found) > ENTRY_OWNER_MAX)
            return 0;
        memcpy(name_out, found, strlen(found) + 1);
        return 1;
    }
    return 0;
}

static int library_id_of(void *ctx, bool group, const char *name, unsigned *id)
{
    char found[256];
    (void)ctx;
    return look_up(group, name, 0, id, found);
}

static int library_name_of(void *ctx, bool group, unsigned id, char name[256])
{
    unsigned found;
    (void)ctx;
    return look_up(group, NULL, id, &found, name);
}

static void forget(struct set **answers)
{
    for (struct set_item *i = set_first(*answers); i; i = i->next)
        free(i->value);
    set_free(*answers);
    *answers = set_new();
}

struct names *names_new(const struct names_source *source)
{
    struct names *n = mem_alloc(sizeof *n);
    n->source = source ? *source : (struct names_source){library_id_of, library_name_of, NULL};
    n->by_id = set_new();
    n->by_name = set_new();
    n->strings = set_new();
    return n;
}

void names_free(struct names *n)
{
    if (!n)
        return;
    forget(&n->by_id);
    forget(&n->by_name);
    set_free(n->by_id);
    set_free(n->by_name);
    set_free(n->strings);
    free(n);
}

/* The remembered answer of a key, made when it is new; *stale tells that it must be asked for. */
static struct answer *answer_of(struct set **answers, const void *key, size_t len, bool *stale)
{
    if (set_count(*answers) >= ANSWERS_MAX && !set_find(*answers, key, len))
        forget(answers);
    struct set_item *item = set_add(*answers, key, len);
    struct answer *a = item->value;
    if (!a)
        item->value = a = mem_alloc(sizeof *a);
    *stale = io_now_ms() >= a->until;
    return a;
}

static void keep_answer(struct answer *a, bool known)
{
    a->known = known;
    a->until = io_now_ms() + (known ? KNOWN_FOR_MS : UNKNOWN_FOR_MS);
}

static struct bytes name_of(struct names *n, bool group, unsigned id)
{
    uint8_t key[1 + sizeof id] = {group};
    bool stale;
    memcpy(key + 1, &id, sizeof id);
    struct answer *a = answer_of(&n->by_id, key, sizeof key, &stale);
    if (stale) {
        char name[256] = "";
        bool known = n->source.name_of(n->source.ctx, group, id, name) == 1 && *name;
        keep_answer(a, known);
        if (known)
            a->name = set_add(n->strings, name, strlen(name));
    }
    return a->known ? (struct bytes){a->name->key, a->name->len} : (struct bytes){0};
}

static int id_of(struct names *n, bool group, struct bytes name, unsigned *out)
{
    char key[1 + ENTRY_OWNER_MAX + 1] = {group ? 'g' : 'u'};
    bool stale;
    if (name.len == 0 || name.len > ENTRY_OWNER_MAX || memchr(name.data, '\0', name.len))
        return 0;
    memcpy(key + 1, name.data, name.len);
    struct answer *a = answer_of(&n->by_name, key, 1 + name.len, &stale);
    if (stale)
        keep_answer(a, n->source.id_of(n->source.ctx, group, key + 1, &a->id) == 1);
    if (!a->known)
        return 0;
    *out = a->id;
    return 1;
}

struct bytes names_user(struct names *n, uid_t uid)
{
    return name_of(n, false, uid);
}

struct bytes names_group(struct names *n, gid_t gid)
{
    return name_of(n, true, gid);
}

int names_uid(struct names *n, struct bytes name, uid_t *out)
{
    return id_of(n, false, name, out);
}

int names_gid(struct names *n, struct bytes name, gid_t *out)
{
    return id_of(n, true, name, out);
}
