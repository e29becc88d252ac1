/* The verdict; see health.h. What is noted was written by a process that a hostile primary may have
 * taken over: it can say how it is, and nothing else. */
#include "secondary/health/health.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/site/marker.h"
#include "tree/state/state.h"

enum {
    MOMENT_MS = 10 * 1000,     /* a commit that takes longer was interrupted */
    RETRIED_MS = 3 * 60 * 1000 /* a primary that is there opens a failed site again sooner */
};

const char *health_state_name(enum health_state state)
{
    static const char *const names[] = {
        [HEALTH_IS_LEVEL] = "level",
        [HEALTH_IS_BEHIND] = "behind",
        [HEALTH_IS_COMPARING] = "comparing",
        [HEALTH_IS_ORPHANED] = "orphaned",
        [HEALTH_IS_FILLING] = "filling",
        [HEALTH_IS_FAILED] = "failed",
        [HEALTH_IS_FENCED] = "fenced",
        [HEALTH_IS_HALF] = "half",
        [HEALTH_IS_LOST] = "lost",
        [HEALTH_IS_PRIMARY] = "primary",
    };
    return names[state];
}

/* What the verdict is made of. */
struct evidence {
    const struct health_limits *limits;
    const char *root;
    int64_t now_ms;
    enum health_role role;
    int missing;     /* errno of the root; 0: it is there */
    bool other_root; /* than the one that was marked */
    bool served;     /* a process holds its lock */
    bool half;
    int64_t half_ms;
    bool noted;
    struct health_note note;
};

static uint64_t age(const struct evidence *e, int64_t since_ms)
{
    return e->now_ms > since_ms ? (uint64_t)(e->now_ms - since_ms) : 0;
}

/* "7 s", "3 min", "2 h", "5 d" */
static const char *span(char out[32], uint64_t ms)
{
    uint64_t s = ms / 1000;
    if (s < 120)
        snprintf(out, 32, "%llu s", (unsigned long long)s);
    else if (s < 2 * 3600)
        snprintf(out, 32, "%llu min", (unsigned long long)s / 60);
    else if (s < 48 * 3600)
        snprintf(out, 32, "%llu h", (unsigned long long)s / 3600);
    else
        snprintf(out, 32, "%llu d", (unsigned long long)s / 86400);
    return out;
}

#define SPAN(ms) span((char[32]){0}, (ms))

static void say(struct health *h, enum health_state state, bool up, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void say(struct health *h, enum health_state state, bool up, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    h->state = state;
    h->up = up;
    vsnprintf(h->why, sizeof h->why, fmt, ap);
    va_end(ap);
}

/* --- looking --- */

/* Errors of who asks, not of what is asked for. */
static bool says_nothing(int errnum)
{
    return errnum == EACCES || errnum == EPERM || errnum == EMFILE || errnum == ENFILE ||
           errnum == ENOMEM || errnum == EINTR;
}

static int look_at_root(struct evidence *e, int state, struct err *err)
{
    struct marker m;
    int root CLEANUP_FD = open(e->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0 && says_nothing(errno))
        return err_sys(err, errno, "%s", e->root);
    e->missing = root < 0 ? errno : 0;
    bool marked = root >= 0 && state >= 0 && e->role != HEALTH_PRIMARY;
    int found = marked ? marker_read(root, state, &m, err) : 0;
    e->other_root = found == MARKER_OTHER;
    return found < 0 ? -1 : 0;
}

static int look_at_state(struct evidence *e, int state, struct err *err)
{
    if (state < 0)
        return 0;
    int half = health_mark_read(state, &e->half_ms, err);
    int noted = half < 0 ? -1 : health_note_read(state, &e->note, err);
    if (noted < 0)
        return -1;
    e->half = half == 1;
    e->noted = noted == 1;
    int held = state_is_held(state);
    e->served = held == 1;
    return held < 0 ? err_sys(err, errno, "look at the lock of %s", e->root) : 0;
}

/* --- judging: true where it is said --- */

static bool judge_root(const struct evidence *e, struct health *h)
{
    if (e->missing)
        say(h, HEALTH_IS_LOST, false, "the root %s is not to be had (%s): is its volume mounted?",
            e->root, strerror(e->missing));
    else if (e->other_root)
        say(h, HEALTH_IS_LOST, false,
            "the root %s is not the directory that was filled before: is its volume not mounted? "
            "If "
            "it is meant to be so, type on the primary: mirrord resync --force SITE HOST",
            e->root);
    else
        return false;
    return true;
}

static bool judge_content(const struct evidence *e, struct health *h)
{
    if (e->role == HEALTH_FENCED)
        say(h, HEALTH_IS_FENCED, false,
            "this host was the primary, and another one is by now, which has not levelled it yet");
    else if (e->half && age(e, e->half_ms) > MOMENT_MS)
        say(h, HEALTH_IS_HALF, false,
            "a commit that began %s ago is not finished: type mirrord recover, or wait for the "
            "primary to connect",
            SPAN(age(e, e->half_ms)));
    else if (e->noted && e->note.filling)
        say(h, HEALTH_IS_FILLING, false,
            "it was empty, and has not been level with its primary yet");
    else
        return false;
    return true;
}

/* What is owed, and what keeps it from coming. */
static bool judge_lag(const struct evidence *e, struct health *h)
{
    const struct health_note *n = &e->note;
    if (h->owed_paths && h->behind_ms > e->limits->lag_ms)
        say(h, HEALTH_IS_BEHIND, false,
            "it lacks %llu path%s, the oldest for %s (health-max-lag: %s)%s: type mirrord status "
            "on "
            "the primary",
            (unsigned long long)h->owed_paths, h->owed_paths == 1 ? "" : "s", SPAN(h->behind_ms),
            SPAN(e->limits->lag_ms),
            h->away_ms   ? ", and its primary is not connected"
            : n->paused  ? ", and was paused"
            : h->failing ? ", some of which fail"
                         : "");
    else if (n->trouble && !h->away_ms && age(e, n->trouble_ms) > e->limits->lag_ms)
        say(h, HEALTH_IS_FAILED, false, "nothing can be received for %s: %s",
            SPAN(age(e, n->trouble_ms)), n->text);
    else
        return false;
    return true;
}

static void judge_orphan(const struct evidence *e, struct health *h)
{
    bool down = e->limits->orphaned_ms != HEALTH_NEVER &&
                (!e->noted || h->away_ms >= e->limits->orphaned_ms);
    if (!e->noted)
        say(h, HEALTH_IS_ORPHANED, !down, "no primary has connected so far");
    else
        say(h, HEALTH_IS_ORPHANED, !down, "no primary (%s was the last) has been connected for %s",
            h->primary[0] ? h->primary : "?", SPAN(h->away_ms));
}

static void judge_session(const struct evidence *e, struct health *h)
{
    const struct health_note *n = &e->note;
    if (n->trouble && !h->away_ms)
        say(h, HEALTH_IS_FAILED, true, "nothing can be received for %s: %s",
            SPAN(age(e, n->trouble_ms)), n->text);
    else if (h->away_ms || !e->noted)
        judge_orphan(e, h);
    else if (n->state == HEALTH_OPENING || !h->told)
        say(h, HEALTH_IS_COMPARING, true, "it is being compared");
    else if (h->level)
        say(h, HEALTH_IS_LEVEL, true, "%s", "");
    else if (h->owed_paths)
        say(h, HEALTH_IS_BEHIND, true, "it lacks %llu path%s, the oldest for %s",
            (unsigned long long)h->owed_paths, h->owed_paths == 1 ? "" : "s", SPAN(h->behind_ms));
    else
        say(h, HEALTH_IS_BEHIND, true,
            "nothing is owed, but not all is well: type mirrord status on the primary");
}

static void take_note(const struct evidence *e, struct health *h)
{
    const struct health_note *n = &e->note;
    bool failed = n->state == HEALTH_FAILED;
    h->known = e->noted;
    if (!e->noted)
        return;
    h->told = n->told;
    h->level = n->told && n->level;
    h->owed_paths = n->told ? n->owed_paths : 0;
    h->failing = n->told ? n->failing : 0;
    h->behind_ms = h->owed_paths ? age(e, n->owed_ms) : 0;
    snprintf(h->primary, sizeof h->primary, "%s", n->primary);
    if (n->state == HEALTH_CLOSED || (failed && (!n->trouble || age(e, n->since_ms) > RETRIED_MS)))
        h->away_ms = age(e, n->since_ms) + 1;
    else if (!failed && !e->served)
        h->away_ms = age(e, n->heard_ms) + 1;
}

int health_look(const char *state_dir, const char *root, enum health_role role,
    const struct health_limits *limits, struct health *out, struct err *err)
{
    struct evidence e = {.limits = limits, .root = root, .role = role};
    int state CLEANUP_FD = state_open_dir(state_dir, root, err);
    if (state == -1 || look_at_root(&e, state, err) < 0 || look_at_state(&e, state, err) < 0)
        return -1;
    e.now_ms = (int64_t)io_boot_ms();
    *out = (struct health){0};
    if (role != HEALTH_PRIMARY)
        take_note(&e, out);
    if (judge_root(&e, out))
        return 0;
    if (role == HEALTH_PRIMARY)
        say(out, HEALTH_IS_PRIMARY, true, "%s", "");
    else if (!judge_content(&e, out) && !judge_lag(&e, out))
        judge_session(&e, out);
    return 0;
}
