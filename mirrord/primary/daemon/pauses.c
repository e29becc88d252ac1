/* The list of pauses and its file; see pauses.h. */
#include "primary/daemon/pauses.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"

#define PAUSES_FILE "paused"

enum { FILE_MAX = 1 << 20, LINE_MAX_BYTES = 1024 };

struct pauses {
    int dir;
    TAILQ_HEAD(, pause) all;
};

static const char *const kinds[] = {[PAUSE_SITE] = "site", [PAUSE_HOST] = "host"};

/* --- the file: SINCE UNTIL KIND NAME REASON, a line each --- */

static bool parse_line(const char *line, struct pause *out)
{
    char kind[8];
    int end = 0;
    if (sscanf(line, "%" SCNd64 " %" SCNd64 " %7s %255s%n", &out->since, &out->until, kind,
            out->name, &end) != 4)
        return false;
    if (strcmp(kind, kinds[PAUSE_SITE]) != 0 && strcmp(kind, kinds[PAUSE_HOST]) != 0)
        return false;
    out->kind = strcmp(kind, kinds[PAUSE_HOST]) == 0 ? PAUSE_HOST : PAUSE_SITE;
    snprintf(out->reason, sizeof out->reason, "%s", line[end] == ' ' ? line + end + 1 : "");
    return line[end] == ' ' || line[end] == '\0';
}

static void take_line(struct pauses *p, const char *line)
{
    struct pause read = {0};
    if (!parse_line(line, &read)) {
        log_warn("the list of pauses has a line that is damaged, which is left out: %s",
            QUOTED(line, strlen(line)));
        return;
    }
    struct pause *copy = mem_alloc(sizeof *copy);
    *copy = read;
    TAILQ_INSERT_TAIL(&p->all, copy, order);
}

static int load(struct pauses *p, struct err *err)
{
    char *text CLEANUP_FREE = NULL, *rest;
    int r = io_slurp(p->dir, PAUSES_FILE, FILE_MAX, &text, NULL, err);
    if (r != 0)
        return r == 1 ? 0 : -1;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        take_line(p, line);
    return 0;
}

static int save(const struct pauses *p, struct err *err)
{
    struct buf text = {0};
    const struct pause *i;
    TAILQ_FOREACH (i, &p->all, order) {
        char line[LINE_MAX_BYTES];
        int n = snprintf(line, sizeof line, "%" PRId64 " %" PRId64 " %s %s %s\n", i->since,
            i->until, kinds[i->kind], i->name, i->reason);
        buf_append(&text, line, (size_t)n);
    }
    int r = io_publish(p->dir, PAUSES_FILE, buf_bytes(&text), buf_len(&text), err);
    buf_free(&text);
    return r;
}

/* --- the list --- */

int pauses_open(const char *state_dir, struct pauses **out, struct err *err)
{
    struct pauses *p = mem_alloc(sizeof *p);
    TAILQ_INIT(&p->all);
    p->dir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = p->dir < 0 ? err_sys(err, errno, "open %s", state_dir) : load(p, err);
    if (r < 0)
        pauses_free(p);
    else
        *out = p;
    return r;
}

void pauses_free(struct pauses *p)
{
    struct pause *i;
    if (!p)
        return;
    while ((i = TAILQ_FIRST(&p->all))) {
        TAILQ_REMOVE(&p->all, i, order);
        free(i);
    }
    if (p->dir >= 0)
        close(p->dir);
    free(p);
}

static struct pause *find(const struct pauses *p, enum pause_kind kind, const char *name)
{
    struct pause *i;
    TAILQ_FOREACH (i, &p->all, order)
        if (i->kind == kind && strcmp(i->name, name) == 0)
            return i;
    return NULL;
}

const struct pause *pauses_find(const struct pauses *p, enum pause_kind kind, const char *name)
{
    return find(p, kind, name);
}

static void set_reason(struct pause *i, const char *reason)
{
    snprintf(i->reason, sizeof i->reason, "%s", reason ? reason : "");
    for (char *c = i->reason; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = ' ';
}

int pauses_set(struct pauses *p, enum pause_kind kind, const char *name, int64_t until,
    const char *reason, struct err *err)
{
    size_t len = strlen(name);
    int64_t now = time(NULL);
    if (len == 0 || len > PAUSE_NAME_MAX || strpbrk(name, " \t\n"))
        return err_set(err, ERR_USAGE, "\"%s\" is no name of a site or host", QUOTED(name, len));
    if (until && until <= now)
        return err_set(err, ERR_USAGE, "the pause would be over already");
    struct pause *old = find(p, kind, name), *i = mem_alloc(sizeof *i);
    *i = (struct pause){.kind = kind, .since = old ? old->since : now, .until = until};
    memcpy(i->name, name, len + 1);
    set_reason(i, reason);
    if (old)
        TAILQ_REMOVE(&p->all, old, order);
    TAILQ_INSERT_TAIL(&p->all, i, order);
    int r = save(p, err);
    if (r < 0) {
        TAILQ_REMOVE(&p->all, i, order);
        if (old)
            TAILQ_INSERT_TAIL(&p->all, old, order);
    }
    free(r < 0 ? i : old);
    return r;
}

int pauses_end(struct pauses *p, enum pause_kind kind, const char *name, struct err *err)
{
    struct pause *i = find(p, kind, name);
    if (!i)
        return 1;
    TAILQ_REMOVE(&p->all, i, order);
    if (save(p, err) < 0) {
        TAILQ_INSERT_TAIL(&p->all, i, order);
        return -1;
    }
    free(i);
    return 0;
}

bool pauses_expire(struct pauses *p, int64_t now, int64_t *next)
{
    struct pause *i, *after;
    struct err err;
    bool ended = false;
    *next = INT64_MAX;
    for (i = TAILQ_FIRST(&p->all); i; i = after) {
        after = TAILQ_NEXT(i, order);
        if (i->until && i->until <= now) {
            TAILQ_REMOVE(&p->all, i, order);
            free(i);
            ended = true;
        } else if (i->until && i->until < *next) {
            *next = i->until;
        }
    }
    /* Where it cannot be written, the next start ends them again. */
    if (ended && save(p, &err) < 0)
        log_warn("%s", err.text);
    return ended;
}
