/* Reading, judging and writing the mark; see mark.h. Knows the manifest only as something that
 * lives and dies with it. */
#include "tree/manifest/mark.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"

#define MARK_FILE "mark"

enum {
    MARK_VERSION = 2,
    MARK_WITHOUT_SESSIONS = 1,
    SLACK = 2, /* seconds: file times come from a clock of coarser steps */
};

void mark_format(const struct mark *m, char out[MARK_TEXT_MAX])
{
    char from[2 * sizeof m->from.b + 1];
    io_hex(m->from.b, sizeof m->from.b, from);
    snprintf(out, MARK_TEXT_MAX,
        "%d %d %" PRIu64 " %" PRId64 " %" PRId64 " %s %" PRIu64 " %" PRIu64 " %s\n", MARK_VERSION,
        (int)m->state, m->generation, m->saved, m->since, m->boot, m->given, m->taken, from);
}

/* " GIVEN TAKEN FROM", and the length of it; 0: it makes no sense. */
static int parse_sessions(const char *text, struct mark *m)
{
    char from[2 * sizeof m->from.b + 1];
    int end = 0;
    if (sscanf(text, " %" SCNu64 " %" SCNu64 " %32[0-9a-f]%n", &m->given, &m->taken, from, &end) !=
        3)
        return 0;
    for (size_t i = 0; i < sizeof m->from.b; i++)
        if (sscanf(from + 2 * i, "%2hhx", &m->from.b[i]) != 1)
            return 0;
    return end;
}

bool mark_parse(const char *text, struct mark *out)
{
    struct mark m = {0};
    int version, state, end = 0;
    if (sscanf(text, "%d %d %" SCNu64 " %" SCNd64 " %" SCNd64 " %36[!-~]%n", &version, &state,
            &m.generation, &m.saved, &m.since, m.boot, &end) != 6)
        return false;
    int sessions = version == MARK_VERSION ? parse_sessions(text + end, &m) : 0;
    if (version != (sessions ? MARK_VERSION : MARK_WITHOUT_SESSIONS) || state < MARK_OPEN ||
        state > MARK_CLEAN || strcmp(text + end + sessions, "\n") != 0)
        return false;
    m.state = (enum mark_state)state;
    *out = m;
    return true;
}

int64_t mark_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec - SLACK;
}

/* 1 there, 0 none; -1. Nonsense says nothing about what is on the disk, so all is to be read. */
static int mark_read(int state_fd, struct mark *out, struct err *err)
{
    char *text CLEANUP_FREE = NULL;
    int r = io_slurp(state_fd, MARK_FILE, MARK_TEXT_MAX, &text, NULL, err);
    if (r == 1)
        return 0;
    if (r < 0 && err->sys)
        return -1;
    if (r == 0 && mark_parse(text, out))
        return 1;
    log_warn("the mark in the state directory is damaged: taken as after a power loss");
    *out = (struct mark){.since = 1};
    return 0;
}

/* Without a mark there is no manifest to be trusted, and none that was lost. */
int mark_begin(int state_fd, bool durable, struct mark *out, struct err *err)
{
    struct mark m = {0};
    char now[BOOT_ID + 1], was[MARK_TEXT_MAX], is[MARK_TEXT_MAX];
    int there = mark_read(state_fd, &m, err);
    if (there < 0)
        return -1;
    boot_id(now);
    mark_format(&m, was);
    bool lost = !there || (m.state == MARK_OPEN && strcmp(m.boot, now) != 0);
    m.settled = m.state == MARK_CLEAN || m.state == MARK_DURABLE;
    if (lost) {
        m.generation++;
        m.since = m.since ? m.since : m.saved;
    } else if (m.state == MARK_CLEAN && !m.since)
        m.saved = mark_now();
    if (!m.saved)
        m.saved = mark_now();
    m.state = durable ? MARK_DURABLE : MARK_OPEN;
    memcpy(m.boot, now, sizeof m.boot);
    mark_format(&m, is);
    m.said = there && strcmp(was, is) == 0;
    *out = m;
    return lost ? MARK_LOST : MARK_TRUSTED;
}

int mark_write(int state_fd, const struct mark *m, struct err *err)
{
    char text[MARK_TEXT_MAX];
    mark_format(m, text);
    return io_publish(state_fd, MARK_FILE, text, strlen(text), err);
}
