/* Counting openings; see sessions.h. Knows nothing of the protocol. */
#include "primary/sessions.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/set.h"

#define SESSIONS_FILE "sessions"

enum {
    BLOCK = 256,
    ID = sizeof(struct digest),
    ENTRY_MAX = 2 * ID + 24,
    FILE_MAX = 1024 * 1024,
};

static const uint64_t NUMBER_MAX = UINT64_MAX / 2;

struct sessions {
    int dir;
    struct mark *mark;
    pthread_mutex_t lock; /* of what follows, and of the mark */
    uint64_t last;        /* given out */
    struct set *known;    /* by host id: struct known */
};

struct known { /* what a secondary answered last */
    uint64_t number;
};

static struct known *known_of(struct sessions *s, const struct digest *secondary)
{
    struct set_item *item = set_add(s->known, secondary, ID);
    if (!item->value)
        item->value = mem_alloc(sizeof(struct known));
    return item->value;
}

/* "HOSTID NUMBER" lines; one that makes no sense ends it. */
static void load(struct sessions *s)
{
    struct err why;
    char *text CLEANUP_FREE = NULL;
    int r = io_slurp(s->dir, SESSIONS_FILE, FILE_MAX, &text, NULL, &why);
    if (r < 0)
        log_warn("%s", why.text);
    char *rest = NULL;
    for (char *line = r == 0 ? strtok_r(text, "\n", &rest) : NULL; line;
         line = strtok_r(NULL, "\n", &rest)) {
        struct digest id;
        uint64_t number;
        char hex[2 * ID + 1];
        if (sscanf(line, "%32[0-9a-f] %" SCNu64, hex, &number) != 2 || strlen(hex) != 2 * ID)
            return;
        for (size_t i = 0; i < ID; i++)
            sscanf(hex + 2 * i, "%2hhx", &id.b[i]);
        known_of(s, &id)->number = number;
        if (s->last < number)
            s->last = number;
    }
}

struct sessions *sessions_new(int state_fd, struct mark *mark)
{
    struct sessions *s = mem_alloc(sizeof *s);
    s->dir = state_fd;
    s->mark = mark;
    s->known = set_new();
    pthread_mutex_init(&s->lock, NULL);
    s->last = mark->given;
    load(s);
    mark->given = s->last + BLOCK;
    return s;
}

void sessions_free(struct sessions *s)
{
    if (!s)
        return;
    for (struct set_item *i = set_first(s->known); i; i = i->next)
        free(i->value);
    set_free(s->known);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static char *format(struct sessions *s, size_t *len)
{
    char *text = mem_alloc(set_count(s->known) * ENTRY_MAX + 1), *at = text;
    for (struct set_item *i = set_first(s->known); i; i = i->next) {
        io_hex(i->key, ID, at);
        at += 2 * ID;
        at += sprintf(at, " %" PRIu64 "\n", ((struct known *)i->value)->number);
    }
    *len = (size_t)(at - text);
    return text;
}

/* Whole after a kill, not after a power loss. */
static int save(struct sessions *s)
{
    size_t len;
    char *text CLEANUP_FREE = format(s, &len);
    int fd CLEANUP_FD = openat(
        s->dir, SESSIONS_FILE ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || io_write_full(fd, text, len) < 0)
        return -1;
    return renameat(s->dir, SESSIONS_FILE ".new", s->dir, SESSIONS_FILE);
}

void sessions_close(struct sessions *s)
{
    struct err why;
    size_t len;
    char *text CLEANUP_FREE = format(s, &len);
    if (len && io_publish(s->dir, SESSIONS_FILE, text, len, &why) < 0)
        log_warn("%s", why.text);
    s->mark->given = s->last;
}

/* The next block is on the disk before the first of it is used. */
static void reserve(struct sessions *s)
{
    struct err why;
    s->mark->given = s->last + BLOCK;
    if (mark_write(s->dir, s->mark, &why) < 0)
        log_warn("the count of sessions: %s", why.text);
}

uint64_t sessions_next(struct sessions *s)
{
    pthread_mutex_lock(&s->lock);
    if (s->last >= s->mark->given)
        reserve(s);
    uint64_t number = ++s->last;
    pthread_mutex_unlock(&s->lock);
    return number;
}

uint64_t sessions_known(struct sessions *s, const struct digest *secondary)
{
    pthread_mutex_lock(&s->lock);
    struct set_item *item = set_find(s->known, secondary, ID);
    uint64_t number = item ? ((struct known *)item->value)->number : 0;
    pthread_mutex_unlock(&s->lock);
    return number;
}

enum sessions_verdict sessions_opened(
    struct sessions *s, const struct digest *secondary, uint64_t number, uint64_t theirs)
{
    if (theirs > NUMBER_MAX) /* nobody counts that far: ours must be able to go on */
        theirs = NUMBER_MAX;
    pthread_mutex_lock(&s->lock);
    struct known *k = known_of(s, secondary);
    enum sessions_verdict verdict = theirs >= number               ? SESSIONS_BACK_HERE
                                    : theirs && theirs < k->number ? SESSIONS_BACK_THERE
                                                                   : SESSIONS_RISE;
    k->number = theirs > number ? theirs : number;
    if (s->last < k->number)
        s->last = k->number;
    if (save(s) < 0)
        log_warn("the file " SESSIONS_FILE ": %s", strerror(errno));
    pthread_mutex_unlock(&s->lock);
    return verdict;
}
