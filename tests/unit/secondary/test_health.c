/* health: what is noted of a site comes back, on another boot's clock too, and what is made of it:
 * a site is down by evidence, and by nothing else. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/boot.h"
#include "secondary/health/health.h"
#include "secondary/site/marker.h"
#include "tests/unit/tree/scratch.h"
#include "tree/state/rootid.h"
#include "tree/state/state.h"

static const char *boot;

void __wrap_boot_id(char out[BOOT_ID + 1]);
void __wrap_boot_id(char out[BOOT_ID + 1])
{
    memset(out, 0, BOOT_ID + 1);
    snprintf(out, BOOT_ID + 1, "%s", boot);
}

enum { S = 1000, MIN = 60 * S };

struct place {
    char *dir, *root, *states;
    int state; /* the root's */
    pid_t session;
    struct health_limits limits;
    enum health_role role;
};

static int set_up(void **state)
{
    struct place *p = mem_alloc(sizeof *p);
    struct err err;
    boot = "this-boot";
    p->dir = scratch_new();
    p->root = mem_format("%s/root", p->dir);
    p->states = mem_format("%s/state", p->dir);
    p->limits = (struct health_limits){5 * MIN, HEALTH_NEVER};
    if (mkdir(p->root, 0755) < 0)
        return -1;
    p->state = state_make_dir(p->states, p->root, &err);
    *state = p;
    return p->state < 0 ? -1 : 0;
}

static void end_session(struct place *p)
{
    if (p->session)
        kill(p->session, SIGKILL);
    if (p->session)
        waitpid(p->session, NULL, 0);
    p->session = 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    end_session(p);
    close(p->state);
    scratch_free(p->dir);
    free(p->root);
    free(p->states);
    free(p);
    return 0;
}

/* Another process holds the root's lock, as a receiver does. */
static void begin_session(struct place *p)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    p->session = fork();
    if (p->session == 0) {
        struct state *s;
        struct err err;
        struct digest nobody = {0};
        bool good = state_open(p->states, p->root, &nobody, 0, &s, &err) == 0;
        _exit(good && write(ready[1], "x", 1) == 1 && pause() ? 0 : 1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
}

static int64_t ago(int64_t ms)
{
    return (int64_t)io_boot_ms() - ms;
}

/* Level, and served by a session that is not there. */
static struct health_note level_note(void)
{
    return (struct health_note){.state = HEALTH_OPEN,
        .since_ms = ago(60 * MIN),
        .heard_ms = ago(1 * S),
        .told = true,
        .level = true,
        .primary = "web1"};
}

static void note(struct place *p, const struct health_note *n)
{
    struct err err;
    if (health_note_write(p->state, n, &err) < 0)
        fail_msg("%s", err.text);
}

static struct health look(struct place *p)
{
    struct health h;
    struct err err;
    if (health_look(p->states, p->root, p->role, &p->limits, &h, &err) < 0)
        fail_msg("%s", err.text);
    return h;
}

static void expect(struct place *p, bool up, enum health_state wanted, const char *words)
{
    struct health h = look(p);
    if (h.state != wanted || h.up != up)
        fail_msg("%s, %s: %s", health_state_name(h.state), h.up ? "up" : "down", h.why);
    if (!strstr(h.why, words))
        fail_msg("'%s' lacks '%s'", h.why, words);
}

static void test_a_note_comes_back(void **state)
{
    struct place *p = *state;
    struct err err;
    struct health_note back, n = {.state = HEALTH_FAILED,
                                 .since_ms = 5,
                                 .heard_ms = -7,
                                 .trouble = true,
                                 .trouble_ms = 11,
                                 .text = "open: No\nsuch \x7f thing",
                                 .filling = true,
                                 .told = true,
                                 .paused = true,
                                 .owed_paths = UINT64_MAX,
                                 .failing = 2,
                                 .owed_ms = -12345678,
                                 .primary = "web one\n"};
    assert_int_equal(health_note_read(p->state, &back, &err), 0);
    note(p, &n);
    assert_int_equal(health_note_read(p->state, &back, &err), 1);
    assert_string_equal(back.text, "open: No?such ? thing");
    assert_string_equal(back.primary, "web one?");
    strcpy(n.text, back.text);
    strcpy(n.primary, back.primary);
    assert_int_equal(back.state, n.state);
    assert_int_equal(back.since_ms, n.since_ms);
    assert_int_equal(back.heard_ms, n.heard_ms);
    assert_int_equal(back.trouble_ms, n.trouble_ms);
    assert_int_equal(back.owed_ms, n.owed_ms);
    assert_true(back.owed_paths == n.owed_paths && back.failing == 2);
    assert_true(back.trouble && back.filling && back.told && back.paused && !back.level);
    n = (struct health_note){0}; /* empty lines, too */
    note(p, &n);
    assert_int_equal(health_note_read(p->state, &back, &err), 1);
    assert_string_equal(back.text, "");
}

static void test_what_is_no_note(void **state)
{
    struct place *p = *state;
    struct err err;
    struct health_note n = level_note(), back;
    static const char *const bad[] = {"", "1", "x\n", "2 b 1 1\n1 1 1\n0 0\n0 0 0 0\n0 0 0\n\n\n",
        "1 b 1 1\n9 1 1\n0 0\n0 0 0 0\n0 0 0\n\n\n", "1 b 1 1\n1 1 1\n0 0\n0 0 0 0\n0 0 0"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_true(scratch_write(p->state, "health", bad[i]));
        assert_int_equal(health_note_read(p->state, &back, &err), 0);
    }
    note(p, &n); /* and cut anywhere it is none, or less is known */
    char *text = NULL;
    size_t len;
    assert_int_equal(io_slurp(p->state, "health", 4096, &text, &len, &err), 0);
    for (size_t at = 0; at < len; at++) {
        text[at] = '\0';
        assert_true(scratch_write(p->state, "health", text));
        assert_true(health_note_read(p->state, &back, &err) >= 0);
    }
    free(text);
    /* Numbers that nobody meant stay numbers. */
    assert_true(scratch_write(p->state, "health",
        "1 b 18446744073709551615 9223372036854775807\n1 -9223372036854775808 9223372036854775807\n"
        "1 -9223372036854775808\n0 1 0 0\n18446744073709551615 1 -9223372036854775808\nweb\nx\n"));
    assert_int_equal(health_note_read(p->state, &back, &err), 1);
    expect(p, false, HEALTH_IS_BEHIND, "18446744073709551615 paths");
    /* A receiver that was taken over wrote it: no terminal obeys. */
    assert_true(scratch_write(
        p->state, "health", "1 b 1 1\n1 1 1\n0 0\n0 1 1 0\n0 0 0\nw\033[2Jb\nx\ry\177\xc2\x9b!\n"));
    assert_int_equal(health_note_read(p->state, &back, &err), 1);
    assert_string_equal(back.primary, "w?[2Jb");
    assert_string_equal(back.text, "x?y?"
                                   "?"
                                   "?!");
    /* A link leads nowhere, a FIFO is not waited for. */
    unlinkat(p->state, "health", 0);
    assert_int_equal(symlinkat("/etc/passwd", p->state, "health"), 0);
    assert_int_equal(health_note_read(p->state, &back, &err), -1);
    unlinkat(p->state, "health", 0);
    assert_int_equal(mkfifoat(p->state, "health", 0600), 0);
    assert_int_equal(health_note_read(p->state, &back, &err), -1);
}

static void test_another_boot(void **state)
{
    struct place *p = *state;
    struct health_note n = level_note(), back;
    struct err err;
    n.owed_paths = 3;
    n.owed_ms = ago(4 * MIN);
    n.level = false;
    boot = "another-boot";
    note(p, &n);
    boot = "this-boot";
    assert_int_equal(health_note_read(p->state, &back, &err), 1);
    assert_in_range(io_boot_ms() - (uint64_t)back.owed_ms, 4 * MIN, 5 * MIN - 1);
    /* The time in between counts. */
    char *text = NULL;
    assert_int_equal(io_slurp(p->state, "health", 4096, &text, NULL, &err), 0);
    char later[4096], head[64];
    unsigned long long written;
    long long wall;
    int at = 0;
    assert_int_equal(sscanf(text, "1 %63s %llu %lld%n", head, &written, &wall, &at), 3);
    snprintf(later, sizeof later, "1 %s %llu %lld%s", head, written, wall - 600, text + at);
    assert_true(scratch_write(p->state, "health", later));
    free(text);
    expect(p, false, HEALTH_IS_BEHIND, "3 paths, the oldest for 14 min");
}

static void test_level_and_orphaned(void **state)
{
    struct place *p = *state;
    struct health_note n = level_note();
    expect(p, true, HEALTH_IS_ORPHANED, "no primary has connected");
    note(p, &n);
    begin_session(p);
    expect(p, true, HEALTH_IS_LEVEL, "");
    end_session(p); /* killed: nothing is noted of that */
    n.heard_ms = ago(40 * S);
    note(p, &n);
    expect(p, true, HEALTH_IS_ORPHANED, "web1 was the last");
    p->limits.orphaned_ms = MIN;
    expect(p, true, HEALTH_IS_ORPHANED, "40 s");
    p->limits.orphaned_ms = 30 * S;
    expect(p, false, HEALTH_IS_ORPHANED, "40 s");
    n.state = HEALTH_CLOSED;
    n.since_ms = ago(10 * S);
    note(p, &n);
    expect(p, true, HEALTH_IS_ORPHANED, "10 s");
    p->limits.orphaned_ms = 0;
    expect(p, false, HEALTH_IS_ORPHANED, "10 s");
    unlinkat(p->state, "health", 0);
    expect(p, false, HEALTH_IS_ORPHANED, "no primary has connected");
}

static void test_what_is_owed(void **state)
{
    struct place *p = *state;
    struct health_note n = level_note();
    begin_session(p);
    n.level = false;
    n.owed_paths = 1;
    n.owed_ms = ago(4 * MIN);
    note(p, &n);
    expect(p, true, HEALTH_IS_BEHIND, "lacks 1 path, the oldest for 4 min");
    n.owed_ms = ago(6 * MIN);
    n.paused = true;
    note(p, &n);
    expect(p, false, HEALTH_IS_BEHIND, "(health-max-lag: 5 min), and was paused");
    p->limits.lag_ms = 7 * MIN;
    expect(p, true, HEALTH_IS_BEHIND, "");
    p->limits.lag_ms = 5 * MIN;
    end_session(p); /* that nobody says so any more makes it no better */
    n.paused = false;
    note(p, &n);
    expect(p, false, HEALTH_IS_BEHIND, "its primary is not connected");
    begin_session(p);
    n.state = HEALTH_OPENING;
    note(p, &n);
    expect(p, false, HEALTH_IS_BEHIND, "");
    n = level_note();
    n.level = false; /* drift, say */
    note(p, &n);
    expect(p, true, HEALTH_IS_BEHIND, "not all is well");
    n.told = false;
    n.owed_paths = 5;
    n.owed_ms = ago(60 * MIN);
    note(p, &n);
    expect(p, true, HEALTH_IS_COMPARING, "");
}

static void test_roots(void **state)
{
    struct place *p = *state;
    struct health_note n = level_note();
    struct marker m = {.stage = ".mirrord-stage"};
    struct err err;
    note(p, &n);
    begin_session(p);
    int fd = open(p->root, O_RDONLY | O_DIRECTORY);
    assert_int_equal(marker_write(fd, p->state, &m, &err), 0);
    close(fd);
    expect(p, true, HEALTH_IS_LEVEL, "");
    char *aside = mem_format("%s.aside", p->root);
    assert_int_equal(rename(p->root, aside), 0);
    expect(p, false, HEALTH_IS_LOST, "No such file or directory");
    assert_int_equal(mkdir(p->root, 0755), 0);
    expect(p, false, HEALTH_IS_LOST, "mirrord resync --force");
    p->role = HEALTH_PRIMARY; /* promoted meanwhile: the marker is of another time */
    expect(p, true, HEALTH_IS_PRIMARY, "");
    p->role = HEALTH_SECONDARY;
    assert_int_equal(rmdir(p->root), 0);
    assert_true(scratch_write(AT_FDCWD, p->root, "a file"));
    expect(p, false, HEALTH_IS_LOST, "Not a directory");
    p->role = HEALTH_PRIMARY;
    expect(p, false, HEALTH_IS_LOST, "Not a directory");
    assert_int_equal(unlink(p->root), 0);
    p->role = HEALTH_SECONDARY;
    assert_int_equal(rename(aside, p->root), 0);
    expect(p, true, HEALTH_IS_LEVEL, "");
    free(aside);
}

static void test_a_commit_that_was_not_finished(void **state)
{
    struct place *p = *state;
    struct health_note n = level_note();
    char line[80];
    note(p, &n);
    begin_session(p);
    int mark = health_mark_open(p->state);
    assert_true(mark >= 0);
    health_mark_set(mark);
    expect(p, true, HEALTH_IS_LEVEL, "");
    snprintf(line, sizeof line, "%020llu this-boot\n", (unsigned long long)ago(20 * S));
    assert_true(scratch_write(p->state, "committing", line));
    expect(p, false, HEALTH_IS_HALF, "20 s ago is not finished: type mirrord recover");
    health_mark_clear(mark);
    expect(p, true, HEALTH_IS_LEVEL, "");
    boot = "another-boot";
    health_mark_set(mark);
    boot = "this-boot";
    int64_t since = -1;
    struct err err;
    assert_int_equal(health_mark_read(p->state, &since, &err), 1);
    assert_int_equal(since, 0); /* before the machine started */
    health_mark_forget(p->state);
    assert_int_equal(health_mark_read(p->state, &since, &err), 0);
    close(mark);
}

static void test_what_else_is_evidence(void **state)
{
    struct place *p = *state;
    struct health_note n = level_note();
    begin_session(p);
    n.filling = true;
    n.level = false;
    note(p, &n);
    expect(p, false, HEALTH_IS_FILLING, "not been level");
    n = level_note();
    n.state = HEALTH_FAILED;
    n.since_ms = ago(10 * S);
    n.trouble = true;
    n.trouble_ms = ago(4 * MIN);
    strcpy(n.text, "open: Input/output error");
    note(p, &n);
    expect(p, true, HEALTH_IS_FAILED, "for 4 min: open: Input/output error");
    n.trouble_ms = ago(6 * MIN);
    note(p, &n);
    expect(p, false, HEALTH_IS_FAILED, "for 6 min");
    n.since_ms = ago(4 * MIN); /* nobody has tried again: the primary is gone, too */
    note(p, &n);
    expect(p, true, HEALTH_IS_ORPHANED, "for 4 min");
    n.since_ms = ago(10 * S); /* it was fenced, or is another process's */
    n.trouble = false;
    note(p, &n);
    expect(p, true, HEALTH_IS_ORPHANED, "for 10 s");
    n = level_note();
    note(p, &n);
    p->role = HEALTH_FENCED;
    expect(p, false, HEALTH_IS_FENCED, "was the primary");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_note_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_no_note, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_another_boot, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_level_and_orphaned, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_owed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_roots, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_commit_that_was_not_finished, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_else_is_evidence, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
