/* What somebody else changed: told at the opening, found by walks and by reading content again,
 * remembered until something is committed there. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/unit/secondary/peer.h"
#include "tree/filter.h"
#include "tree/manifest/manifest.h"
#include "tree/state/state.h"

enum { SEEN_MAX = 2000 };

/* Filled, level, closed. */
static void fill(struct peer *p)
{
    struct entry dir = a_dir(0755), file = a_file("old", 3, 0644), link = a_link("x");
    struct msg_ping ping = {1};
    peer_open(p);
    peer_batch(p);
    peer_entry(p, "d", &dir, HOW_META, NULL);
    peer_put(p, "d/f", &file, "old");
    peer_put(p, "d/g", &file, "old");
    peer_entry(p, "e", &dir, HOW_META, NULL);
    peer_put(p, "e/f", &file, "old");
    peer_entry(p, "l", &link, HOW_META, NULL);
    peer_put(p, "mode", &file, "old");
    peer_put(p, "same", &file, "old");
    peer_commit_all(p);
    msg_put_level(&p->out, &(struct msg_level){1});
    msg_put_ping(&p->out, &ping);
    peer_send(p);
    peer_expect(p, MSG_PONG);
    usleep(20000); /* LEVEL is worked off between messages */
    peer_end(p);
}

static void vandalise(struct peer *p)
{
    usleep(20000);
    write_file(p, "d/f", "changed");
    assert_int_equal(chmod(on_root(p, "mode"), 0600), 0);
    assert_int_equal(unlink(on_root(p, "e/f")), 0);
    assert_int_equal(rmdir(on_root(p, "e")), 0);
    assert_int_equal(mkdir(on_root(p, "new"), 0755), 0);
    write_file(p, "new/beneath", "x");
    assert_int_equal(unlink(on_root(p, "l")), 0);
    write_file(p, "l", "not a link");
}

/* "PATH:KIND:TYPE " of n DRIFTs, but for those of which only the times moved. */
static const char *expect_drift(struct peer *p, int n, char seen[SEEN_MAX])
{
    seen[0] = '\0';
    while (n > 0) {
        struct msg_drift m;
        assert_true(msg_get_drift(peer_expect(p, MSG_DRIFT), &m));
        size_t used = strlen(seen);
        assert_int_equal(m.site, 1);
        if (m.kind == DRIFT_TIMES)
            continue;
        snprintf(seen + used, SEEN_MAX - used, "%.*s:%d:%d ", (int)m.path.len,
            (const char *)m.path.data, m.kind, m.committed.type);
        n--;
    }
    return seen;
}

static void open_again(struct peer *p)
{
    peer_start(p);
    peer_hello(p);
    peer_send_open(p, 1, p->root);
}

static const char all[] = "e:3:2 l:1:3 mode:1:1 new:2:0 d/f:1:1 ";

static void told_until_something_is_committed(void **state)
{
    struct peer *p = *state;
    char seen[SEEN_MAX];
    struct entry file = a_file("newer", 5, 0644);
    fill(p);
    peer_open(p);
    assert_int_equal(p->drifts, 0);
    peer_end(p);
    vandalise(p);
    for (int i = 0; i < 2; i++) { /* remembered */
        open_again(p);
        assert_string_equal(expect_drift(p, 5, seen), all);
        peer_expect(p, MSG_OPENED);
        if (i == 0)
            peer_end(p);
    }
    peer_batch(p);
    peer_put(p, "d/f", &file, "newer");
    peer_delete(p, "new");
    peer_delete(p, "l");
    peer_commit_all(p);
    peer_end(p);
    assert_int_equal(foreign_count(p, "d/f"), 1);
    assert_int_equal(foreign_count(p, "new"), 1);
    open_again(p);
    assert_string_equal(expect_drift(p, 2, seen), "e:3:2 mode:1:1 ");
    peer_expect(p, MSG_OPENED);
    peer_end(p);
}

static void level(struct peer *p)
{
    msg_put_level(&p->out, &(struct msg_level){1});
    msg_put_ping(&p->out, &(struct msg_ping){1});
    peer_send(p);
    peer_expect(p, MSG_PONG);
    usleep(50000);
}

static void change_some(struct peer *p)
{
    struct entry file = a_file("newer", 5, 0644);
    peer_batch(p);
    peer_put(p, "d/f", &file, "newer");
    peer_put(p, "same", &file, "newer");
    peer_delete(p, "new");
    peer_commit_all(p);
    peer_end(p);
}

/* What was known at the opening and is level now is what the primary has. */
static void level_ends_it(void **state)
{
    struct peer *p = *state;
    char seen[SEEN_MAX];
    fill(p);
    vandalise(p);
    open_again(p);
    expect_drift(p, 5, seen);
    peer_expect(p, MSG_OPENED);
    level(p);
    peer_end(p);
    peer_open(p);
    assert_int_equal(p->drifts, 0);
    change_some(p);
    assert_int_equal(foreign_count(p, NULL), 0);
}

/* What was found since may not be known to the primary that says so. */
static void level_does_not_end_what_is_news(void **state)
{
    struct peer *p = *state;
    char seen[SEEN_MAX];
    fill(p);
    p->look_every_s = 1;
    open_again(p);
    peer_expect(p, MSG_OPENED);
    vandalise(p);
    expect_drift(p, 5, seen);
    level(p);
    change_some(p);
    assert_int_equal(foreign_count(p, "d/f"), 1);
    assert_int_equal(foreign_count(p, "new"), 1);
    assert_int_equal(foreign_count(p, "same"), 0);
}

static void it_is_kept_under_another_filter(void **state)
{
    struct peer *p = *state;
    char seen[SEEN_MAX];
    fill(p);
    vandalise(p);
    open_again(p);
    expect_drift(p, 5, seen);
    peer_expect(p, MSG_OPENED);
    peer_end(p);
    p->exclude = "/mode";
    open_again(p);
    assert_string_equal(expect_drift(p, 4, seen), "e:3:2 l:1:3 new:2:0 d/f:1:1 ");
    peer_expect(p, MSG_OPENED);
    peer_end(p);
}

/* Walks and batches take turns. */
static void found_by_walking(void **state)
{
    struct peer *p = *state;
    char seen[SEEN_MAX];
    fill(p);
    p->look_every_s = 1;
    open_again(p);
    peer_expect(p, MSG_OPENED);
    vandalise(p);
    assert_string_equal(expect_drift(p, 5, seen), all);
    peer_end(p);
}

/* The record's digest is another: as if the disk had changed what is in the file. */
static void spoil(struct peer *p, const char *path)
{
    struct filter *none = filter_new();
    struct digest filter, nobody = {0};
    struct state *s;
    struct manifest *m;
    struct manifest_txn *t;
    struct record r;
    struct err err;
    uint64_t parent;
    bool fresh;
    filter_digest(none, &filter);
    assert_int_equal(state_open(p->state, p->root, &nobody, 1000, &s, &err), 0);
    assert_int_equal(manifest_open(state_manifest_dir(s), &filter, &m, &fresh, &err), 0);
    assert_false(fresh);
    assert_int_equal(manifest_begin(m, true, &t, &err), 0);
    assert_int_equal(manifest_lookup(t, bytes_of(path), &r, &parent, &err), 1);
    assert_true(r.entry.has_digest && (r.flags & RECORD_COMMITTED));
    r.entry.digest.b[0] ^= 1;
    assert_int_equal(manifest_put(t, parent, path_name(bytes_of(path)), &r, &err), 0);
    assert_int_equal(manifest_commit(t, &err), 0);
    manifest_close(m);
    state_close(s);
    filter_free(none);
}

static void found_by_reading(void **state)
{
    struct peer *p = *state;
    char seen[SEEN_MAX];
    struct entry file = a_file("old", 3, 0644);
    fill(p);
    spoil(p, "d/g");
    peer_open(p);
    peer_end(p);
    assert_int_equal(p->drifts, 0); /* no walk can see it */
    p->reread_every_s = 1;
    open_again(p);
    peer_expect(p, MSG_OPENED);
    assert_string_equal(expect_drift(p, 1, seen), "d/g:1:1 ");
    write_file(p, "mode", "OLD"); /* with no walk for a day */
    assert_string_equal(expect_drift(p, 2, seen), "mode:1:1 d/g:1:1 ");
    peer_batch(p);
    peer_put(p, "d/g", &file, "old");
    peer_commit_all(p);
    peer_end(p);
    assert_int_equal(foreign_count(p, "d/g"), 0); /* what went bad is nobody's */
    open_again(p);
    assert_string_equal(expect_drift(p, 1, seen), "mode:1:1 ");
    peer_expect(p, MSG_OPENED);
    peer_end(p);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, peer_make, peer_unmake)
    const struct CMUnitTest tests[] = {
        T(told_until_something_is_committed),
        T(level_ends_it),
        T(level_does_not_end_what_is_news),
        T(it_is_kept_under_another_filter),
        T(found_by_walking),
        T(found_by_reading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
